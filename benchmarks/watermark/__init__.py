"""Minimal last-layer changes with published optima."""
