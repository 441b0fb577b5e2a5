"""Repair by gates: overrides at run time, where the verifier says that the network goes wrong."""
