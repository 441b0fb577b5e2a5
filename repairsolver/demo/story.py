"""The story that `repairsolver demo` tells: violated, repaired, proved, and how little else changed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from repairsolver.demo.encounter import ADVISORIES, QUANTITIES, Quantity, physical
from repairsolver.errors import SoundnessError
from repairsolver.metrics import Fidelity, fidelity
from repairsolver.network import Network, load_network
from repairsolver.property import Property, load_property
from repairsolver.repairing.result import Repair
from repairsolver.report.files import write_repair
from repairsolver.report.sentences import fidelity_lines, proof
from repairsolver.report.slice import Axis, Slice, draw_slices
from repairsolver.results import Counterexample, OnEvent, RepairStatus, Verdict, VerifyStatus, counted
from repairsolver.verbs.repairs import repair
from repairsolver.verbs.verifying import verify

HERE = Path(__file__).parent
NETWORK, PROPERTY = "controller.onnx", "head_on.vnnlib"
BEARINGS_SHOWN = (-25.0, 25.0)


def tell(
    out: Path, *, seed: int = 0, on_event: OnEvent | None = None, console: Console | None = None
) -> None:
    """Run the demo and print its story.

    Args:
        out: folder for the files, made if it is missing.
        console: where to print; stdout by default.

    Raises:
        SoundnessError: the demo does not end as it must, with a proof from the saved file.
    """
    say, start = console or Console(highlight=False), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    for name in (NETWORK, PROPERTY):
        shutil.copyfile(HERE / name, out / name)
    net = load_network(out / NETWORK)
    prop = load_property(out / PROPERTY, network=net)
    _introduce(say)
    before = verify(net, prop, seed=seed, on_event=on_event)
    found = _violation(say, before)
    fix = repair(net, prop, norm="l1", decision="min", seed=seed, on_event=on_event)
    repaired_file = _repaired(say, fix, out)
    saved = load_network(repaired_file)
    _proof(say, verify(saved, prop, seed=seed, on_event=on_event), repaired_file)
    _kept(say, _fidelity(net, saved, prop, seed))
    _picture(net, saved, prop, (found, *before.counterexamples[1:]), out / "decisions.png")
    _files(say, out, time.perf_counter() - start)


def _introduce(say: Console) -> None:
    say.rule("[bold]The network and its property")
    inputs = ", ".join(q.name for q in QUANTITIES)
    say.print(
        f"A collision-avoidance controller: {inputs} in, the costs of {len(ADVISORIES)} advisories out; the "
        "cheapest advisory is given. The property: a slow intruder that comes head-on is never "
        '"clear of conflict".'
    )


def _violation(say: Console, verdict: Verdict) -> Counterexample:
    say.rule("[bold]1. Verify")
    found = verdict.counterexample
    if verdict.status is not VerifyStatus.VIOLATED or found is None:
        raise SoundnessError(f"demo: the bundled network must violate its property, got {verdict.status}")
    say.print(f"[bold red]sat[/bold red]: violated, found in {verdict.seconds:.2f} s. The encounter:")
    table = Table("input", "network", "physical", box=None, padding=(0, 2))
    states = physical(found.input[None])[0]
    for i, quantity in enumerate(QUANTITIES):
        table.add_row(quantity.name, f"{found.input[i]:+.4f}", f"{states[i]:.1f} {quantity.unit}")
    say.print(table)
    order = np.argsort(found.output)
    costs = ", ".join(f"{ADVISORIES[i]} {found.output[i]:.3f}" for i in order)
    say.print(f"onnxruntime gives the costs: {costs}.")
    return found


def _repaired(say: Console, fix: Repair, out: Path) -> Path:
    say.rule("[bold]2. Repair")
    if fix.status is not RepairStatus.REPAIRED or fix.edit is None or fix.cost is None:
        raise SoundnessError(f"demo: the bundled network must be repairable, got {fix.status}: {fix.message}")
    spent = f"{fix.seconds:.2f} s, {counted(fix.rounds, 'round')}"
    say.print(f"[bold green]repaired[/bold green] in {spent}. In the last layer:")
    say.print(fix.edit.describe(entries=8), markup=False)
    say.print(
        f"{fix.norm} norm of the change: {fix.cost:.5f}; no repair of this layer has less than "
        f"{fix.lower_bound:.5f}."
    )
    return write_repair(fix, out / "repaired.onnx")[0]


def _proof(say: Console, verdict: Verdict, file: Path) -> None:
    say.rule("[bold]3. Verify the saved file")
    if verdict.status is not VerifyStatus.HOLDS:
        raise SoundnessError(f"demo: {file} must be proved, got {verdict.status}")
    say.print(
        f"[bold green]unsat[/bold green]: {file.name} has the property for every input of the box, proved in "
        f"{verdict.seconds:.2f} s by {proof(verdict)} on {counted(verdict.boxes, 'box', 'boxes')}."
    )


def _fidelity(net: Network, saved: Network, prop: Property, seed: int) -> Fidelity:
    corner = np.ones(net.input_size)
    return fidelity(net, saved, -corner, corner, decision="min", prop=prop, seed=seed)


def _kept(say: Console, kept: Fidelity) -> None:
    say.rule("[bold]4. What the repair kept")
    say.print("The given box is the whole range of the controller's inputs.")
    for line in fidelity_lines(kept):
        say.print(line, markup=False)


def _picture(
    net: Network, saved: Network, prop: Property, found: tuple[Counterexample, ...], file: Path
) -> None:
    distance, bearing, heading, speed = QUANTITIES
    state = physical(found[0].input[None])[0]
    plane = Slice(
        base=found[0].input,
        x=_axis(0, distance, (distance.lower, distance.upper)),
        y=_axis(1, bearing, BEARINGS_SHOWN),
    )
    title = f"{heading.name} {state[2]:.0f} {heading.unit}, {speed.name} {state[3]:.0f} {speed.unit}"
    draw_slices(
        net,
        saved,
        plane,
        file,
        decision="min",
        classes=ADVISORIES,
        prop=prop,
        counterexamples=found[:20],
        title=title,
    )


def _axis(index: int, quantity: Quantity, shown: tuple[float, float]) -> Axis:
    low, high = (float(quantity.normalise(value)) for value in shown)
    half = (quantity.upper - quantity.lower) / 2
    return Axis(index, low, high, f"{quantity.name} [{quantity.unit}]", half, quantity.lower + half)


def _files(say: Console, out: Path, seconds: float) -> None:
    say.rule("[bold]Files")
    say.print(f"In {out.resolve()}:", soft_wrap=True, markup=False)
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_row(NETWORK, "the network as it was")
    table.add_row(PROPERTY, "the property, VNN-LIB")
    table.add_row("repaired.onnx", "the repaired network")
    table.add_row("repaired.delta.json", "the change, entry by entry")
    table.add_row("decisions.png", "decision regions before, after, and the difference")
    say.print(table)
    say.print(f"All of it took {seconds:.1f} s.")
