"""Searches and sweeps with workers, here and on Ray, against the local run; what many workers would gain."""
