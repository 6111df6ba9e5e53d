"""Runs pytest on the named files of this folder; exit status 77 (skipped) where a package that they need is missing."""

import importlib
import sys
from pathlib import Path

NEEDED = ("numpy", "yaml", "torch", "torchvision", "safetensors.torch", "PIL", "sklearn", "matplotlib", "pytest")

try:
    for module in NEEDED:
        importlib.import_module(module)
except ImportError as missing:
    print(f"skipped: {missing}; experiments/python_env.sh makes an environment with what these tests need")
    sys.exit(77)

import pytest

folder = Path(__file__).resolve().parent
sys.exit(pytest.main(["-q", "-c", str(folder / "pytest.ini"), *(str(folder / name) for name in sys.argv[1:])]))
