"""What a falsification found: counterexamples, and, if asked for, a proved upper bound on the violation."""

from __future__ import annotations

from dataclasses import dataclass

from repairsolver.display import result_html
from repairsolver.results import Counterexample, VerifyStatus, counted


@dataclass(frozen=True, slots=True, eq=False)
class Falsification:
    """The answer of `falsify`; every counterexample was replayed by onnxruntime.

    Args:
        status: violated, or unknown: nothing was found, which proves nothing.
        counterexamples: different inputs, the worst first.
        upper_bound: proved, in real arithmetic on the weights as stored: no input violates by more. None
            where it was not asked for, nothing was found, or nothing was proved in time.
        tolerance: the gap that counts as closed.
        methods: what was tried, in order.
        asked: how many counterexamples were asked for.
        seconds: wall-clock time spent.
        seed: the seed that reproduces the run.
    """

    status: VerifyStatus
    counterexamples: tuple[Counterexample, ...] = ()
    upper_bound: float | None = None
    tolerance: float = 0.0
    methods: tuple[str, ...] = ()
    asked: int = 1
    seconds: float = 0.0
    seed: int = 0

    @property
    def counterexample(self) -> Counterexample | None:
        """The worst one found."""
        return self.counterexamples[0] if self.counterexamples else None

    @property
    def gap(self) -> float | None:
        """Upper bound minus the largest violation found, not below 0; None without either.

        Rounding inside a runtime may lift a replayed violation above a bound of real arithmetic.
        """
        if self.upper_bound is None or self.counterexample is None:
            return None
        return max(0.0, self.upper_bound - self.counterexample.violation)

    @property
    def proved_worst(self) -> bool:
        """Whether the counterexample is proved to be the worst one, within the tolerance."""
        return self.gap is not None and self.gap <= self.tolerance

    def __bool__(self) -> bool:
        raise TypeError("a Falsification has no truth value: look at its counterexamples")

    def __repr__(self) -> str:
        if self.counterexample is None:
            return f"<Falsification unknown: nothing found, which proves nothing; {self.seconds:.1f} s>"
        number = counted(len(self.counterexamples), "counterexample")
        bound = "" if self.upper_bound is None else f"; no input by more than {self.upper_bound:.4g} (proved)"
        worst = self.counterexample.violation
        return f"<Falsification violated: {number}, by up to {worst:.4g}{bound}; {self.seconds:.1f} s>"

    def _repr_html_(self) -> str:
        found = self.counterexample
        if found is None:
            return result_html("open", "unknown", "nothing was found, which proves nothing", {
                "methods": " + ".join(self.methods), "seconds": round(self.seconds, 2),
            })  # fmt: skip
        rows = {
            "worst input": found.input.tolist(),
            "output": found.output.tolist(),
            "violated by": found.violation,
            "no input violates by more than": self.upper_bound,
            "seconds": round(self.seconds, 2),
        }
        number = counted(len(self.counterexamples), "different input")
        return result_html("bad", "violated", f"{number} found; onnxruntime replayed every one", rows)
