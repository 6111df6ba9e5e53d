"""The command line of python/halotile_tools/studies/cudnn_variance.py."""

from halotile_tools.common import guarded
from halotile_tools.studies.cudnn_variance import main

if __name__ == "__main__":
    guarded(main)
