"""The command line of python/halotile_tools/peers/cpu_peers.py."""

from halotile_tools.common import guarded
from halotile_tools.peers.cpu_peers import main

if __name__ == "__main__":
    guarded(main)
