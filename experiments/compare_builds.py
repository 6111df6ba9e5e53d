"""The command line of python/halotile_tools/builds/compare.py."""

from halotile_tools.builds.compare import main
from halotile_tools.common import guarded

if __name__ == "__main__":
    guarded(main)
