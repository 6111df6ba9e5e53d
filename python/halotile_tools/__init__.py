"""Python around halotile: its model files and seeded numbers, the peers it is timed against, studies, their figures."""
