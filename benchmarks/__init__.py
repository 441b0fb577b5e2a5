"""Benchmarks: one folder per family, `python -m benchmarks.FAMILY`."""
