"""Freed memory that is kept: what the system has to hand out again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from repairsolver.bounds.allocation import hold_freed_memory
asked = ASKED and hold_freed_memory()
for _ in range(3):
    np.ones(500_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(500_000)
print(int(asked), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

SET = {"MALLOC_TRIM_THRESHOLD_": "131072"}
NOT_GLIBC = sys.platform != "linux" or platform.libc_ver()[0] != "glibc"


def faults(asked: bool, **variables: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of 50 arrays of 4 MB, each freed before the next."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    environment |= variables
    code = FAULTS.replace("ASKED", str(asked))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    held, count = done.stdout.split()
    return held == b"1", int(count)


@pytest.mark.skipif(NOT_GLIBC, reason="only glibc can be asked to keep what is freed")
def test_arrays_that_are_freed_are_used_again() -> None:
    kept, few = faults(True)
    assert kept
    assert few < 2000  # one array alone has 977 pages
    assert faults(False, **SET)[1] > 20 * 900


@pytest.mark.skipif(NOT_GLIBC, reason="only glibc can be asked to keep what is freed")
@pytest.mark.parametrize("variable", [SET, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}])
def test_settings_of_the_user_stay(variable: dict[str, str]) -> None:
    assert not faults(True, **variable)[0]
