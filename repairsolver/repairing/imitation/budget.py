"""What a repair from examples may spend: seconds on the clock, and seconds of the processor."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Ends, on `time.monotonic` and on `time.process_time`.

    The limit of a call is one on the clock; how long training is worth its while is counted in seconds of the
    processor, so that a busy machine does not make repairs worse.
    """

    clock: float
    processor: float

    @staticmethod
    def of(clock: float, processor: float) -> Budget:
        """So many seconds of each from now on."""
        return Budget(time.monotonic() + clock, time.process_time() + processor)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.clock or time.process_time() > self.processor


UNLIMITED = Budget(math.inf, math.inf)
