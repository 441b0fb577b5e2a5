"""The demo: a small collision-avoidance controller, a property that it violates, and its repair."""
