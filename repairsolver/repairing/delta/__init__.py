"""The least change of the last affine layer."""
