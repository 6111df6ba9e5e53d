"""The command line of python/halotile_tools/peers/tf32_rounding.py."""

from halotile_tools.common import guarded
from halotile_tools.peers.tf32_rounding import main

if __name__ == "__main__":
    guarded(main)
