"""The service under load and under sudden ends."""
