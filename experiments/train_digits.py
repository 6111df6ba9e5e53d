"""The command line of python/halotile_tools/train_digits.py."""

from halotile_tools.train_digits import main

if __name__ == "__main__":
    main()
