"""Thousands of mutated certificates: none for a false statement, and no broken one, may be accepted."""
