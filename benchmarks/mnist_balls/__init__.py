"""Repair many local-robustness balls of an MNIST network at once."""
