"""Sweeps over the ACAS Xu instances: verdicts against known ones, and what processes cost."""
