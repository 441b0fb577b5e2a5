"""Verification of image classifiers and of collision detection, in the CSV format of VNN-COMP."""
