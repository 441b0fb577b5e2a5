"""Repair by gates, measured on ACAS Xu and MNIST."""
