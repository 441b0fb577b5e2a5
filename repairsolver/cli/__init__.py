"""The command line: one file per command; the logic lives in the library."""
