"""The command line of python/halotile_tools/figures/readme_tables.py."""

from halotile_tools.common import guarded
from halotile_tools.figures.readme_tables import main

if __name__ == "__main__":
    guarded(main)
