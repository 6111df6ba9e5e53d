"""The command line of python/halotile_tools/figures/report_picture.py."""

from halotile_tools.figures.report_picture import main

if __name__ == "__main__":
    main()
