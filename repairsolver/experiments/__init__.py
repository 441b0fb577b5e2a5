"""Experiments: lists of instances run in processes of their own, kept row by row, and compared."""
