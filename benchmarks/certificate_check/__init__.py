"""Certificates of ACAS Xu properties: size, and the time of checking against that of proving."""
