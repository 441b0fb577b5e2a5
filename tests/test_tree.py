"""Searches that stop and go on: one run and many give the same answer, and no file is believed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_networks import dense_network, sample

import repairsolver as rs
from repairsolver.certificate.format import to_bytes
from repairsolver.errors import TreeError
from repairsolver.network import Network
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import Event, Interrupted, Limits, Verdict, VerifyStatus
from repairsolver.verification.attack import Effort
from repairsolver.verification.engine import verify_property
from repairsolver.verification.paused import Paused, question
from repairsolver.verification.programs import interruptible
from repairsolver.verification.tree import Tree, digest

NO_ATTACK = Effort(samples=1, restarts=2, steps=1)


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rounds of few boxes, so that there is much to interrupt."""
    monkeypatch.setenv("REPAIRSOLVER_THREADS", "1")
    monkeypatch.setattr("repairsolver.verification.searching.BATCH", 2)


def below(network: Network, depth: float, rows: int = 1) -> Property:
    """Unsafe: each of the first outputs lies `depth` below that of the sample whose sum of them is least."""
    size = network.input_size
    lower, upper = -np.full(size, 0.97), np.full(size, 1.01)
    outputs = network(sample(np.random.default_rng(0), lower, upper, 4000))[:, :rows]
    least = outputs[outputs.sum(axis=1).argmin()]
    unsafe = Conjunction(np.eye(rows, network.output_size), np.zeros((rows, size)), least - depth)
    return Property((Region(lower, upper, (unsafe,)),), size, network.output_size)


def case(rows: int = 2) -> tuple[Network, Property]:
    """It holds, and takes many rounds."""
    network = dense_network(3, [3, 12, 12, 2])
    return network, below(network, 0.01, rows)


def stopping(after: int, stages: tuple[str, ...] = ("split", "phases")) -> Callable[[Event], None]:
    """Ctrl-C at the event of that number."""
    left = [after]

    def on_event(event: Event) -> None:
        if event.stage in stages:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    return on_event


def in_pieces(
    network: Network, prop: Property, path: Path, rounds: int, **options: Any
) -> tuple[Verdict, int]:
    """The answer of a run interrupted after so many rounds each time, and how often it was."""
    for stops in range(200):
        try:
            verdict = verify_property(
                network, prop, effort=NO_ATTACK, tree=path, on_event=stopping(rounds + 1), **options
            )
        except Interrupted as stopped:
            check_unfinished(network, prop, stopped.result)
            continue
        return verdict, stops
    raise AssertionError("no end")


def check_unfinished(network: Network, prop: Property, verdict: object) -> None:
    """What is open has room for every point that violates most; what is closed is safe at samples."""
    assert isinstance(verdict, Verdict)
    assert verdict.status is VerifyStatus.TIMEOUT
    assert verdict.interrupted
    assert verdict.open_boxes is not None
    assert 0 <= verdict.proved_volume <= 1
    opened = verdict.open_boxes
    assert (opened.lower <= opened.upper).all()
    assert (opened.bound <= 0).all()
    assert verdict.best_bound == opened.bound.min(initial=np.inf)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("rows", [1, 2])
def test_many_runs_give_the_certificate_of_one(tmp_path: Path, rounds: int, rows: int) -> None:
    network, prop = case(rows)
    once = verify_property(network, prop, effort=NO_ATTACK, record=True)
    assert once.status is VerifyStatus.HOLDS
    pieces, stops = in_pieces(network, prop, tmp_path / "t.tree", rounds)
    assert stops >= 2
    assert pieces.status is VerifyStatus.HOLDS
    assert (pieces.boxes, pieces.best_bound) == (once.boxes, once.best_bound)
    assert once.certificate is not None
    assert pieces.certificate is not None
    assert to_bytes(pieces.certificate) == to_bytes(once.certificate)
    assert rs.check(pieces.certificate, network=network, property=prop).valid
    assert "checker" in " ".join(pieces.notes)


