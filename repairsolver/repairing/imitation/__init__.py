"""Behaviour imitation: inputs that violate a property learn to behave like inputs that satisfy it."""
