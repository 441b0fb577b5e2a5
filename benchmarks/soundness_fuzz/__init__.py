"""Verdicts of random small networks against exact arithmetic."""