def test_searches_kept_in_memory_go_on_where_they_ran_out_of_time() -> None:
    network, prop = case()
    once = verify_property(network, prop, effort=NO_ATTACK, record=True)
    paused, boxes = Paused(), 0
    for _ in range(1000):
        limits = Limits(seconds=0.03)
        pieces = verify_property(network, prop, effort=NO_ATTACK, record=True, limits=limits, paused=paused)
        assert pieces.boxes >= boxes
        boxes = pieces.boxes
        if pieces.status is not VerifyStatus.TIMEOUT:
            break
        assert list(paused.states) == [question(network, prop, "real")]
    assert (pieces.status, pieces.boxes) == (VerifyStatus.HOLDS, once.boxes)
    assert pieces.certificate is not None
    assert once.certificate is not None
    assert to_bytes(pieces.certificate) == to_bytes(once.certificate)
    assert not paused.states


def test_a_search_about_something_else_is_not_gone_on_with() -> None:
    network, prop = case()
    paused = Paused()
    limits = Limits(seconds=0.02)
    verify_property(network, prop, effort=NO_ATTACK, limits=limits, paused=paused)
    state = paused.states.pop(question(network, prop, "real"))
    other = below(network, -0.02)
    assert question(network, other, "real") != question(network, prop, "real")
    paused.put(question(network, prop, "real"), state)
    verdict = verify_property(network, other, effort=NO_ATTACK, paused=paused)
    assert verdict.status is VerifyStatus.VIOLATED
    assert len(paused.states) == 1
    paused.most = 0.0
    paused.put(question(network, other, "real"), state)
    assert not paused.states


def test_a_violation_is_found_after_any_number_of_runs(tmp_path: Path) -> None:
    network = dense_network(3, [3, 12, 12, 2])
    prop = below(network, -0.02)
    once = verify_property(network, prop, effort=NO_ATTACK, record=True)
    pieces, _ = in_pieces(network, prop, tmp_path / "t.tree", 2)
    assert once.status is pieces.status is VerifyStatus.VIOLATED
    assert once.counterexample is not None
    assert pieces.counterexample is not None
    assert np.array_equal(once.counterexample.input, pieces.counterexample.input)


def test_ctrl_c_after_a_violation_was_found_keeps_it() -> None:
    def stop(event: Event) -> None:
        if "violation" in event.numbers:
            raise KeyboardInterrupt

    network = dense_network(3, [3, 12, 12, 2])
    with pytest.raises(Interrupted) as stopped:
        verify_property(network, below(network, -0.5), on_event=stop)
    verdict = stopped.value.result
    assert isinstance(verdict, Verdict)
    assert verdict.status is VerifyStatus.VIOLATED
    assert verdict.counterexample is not None
    assert not verdict.interrupted


def test_a_timeout_is_continued(tmp_path: Path) -> None:
    network, prop = case()
    path = tmp_path / "t.tree"
    seen = []
    for seconds in (1e-6, 0.02, 0.04, 60.0):
        verdict = verify_property(network, prop, limits=Limits(seconds=seconds), effort=NO_ATTACK, tree=path)
        seen.append(verdict.proved_volume)
        if verdict.status is VerifyStatus.TIMEOUT:
            assert verdict.open_boxes is not None
            assert any(str(path) in note for note in verdict.notes)
    assert verdict.status is VerifyStatus.HOLDS
    assert seen == sorted(seen)


def test_open_boxes_and_proved_volume_agree_with_samples() -> None:
    """Points at which the property is nearly violated lie in open boxes; volumes add up."""
    network, prop = case()
    stopped = None
    try:
        verify_property(network, prop, effort=NO_ATTACK, on_event=stopping(4))
    except KeyboardInterrupt as error:
        stopped = error
    assert isinstance(stopped, Interrupted)
    verdict = stopped.result
    assert isinstance(verdict, Verdict)
    opened = verdict.open_boxes
    assert opened is not None
    volume = np.prod((opened.upper - opened.lower) / 1.98, axis=1).sum()
    assert verdict.proved_volume == pytest.approx(1 - volume)
    region = prop.regions[0]
    points = sample(np.random.default_rng(1), region.lower, region.upper, 20000)
    outside = ~((points[:, None] >= opened.lower) & (points[:, None] <= opened.upper)).all(axis=2).any(axis=1)
    assert 0 < outside.sum() < len(points)
    assert (region.unsafe[0].violation(points[outside], network(points[outside])) < 0).all()
    # The proved bound is one: no sample violates by more.
    assert verdict.best_bound is not None
    assert region.unsafe[0].violation(points, network(points)).max() <= -verdict.best_bound


