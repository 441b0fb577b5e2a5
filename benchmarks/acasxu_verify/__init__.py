"""Verification of the 186 ACAS Xu instances with known verdicts."""
