"""Rare events: estimates against corner volumes that are known, and what cannot be estimated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sampled_networks import at_least, corner, sum_network, unit
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import SamplingError
from repairsolver.property import Property
from repairsolver.sampling.distributions import Sampler

DEMO = Path(rs.__file__).parent / "demo"
FEW = {"particles": 400, "moves": 6}


@pytest.mark.parametrize(("inputs", "depth"), [(2, 1e-3), (3, 0.05), (4, 0.1)])
def test_corner_volumes(inputs, depth):
    """5e-7, 2e-5 and 4e-6, each with some 10,000 evaluations a repetition."""
    prop = at_least(inputs - depth, unit(inputs))
    found = rs.estimate_rare_event(sum_network(inputs), prop, repetitions=10, **FEW)
    exact = corner(inputs, depth)
    assert abs(found.probability - exact) < 4 * found.standard_error
    assert found.standard_error < 0.2 * exact
    assert found.reached
    for example in found.counterexamples:
        assert example.input.sum() >= inputs - depth - 1e-6


def test_estimates_are_unbiased():
    """Many cheap repetitions of a badly mixing chain: the mean is right all the same."""
    prop = at_least(2 - 0.05, unit(2))
    found = rs.estimate_rare_event(sum_network(2), prop, particles=60, repetitions=300, moves=1)
    assert abs(found.probability - corner(2, 0.05)) < 4 * found.standard_error
    assert found.standard_error < 0.1 * found.probability


def test_a_probability_that_is_not_small():
    found = rs.estimate_rare_event(sum_network(2), at_least(1.0, unit(2)), repetitions=5, **FEW)
    assert len(found.levels) == 1
    assert found.interval[0] <= 0.5 <= found.interval[1]


def test_two_corners_of_two_regions():
    """Each box holds a corner of probability 5e-5 of its own volume."""
    prop = at_least(1.99, unit(2), ([0.0, 0.0], [1.0, 1.0]))
    found = rs.estimate_rare_event(sum_network(2), prop, repetitions=10, **FEW)
    assert abs(found.probability - corner(2, 0.01)) < 4 * found.standard_error


def test_truncated_normal_inputs():
    prop = at_least(1.9, unit(2))
    found = rs.estimate_rare_event(
        sum_network(2), prop, repetitions=10, distribution=rs.TruncatedNormal(0.25), **FEW
    )
    plain = rs.sample(
        sum_network(2),
        prop,
        epsilon=0.5,
        eta=0.01,
        distribution="truncated-normal",
        sequential=False,
        samples=300_000,
    )
    assert found.probability == pytest.approx(plain.estimate, abs=4 * found.standard_error + 2e-5)


def test_what_is_never_reached():
    found = rs.estimate_rare_event(sum_network(2), at_least(2.5, unit(2)), repetitions=2, **FEW)
    assert not found.reached
    assert found.probability == 0
    assert "shows nothing" in found.sentences()[0]


def test_same_seed_same_estimate_and_no_guarantee_claimed():
    prop = at_least(1.9, unit(2))
    runs = [rs.estimate_rare_event(sum_network(2), prop, repetitions=2, seed=s, **FEW) for s in (1, 1, 2)]
    assert (runs[0].estimates == runs[1].estimates).all()
    assert not (runs[0].estimates == runs[2].estimates).all()
    assert "without guarantee" in repr(runs[0])
    assert "no guarantee" in runs[0].sentences()[0]


def test_time_is_limited():
    found = rs.estimate_rare_event(
        sum_network(2), at_least(1.9, unit(2)), limits=rs.Limits(seconds=1e-3), **FEW
    )
    assert len(found.estimates) == 2
    assert "time was up" in found.notes[0]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"distribution": Sampler(np.random.rand)}, "uniform and truncated-normal inputs alone"),
        ({"particles": 10}, "at least 50 particles"),
        ({"repetitions": 1}, "2 repetitions"),
    ],
)
def test_bad_wishes(wishes, message):
    with pytest.raises(SamplingError, match=message):
        rs.estimate_rare_event(sum_network(2), at_least(1.9, unit(2)), **wishes)


def test_no_region():
    with pytest.raises(SamplingError, match="nothing to sample"):
        rs.estimate_rare_event(sum_network(2), Property((), 2, 1))


def invoke(*arguments):
    files = [str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib")]
    return CliRunner().invoke(app, ["sample", *files, *arguments], catch_exceptions=False)


def test_command_line():
    done = invoke("--rare", "--quiet", "--timeout", "0.1")
    assert done.stdout.splitlines()[0] == "estimated"
    assert "Estimate, no guarantee" in done.stdout
    record = json.loads(invoke("--rare", "--quiet", "--json", "--timeout", "0.1").stdout)
    assert (record["result"], record["guarantee"]) == ("estimated", None)
    assert record["probability"] > 0


def test_command_line_usage():
    assert invoke("--rare", "--epsilon", "0.1").exit_code == 2
    for option in ("--fixed", "--samples 5", "--device cuda", "--prove 1"):
        refused = invoke("--rare", *option.split())
        assert refused.exit_code == 2
        assert option.split()[0] in refused.stderr
