"""PyTorch, ONNX Runtime and XLA against halotile: networks, contestants, races, tables."""
