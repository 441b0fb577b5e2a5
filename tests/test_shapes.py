"""Layer rules: against real torch on random calls, and the same on solver terms as on numbers."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import z3

from benchmarks.architecture.calls import Call, draw, explained, kinds, predicted, real
from layerwise.shapes import RULES, RankMismatch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", kinds("torch"))
def test_rules_agree_with_torch_on_real_tensors(kind):
    rng = random.Random(kind)
    for _ in range(60):
        call = draw("torch", kind, rng)
        rule, found = predicted(call), real(call)
        assert rule == found or explained(call, rule, found), call


def test_the_oracle_sees_a_wrong_rule():
    call = Call("torch", "Linear", {"in_features": 3, "out_features": 4}, ((5,),))
    assert real(call) is None
    assert predicted(call) is None
    assert real(Call("torch", "Linear", {"in_features": 5, "out_features": 4}, ((5,),))) == (4,)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_rules_say_the_same_on_terms(framework):
    """On terms fixed to numbers, z3 accepts exactly the calls that are valid, with the same shape."""
    rng = random.Random(framework)
    for kind in [kind for kind in kinds(framework) if kind not in ("Concat", "Concatenate")]:
        for _ in range(4):
            call = draw(framework, kind, rng)
            assert by_terms(call) == predicted(call), call


def by_terms(call: Call) -> tuple[int, ...] | None:
    solver = z3.Solver()
    inputs = [
        tuple(z3.Int(f"i{n}_{axis}") for axis in range(len(shape))) for n, shape in enumerate(call.inputs)
    ]
    for terms, shape in zip(inputs, call.inputs, strict=True):
        solver.add(*(term == size for term, size in zip(terms, shape, strict=True)))
    try:
        outcome = RULES[call.framework][call.kind](inputs, call.args)
    except RankMismatch:
        return None
    solver.add(*(need.holds for need in outcome.requirements))
    out = [z3.Int(f"out{axis}") for axis in range(len(outcome.shape))]
    solver.add(*(o == s for o, s in zip(out, outcome.shape, strict=True)), *(o >= 1 for o in out))
    if solver.check() != z3.sat:
        return None
    found = solver.model()
    return tuple(found[o].as_long() for o in out)


@pytest.mark.parametrize(
    ("kind", "args", "shape", "expected"),
    [
        ("Conv2D", {"filters": 3, "kernel_size": (5, 5), "padding": "valid"}, (4, 4, 1), None),
        ("Conv2D", {"filters": 3, "kernel_size": (5, 5), "padding": "same"}, (4, 4, 1), (4, 4, 3)),
        ("Conv2D", {"filters": 3, "kernel_size": (1, 3), "padding": "valid"}, (4, 4, 1), (4, 2, 3)),
    ],
)
def test_conv2d_of_keras(kind, args, shape, expected):
    rest = {"strides": (1, 1), "dilation_rate": (1, 1), "data_format": "channels_last", "groups": 1}
    assert predicted(Call("keras", kind, {**rest, **args}, (shape,))) == expected


def test_rules_load_no_solver_for_numbers():
    use = "layerwise.shapes.RULES['keras']['Dense']([(3,)], {'units': 2})"
    code = f"import sys, layerwise.shapes; {use}; print('z3' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
