"""Behaviour imitation against the published fine-tuning, retraining and CARE."""
