"""The command line of python/halotile_tools/studies/compare_repeats.py."""

from halotile_tools.studies.compare_repeats import main

if __name__ == "__main__":
    main()
