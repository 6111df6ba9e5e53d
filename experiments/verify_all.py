"""The command line of python/halotile_tools/studies/verify_all.py."""

from halotile_tools.common import guarded
from halotile_tools.studies.verify_all import main

if __name__ == "__main__":
    guarded(main)
