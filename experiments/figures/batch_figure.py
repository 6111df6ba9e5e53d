"""The command line of python/halotile_tools/figures/batch_figure.py."""

from halotile_tools.common import guarded
from halotile_tools.figures.batch_figure import main

if __name__ == "__main__":
    guarded(main)
