"""`Limits.memory_gb` bounds what a search holds, measured in a process of its own and on itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from random_networks import dense_network

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.property import Conjunction, Property, Region
from repairsolver.verification.frontier import merge
from repairsolver.verification.query import queries
from repairsolver.verification.split import InputSplitting

SCRIPT = """
import json, sys, threading, time
import numpy as np
from random_networks import dense_network
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import Limits
from repairsolver.verification import phases
from repairsolver.verification.attack import Effort
from repairsolver.verification.engine import verify_property

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096

def hard(inputs, width):
    network = dense_network(1, [inputs, width, width, width, 3])
    lower, upper = -np.full(inputs, 0.97), np.full(inputs, 1.01)
    outputs = network(np.random.default_rng(0).uniform(lower, upper, (500, inputs)))
    low = outputs.min(axis=0) - 5 * (outputs.max(axis=0) - outputs.min(axis=0))
    row = lambda k: Conjunction(np.eye(3)[k : k + 1], np.zeros((1, inputs)), low[k : k + 1])
    return network, Property((Region(lower, upper, (row(0), row(1), row(2))),), inputs, 3)

effort = Effort(samples=1, restarts=2, steps=1)
# Everything is loaded and used once before memory is measured.
verify_property(*hard(int(sys.argv[1]), 8), limits=Limits(seconds=0.5), effort=effort)
network, prop = hard(int(sys.argv[1]), int(sys.argv[2]))
before, peak, running = resident(), [0], [True]

def watch():
    while running[0]:
        peak[0] = max(peak[0], resident())
        time.sleep(0.002)

threading.Thread(target=watch, daemon=True).start()
limits = Limits(seconds=3, memory_gb=float(sys.argv[3]))
verdict = verify_property(network, prop, limits=limits, effort=effort)
running[0] = False
print(json.dumps({"grown": peak[0] - before, "status": verdict.status, "boxes": verdict.boxes}))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("inputs", [6, 30])
def test_a_process_grows_by_no_more_than_its_limit(inputs: int) -> None:
    """Six inputs are split, of thirty the phases; without a limit the first takes over 0.8 GB."""
    command = [sys.executable, "-c", SCRIPT, str(inputs), "400", "0.2"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["status"] == "timeout"
    assert found["boxes"] > 0
    # What torch's own buffers and the allocator keep beside it is no part of the limit.
    assert found["grown"] < 1.5 * 0.2e9


def search(memory: float) -> InputSplitting:
    network = dense_network(5, [6, 24, 24, 24, 1])
    lower, upper = -np.full(6, 0.97), np.full(6, 1.01)
    outputs = network(np.random.default_rng(0).uniform(lower, upper, (5000, 6)))
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 6)), outputs.min(axis=0) - 0.5)
    prop = Property((Region(lower, upper, (unsafe,)),), 6, 1)
    return InputSplitting(tensor_graph(network), queries(prop, "cpu"), batch=64, memory=memory)


def test_a_full_stack_makes_the_search_go_deep() -> None:
    """Of a hard property the stack grows without end, but not beyond its share, and nothing gets lost."""
    wide, narrow = search(4e9), search(2e6)
    held = []
    for _ in range(60):
        wide.round()
        narrow.round()
        held.append(narrow.state.bytes)
    assert wide.state.bytes > 2e6
    assert max(held) < 2e6
    assert held[-1] > 2e5
    assert not narrow.done
    boxes = merge(narrow.state.parts)
    assert boxes.bytes == narrow.state.bytes
    assert narrow.state.proved() == pytest.approx(
        1 - float(((boxes.upper - boxes.lower) / 1.98).prod(dim=1).sum())
    )
