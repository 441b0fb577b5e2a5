"""The verbs of the library: what callers give is checked and loaded, then an engine does the work."""
