"""The command line of python/halotile_tools/studies/stream_overlap.py."""

from halotile_tools.common import guarded
from halotile_tools.studies.stream_overlap import main

if __name__ == "__main__":
    guarded(main)
