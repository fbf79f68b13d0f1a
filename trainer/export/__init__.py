"""Exports torch modules as ONNX graphs and checks them against torch on real rows."""
