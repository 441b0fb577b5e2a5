"""ONNX files as layer graphs, and repairs written back into them."""
