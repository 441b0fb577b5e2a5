"""Certificates: proofs as files, and an independent checker with rigorous rounding (numpy alone)."""

from repairsolver.certificate.checker import check as check
from repairsolver.certificate.format import read_certificate as read_certificate
from repairsolver.certificate.format import write_certificate as write_certificate
from repairsolver.results import CheckResult as CheckResult
