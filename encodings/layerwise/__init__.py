"""Layer-by-layer encodings of neural networks as mixed-integer programs: arrays in, constraints out."""
