"""The command line of python/halotile_tools/export_torchvision.py."""

from halotile_tools.export_torchvision import main

if __name__ == "__main__":
    main()
