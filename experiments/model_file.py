"""halotile_tools.model_file under the name that import_onnx.py and its test use."""

from halotile_tools.model_file import read_model, write_model

__all__ = ["read_model", "write_model"]