def half_done(path: Path, rounds: int = 5) -> tuple[Network, Property]:
    network, prop = case()
    with pytest.raises(KeyboardInterrupt):
        verify_property(network, prop, effort=NO_ATTACK, tree=path, on_event=stopping(rounds))
    return network, prop


def rewrite(path: Path, network: Network, prop: Property, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the arrays and give them a fitting digest, as a forger would."""
    tree = Tree(path, network, prop)
    arrays = tree.take("input splitting")
    assert arrays is not None
    change(arrays)
    tree.write("input splitting", arrays)


def drop_open(arrays: dict[str, Any]) -> None:
    """Claim that nothing is open."""
    for name in arrays:
        if name.startswith(("open_", "known_", "cut_")):
            arrays[name] = arrays[name][:0]
    arrays["sizes"] = arrays["sizes"][:0]
    arrays["counts"][0] = 0


def drop_some(arrays: dict[str, Any]) -> None:
    """Claim that the last part of the stack is proved."""
    last = int(arrays["sizes"][-1])
    for name in arrays:
        if name.startswith(("open_", "known_", "cut_")):
            arrays[name] = arrays[name][:-last]
    arrays["sizes"] = arrays["sizes"][:-1]
    arrays["counts"][0] -= 1


def optimistic(arrays: dict[str, Any]) -> None:
    """Bounds of neurons that are too tight: later boxes seem proved."""
    for name in arrays:
        if name.startswith("known_") and name.endswith("_upper"):
            arrays[name] = np.minimum(arrays[name], arrays[name.replace("upper", "lower")] + 1e-9)


def shrunk(arrays: dict[str, Any]) -> None:
    arrays["open_upper"] = arrays["open_lower"] + 1e-6


def empty_cut(arrays: dict[str, Any]) -> None:
    arrays["cut_shift"] = np.full_like(arrays["cut_shift"], 1e9)


def other_weights(arrays: dict[str, Any]) -> None:
    arrays["weights"] = np.roll(arrays["weights"], 1, axis=1)[::-1].copy()


def fewer_splits(arrays: dict[str, Any]) -> None:
    last = int(arrays["batches"][-1])
    for name in ("parent", "axis", "value"):
        arrays[name] = arrays[name][:-last]
    arrays["batches"] = arrays["batches"][:-1]


def other_values(arrays: dict[str, Any]) -> None:
    arrays["value"] = arrays["value"] + 0.25


def other_axes(arrays: dict[str, Any]) -> None:
    arrays["axis"] = arrays["axis"] + 7


FORGERIES = [drop_open, drop_some, optimistic, shrunk, empty_cut, other_weights, fewer_splits, other_values]


@pytest.mark.parametrize("forge", [*FORGERIES, other_axes], ids=lambda f: f.__name__)
@pytest.mark.parametrize("safe", [True, False])
def test_a_forged_tree_never_makes_a_wrong_proof(
    tmp_path: Path, forge: Callable[[dict[str, Any]], object], safe: bool
) -> None:
    """Where the property is violated slightly, `holds` would be wrong; elsewhere it must be proved anew."""
    path = tmp_path / "t.tree"
    network, prop = half_done(path)
    if not safe:
        # A tree of the safe property, forged to be about an unsafe one.
        unsafe = below(network, -0.02, rows=2)
        arrays = Tree(path, network, prop).take("input splitting")
        assert arrays is not None
        os.remove(path)
        Tree(path, network, unsafe).write("input splitting", arrays)
        prop = unsafe
    rewrite(path, network, prop, forge)
    try:
        verdict = verify_property(network, prop, limits=Limits(seconds=20), effort=NO_ATTACK, tree=path)
    except TreeError:
        return
    if not safe:
        assert verdict.status is not VerifyStatus.HOLDS
    elif verdict.status is VerifyStatus.HOLDS:
        assert verdict.certificate is not None
        assert rs.check(verdict.certificate, network=network, property=prop).valid


def test_a_tree_that_claims_all_is_closed_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "t.tree"
    network, prop = half_done(path)
    rewrite(path, network, prop, drop_open)
    verdict = verify_property(network, prop, effort=NO_ATTACK, tree=path)
    assert verdict.status is VerifyStatus.UNKNOWN
    assert "proves nothing" in " ".join(verdict.notes)
    assert verdict.certificate is None


def test_the_time_also_ends_the_check(tmp_path: Path) -> None:
    path = tmp_path / "t.tree"
    network, prop = half_done(path)
    rewrite(path, network, prop, drop_open)
    limits = Limits(seconds=1e-9)
    assert verify_property(network, prop, effort=NO_ATTACK, tree=path, limits=limits).status is (
        VerifyStatus.TIMEOUT
    )


def test_another_network_property_version_or_arithmetic_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.tree"
    network, prop = half_done(path)
    before = path.read_bytes()
    with pytest.raises(TreeError, match="another network"):
        verify_property(dense_network(4, [3, 12, 12, 2]), prop, tree=path)
    with pytest.raises(TreeError, match="another property"):
        verify_property(network, below(network, 0.1, 2), tree=path)
    with pytest.raises(TreeError, match="another arithmetic"):
        Tree(path, network, prop, "float32")
    with pytest.raises(TreeError, match="search by input splitting"):
        Tree(path, network, prop).take("phase splitting")
    monkeypatch.setattr("repairsolver.verification.tree.__version__", "9.9")
    with pytest.raises(TreeError, match=r"this is 9\.9"):
        verify_property(network, prop, tree=path)
    assert path.read_bytes() == before


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.tree"
    network, prop = half_done(path)
    good = path.read_bytes()
    random = np.random.default_rng(0)
    for content in (b"", b"no tree", good[:-100], good[: len(good) // 2], json.dumps({}).encode()):
        path.write_bytes(content)
        with pytest.raises(TreeError, match="cannot go on from this file"):
            Tree(path, network, prop)
    for _ in range(30):
        place = int(random.integers(len(good)))
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            tree = Tree(path, network, prop)
        except TreeError:
            continue
        # Bytes between the entries of the archive carry nothing.
        assert digest(tree.take("input splitting") or {}) == digest(arrays_of(good, tmp_path))


def arrays_of(content: bytes, folder: Path) -> dict[str, Any]:
    copy = folder / "copy.npz"
    copy.write_bytes(content)
    with np.load(copy) as stored:
        return {name: stored[name] for name in stored.files if name != "head"}


def test_a_folder_is_no_tree(tmp_path: Path) -> None:
    network, prop = case()
    with pytest.raises(IsADirectoryError):
        verify_property(network, prop, tree=tmp_path)


def test_a_full_disk_costs_the_tree_and_not_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    network, prop = case()
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(Interrupted) as stopped:
        verify_property(network, prop, effort=NO_ATTACK, tree=tmp_path / "t", on_event=stopping(3))
    verdict = stopped.value.result
    assert isinstance(verdict, Verdict)
    assert "could not be written" in " ".join(verdict.notes)


def many_inputs(seed: int = 4) -> tuple[Network, Property]:
    """It holds, by phase splitting: two boxes, one query in the first and two in the second."""
    network = dense_network(seed, [18, 14, 14, 2])
    lower, upper = -np.full(18, 0.31), np.full(18, 0.29)
    outputs = network(sample(np.random.default_rng(0), lower, upper, 4000))
    depth = 0.35 * (outputs.max(axis=0) - outputs.min(axis=0))

    def unsafe(k: int) -> Conjunction:
        return Conjunction(np.eye(2)[k : k + 1], np.zeros((1, 18)), outputs.min(axis=0)[k : k + 1] - depth[k])

    halves = np.where(np.arange(18) == 0, 0.0, upper), np.where(np.arange(18) == 0, 0.0, lower)
    first = Region(lower, halves[0], (unsafe(0),))
    second = Region(halves[1], upper, (unsafe(0), unsafe(1)))
    return network, Property((first, second), 18, 2)


def test_phase_splitting_in_pieces_ends_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repairsolver.verification.phases.MOST_PARTS", 4)
    network, prop = many_inputs()
    once = verify_property(network, prop, effort=NO_ATTACK)
    assert once.status is VerifyStatus.HOLDS
    assert "phase splitting" in once.methods
    assert "milp" not in once.methods
    pieces, stops = in_pieces(network, prop, tmp_path / "t.tree", 12)
    assert stops >= 3
    assert pieces.status is VerifyStatus.HOLDS
    assert "rests on what this file says" in " ".join(pieces.notes)
    assert pieces.certificate is None


def test_states_that_fit_no_box_are_refused(tmp_path: Path) -> None:
    network, prop = many_inputs()
    path = tmp_path / "t.tree"
    with pytest.raises(Interrupted):
        verify_property(network, prop, effort=NO_ATTACK, tree=path, on_event=stopping(3))
    arrays = Tree(path, network, prop).take("phase splitting")
    assert arrays is not None
    structure = json.loads(arrays["structure"].tobytes())
    signs = structure["list"][0]["fields"]["stack"]["tuple"][0]["fields"]["sign"]["array"]
    wrong: list[dict[str, Any]] = [
        arrays | {signs: arrays[signs][:, 1:]},
        arrays | {signs: arrays[signs].astype(np.float64)},
        {name: array for name, array in arrays.items() if name != signs},
        arrays | {"structure": np.frombuffer(b"{}", np.uint8)},
        arrays | {"structure": np.frombuffer(b'{"class": "Path", "fields": {}}', np.uint8)},
    ]
    for forged in wrong:
        path.unlink()
        Tree(path, network, prop).write("phase splitting", forged)
        with pytest.raises(TreeError, match="contradict each other"):
            verify_property(network, prop, effort=NO_ATTACK, tree=path)


def test_exact_programs_report_what_is_left_and_give_way_to_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smooth networks with many inputs, no kinks: everything is left to exact programs."""
    network = dense_network(2, [18, 8, 8, 2], "Tanh")
    prop = below(network, 1.0, 1)
    events: list[Event] = []
    options: dict[str, Any] = {"effort": NO_ATTACK, "limits": Limits(seconds=1.5)}
    monkeypatch.setattr("repairsolver.verification.searching.split_phases", lambda run, graph, left: left)
    verdict = verify_property(network, prop, on_event=events.append, **options)
    assert any(event.stage == "milp" and event.numbers["open"] == 1 for event in events)
    assert verdict.status is not VerifyStatus.VIOLATED
    if verdict.status is not VerifyStatus.HOLDS:
        assert verdict.open_boxes is not None
        assert len(verdict.open_boxes) == 1
        assert verdict.proved_volume == 0
        assert verdict.best_bound == verdict.open_boxes.bound[0]
    with pytest.raises(Interrupted) as stopped:
        verify_property(network, prop, on_event=stopping(1, ("milp",)), **options)
    assert isinstance(stopped.value.result, Verdict)
    assert stopped.value.result.open_boxes is not None


@pytest.mark.parametrize("seed", [3, 8, 11])
def test_ties_between_slopes_are_no_matter_of_rounding(seed: int) -> None:
    """Boxes around 0 and weights with few bits: a neuron's bounds are equal and opposite, or nearly so."""
    network = dense_network(seed, [3, 12, 12, 2])
    lower, upper = -np.ones(3), np.ones(3)
    outputs = network(sample(np.random.default_rng(0), lower, upper, 4000))
    least = outputs[outputs.sum(axis=1).argmin()] - 0.01
    symmetric = Property((Region(lower, upper, (Conjunction(np.eye(2), np.zeros((2, 3)), least),)),), 3, 2)
    verdict = verify_property(network, symmetric, effort=NO_ATTACK, record=True)
    assert verdict.certificate is not None
    assert rs.check(verdict.certificate, network=network, property=symmetric).valid


def test_work_that_ctrl_c_or_the_clock_leaves_behind() -> None:
    assert interruptible(lambda: 7, 60.0) == 7
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, 60.0)
    never = threading.Event()
    with pytest.raises(TimeoutError):
        interruptible(never.wait, 0.01)
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(never.wait, 60.0)
    never.set()
