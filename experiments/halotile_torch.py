"""halotile_tools.torch under the name that test_import_onnx.py uses."""

from halotile_tools.torch import Network

__all__ = ["Network"]
