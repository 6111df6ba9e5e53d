"""Python around halotile: its model files and seeded numbers, peers that it is timed against, studies and their figures."""
