"""Going on from a tree over boxes, and the check of a proof that began in a file."""

from __future__ import annotations

import math

from repairsolver.certificate import check
from repairsolver.results import Certificate, Verdict, VerifyStatus
from repairsolver.verification.input_tree import KIND, from_arrays
from repairsolver.verification.run import Run
from repairsolver.verification.shared import Search

UNCHECKED = (
    "Exact programs proved what was left, but the parts that the tree claims were closed before cannot be "
    "checked together with them: run once more without the tree"
)


def resume(run: Run, search: Search) -> None:
    """Put a new search where the run's tree stopped, if there is one.

    Raises:
        TreeError: the tree does not fit.
    """
    arrays = None if run.tree is None else run.tree.take(KIND)
    if run.tree is None or arrays is None:
        return
    search.state = from_arrays(arrays, search.state, run.tree.name)
    run.resumed = True
    run.notes.append(f"Continued from {run.tree.name}, boxes counted from its beginning.")


def confirmed(run: Run, certificate: Certificate, bound: float) -> Verdict:
    """`holds`, if the independent checker proves every box anew: nothing that a file says is believed."""
    run.say("check", "the whole proof, as part of it comes from a file")
    seconds = None if math.isinf(run.left) else max(run.left, 0.0)
    found = check(certificate, network=run.network, property=run.prop, seconds=seconds)
    if found.valid:
        run.notes.append("The independent checker proved the whole tree anew.")
        return run.verdict(VerifyStatus.HOLDS, bound=bound, certificate=certificate)
    if run.left <= 0:
        run.notes.append(
            "Every box is closed, but the time was up while the checker proved the whole tree anew, which it "
            "must do in one go: allow more time."
        )
        return run.verdict(VerifyStatus.TIMEOUT)
    run.notes.append(f"The tree proves nothing: {found.reason} Start anew with another file.")
    return run.verdict(VerifyStatus.UNKNOWN)
