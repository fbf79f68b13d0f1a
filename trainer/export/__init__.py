"""Torch modules to ONNX graphs, compared with torch on real rows."""
