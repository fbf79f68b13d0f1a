"""Exported ONNX graphs: text encoder, towers, nearest products."""
