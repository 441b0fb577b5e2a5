"""Architecture repair: diagnosis, edits, the search against brute force and z3, front ends and errors."""

from __future__ import annotations

import itertools
import json
import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.exact import refuse
from repairsolver.architecture.model import Layer, build
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.search import layouts
from repairsolver.architecture.writing import model_record
from repairsolver.cli.main import app
from repairsolver.errors import ArchitectureError

DATA = os.environ.get("REPAIRSOLVER_DATA")


def chain(*layers, input_shape=(8, 8, 1), framework="keras", **more):
    listed = [
        {"name": f"{kind.lower()}_{i}", "type": kind, "args": args}
        for i, (kind, args) in enumerate(layers, 1)
    ]
    return read_model({"framework": framework, "input_shape": list(input_shape), "layers": listed, **more})


def small_kernel_on_small_map():
    return chain(
        ("Conv2D", {"filters": 4, "kernel_size": 5}),
        ("MaxPooling2D", {"pool_size": 2}),
        ("Conv2D", {"filters": 4, "kernel_size": 3}),
    )


def test_a_repair_names_the_edit_and_why():
    fix = rs.repair_architecture(small_kernel_on_small_map())
    assert [str(edit) for edit in fix.edits] == ["conv2d_3: padding 'valid' → 'same'"]
    assert "window (3, 3) on (2, 2)" in fix.reasons[0].fault
    assert fix.proved
    assert any("conv2d_1" in str(edits) for edits in fix.equals)
    assert diagnose_model(fix.model).valid


def test_nothing_is_done_to_a_valid_model():
    model = chain(("Flatten", {}), ("Dense", {"units": 3}))
    fix = rs.repair_architecture(model)
    assert (fix.status, fix.edits, fix.proved) == ("valid", (), True)


def test_all_independent_faults_are_found():
    model = read_model(
        {
            "framework": "torch",
            "input_shape": [4],
            "layers": [
                {"name": "a", "type": "Linear", "args": {"in_features": 5, "out_features": 6}},
                {"name": "b", "type": "Linear", "args": {"in_features": 7, "out_features": 2}},
            ],
        }
    )
    assert [(f.layer, f.rule) for f in rs.diagnose(model).faults] == [
        ("a", "in_features"),
        ("b", "in_features"),
    ]
    fix = rs.repair_architecture(model)
    assert {(e.layer, e.name, e.value) for e in fix.edits} == {
        ("a", "in_features", 4),
        ("b", "in_features", 6),
    }


def test_an_output_shape_is_a_demand():
    model = chain(("Conv1D", {"filters": 4, "kernel_size": 3}), ("Dense", {"units": 2}), input_shape=(9, 1))
    fix = rs.repair_architecture(model, output_shape=(2,))
    assert [str(edit) for edit in fix.edits] == ["insert Flatten() before dense_2"]


def test_weights_that_only_need_another_order():
    model = chain(
        ("Conv2D", {"filters": 5, "kernel_size": 3}), given_weights={"conv2d_1": {"kernel": [5, 3, 3, 1]}}
    )
    fix = rs.repair_architecture(model)
    assert [(e.operation, e.value) for e in fix.edits] == [("weights", (3, 3, 1, 5))]


def test_merges_are_bridged_and_skips_respected():
    layers = [
        Layer("a", "Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same"}, ("x",)),
        Layer("p", "MaxPooling2D", {"pool_size": 2}, ("a",)),
        Layer("u", "UpSampling2D", {"size": 2}, ("p",)),
        Layer("m", "Concatenate", {}, ("u", "a")),
    ]
    fix = repair_model(build("keras", {"x": (7, 7, 1)}, layers))
    assert [str(edit) for edit in fix.edits] == ["insert ZeroPadding2D(padding=(0, 1, 0, 1)) before m"] or (
        fix.cost < Costs().adapters["Pad"]
    )
    assert fix.proved


def candidates(model):
    """Every set of at most two argument changes with small numbers: an oracle of its own."""
    singles = []
    for layer in model.layers:
        for argument in model.rule(layer).arguments:
            old = layer.args[argument.name]
            if argument.role not in ("derived", "groups", "padding"):
                continue
            values = argument.choices or range(1, 9)
            for value in values:
                price = Costs().unpad if value == "valid" else Costs().roles[argument.role]
                if value != old and argument.size == 0:
                    singles.append(Edit("set", layer.name, argument.name, value, price))
    return [*((edit,) for edit in singles), *itertools.combinations(singles, 2)]


@pytest.mark.parametrize("seed", range(12))
def test_no_brute_force_repair_is_cheaper(seed):
    rng = random.Random(seed)
    sizes = [rng.randint(2, 6) for _ in range(6)]
    model = chain(
        ("Linear", {"in_features": sizes[0], "out_features": sizes[1]}),
        ("ReLU", {}),
        ("Linear", {"in_features": sizes[2], "out_features": sizes[3]}),
        ("LayerNorm", {"normalized_shape": [sizes[4]]}),
        input_shape=(sizes[5],),
        framework="torch",
    )
    fix = repair_model(model)
    valid = [edits for edits in candidates(model) if diagnose_model(apply_edits(model, edits)).valid]
    assert fix.proved
    assert all(fix.cost <= sum(edit.cost for edit in edits) for edits in valid)


def test_z3_refuses_below_the_price_and_not_at_it():
    model, costs = small_kernel_on_small_map(), Costs()
    price = repair_model(model).cost
    variants = list(layouts(model, costs))
    assert refuse(variants, costs, price - 1, 20).status == "refused"
    at = refuse(variants, costs, price, 20)
    assert at.status == "possible"
    assert diagnose_model(apply_edits(model, at.edits)).valid


def test_tensors_of_more_axes_are_proved_by_the_grids():
    model = chain(
        ("Reshape", {"target_shape": [2, 2, 2, 2, 2]}),
        ("Flatten", {}),
        ("LSTM", {"units": 2}),
        input_shape=(32,),
    )
    fix = repair_model(model)
    assert fix.status == "repaired"
    assert fix.engine == "grids"
    assert diagnose_model(fix.model).valid


def test_cheap_insertions_are_seen_by_the_proof():
    """Prices under which an inserted layer is the cheapest edit: the refusal must not overlook it."""
    cheap = Costs(adapters={**dict.fromkeys(Costs().adapters, 9), "Project": 1})
    model = chain(("Linear", {"in_features": 5, "out_features": 2}), input_shape=(3,), framework="torch")
    fix = repair_model(model, cheap)
    assert [edit.name for edit in fix.edits] in (["Linear"], ["in_features"])
    assert refuse(list(layouts(model, cheap)), cheap, 1, 10).status == "possible"


def test_prices_are_configurable():
    dear = Costs(roles={**Costs().roles, "padding": 50})
    fix = repair_model(small_kernel_on_small_map(), dear)
    assert all(edit.name != "padding" for edit in fix.edits)


def test_a_written_model_reads_back(tmp_path):
    fix = rs.repair_architecture(small_kernel_on_small_map())
    path = tmp_path / "fixed.json"
    path.write_text(json.dumps(model_record(fix.model)))
    assert rs.diagnose(path).valid


def test_keras_json_sequential_and_functional():
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 2}}
    first = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 4, 3]}}
    rnn = {"class_name": "LSTM", "config": {"name": "l", "units": 5, "return_sequences": False}}
    again = {"class_name": "LSTM", "config": {"name": "l2", "units": 5}}
    model = {"class_name": "Sequential", "config": {"layers": [first, rnn, again, dense]}}
    fix = rs.repair_architecture(model)
    assert [str(edit) for edit in fix.edits] == ["l: return_sequences False → True"]
    add = {
        "class_name": "Add",
        "config": {"name": "s"},
        "name": "s",
        "inbound_nodes": [[["a", 0, 0, {}], ["b", 0, 0, {}]]],
    }
    two = [
        {
            "class_name": "Dense",
            "config": {"name": name, "units": units},
            "name": name,
            "inbound_nodes": [[["i", 0, 0, {}]]],
        }
        for name, units in (("a", 2), ("b", 3))
    ]
    config = {"layers": [{**first, "name": "i"}, *two, add], "output_layers": [["s", 0, 0]]}
    found = rs.diagnose({"class_name": "Functional", "config": config})
    assert [fault.layer for fault in found.faults] == ["s"]


def test_unknown_layer_types_are_listed_at_once():
    with pytest.raises(ArchitectureError, match="magic_1: Magic, trick_2: Trick"):
        chain(("Magic", {}), ("Trick", {}))


def test_malformed_json_names_its_position(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"layers": [\n  {"type": }]}')
    with pytest.raises(ArchitectureError, match="line 2, column 12"):
        rs.diagnose(path)


def test_cycles_missing_inputs_and_names_are_refused():
    with pytest.raises(ArchitectureError, match="cycle"):
        build("keras", {"x": (2,)}, [Layer("a", "Add", {}, ("x", "b")), Layer("b", "ReLU", {}, ("a",))])
    with pytest.raises(ArchitectureError, match="unknown inputs: y"):
        build("keras", {"x": (2,)}, [Layer("a", "ReLU", {}, ("y",))])
    with pytest.raises(ArchitectureError, match="used twice: a"):
        build("keras", {"x": (2,)}, [Layer("a", "ReLU", {}, ("x",))] * 2)
    with pytest.raises(ArchitectureError, match="lacks filters, kernel_size"):
        chain(("Conv2D", {}))


def test_the_command_line(tmp_path):
    path, out = tmp_path / "model.json", tmp_path / "fixed.json"
    path.write_text(json.dumps(model_record(small_kernel_on_small_map())))
    result = CliRunner().invoke(app, ["architecture", str(path), "-o", str(out), "--all"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "repaired"
    assert CliRunner().invoke(app, ["architecture", str(out)]).stdout.splitlines()[0] == "valid"
    record = json.loads(CliRunner().invoke(app, ["architecture", str(path), "--json"]).stdout)
    assert record["proved"] is True
    assert record["edits"][0]["layer"] == "conv2d_3"


def test_contradictions_are_irreducible():
    """All statements together have no solution; without any one of them there is a valid model."""
    found = rs.contradiction(small_kernel_on_small_map())
    assert found.irreducible
    assert [s.split()[0] for s in found.statements] == ["input", "conv2d_1", "maxpooling2d_2", "conv2d_3"]
    wide = small_kernel_on_small_map()
    assert rs.contradiction(wide, input_shape=(16, 16, 1)) is None
    units = chain(("Conv2D", {"filters": 4, "kernel_size": 3}), ("Flatten", {}), ("Dense", {"units": 3}))
    found = rs.contradiction(units, output_shape=(5,))
    assert found.statements == ("dense_3 is Dense(units=3)", "output dense_3 is (5,)")
    given = chain(("Dense", {"units": 3}), input_shape=(4,), given_weights={"dense_1": {"kernel": [5, 3]}})
    assert len(rs.contradiction(given).statements) == 2


def test_opaque_layers_of_a_layer_list(tmp_path):
    layers = [
        {"name": "a", "type": "Magic", "args": {}},
        {"name": "b", "type": "Dense", "args": {"units": 2}},
        {"name": "c", "type": "LSTM", "args": {"units": 2}},
    ]
    model = {"framework": "keras", "input_shape": [4], "layers": layers}
    with pytest.raises(ArchitectureError, match="a: Magic"):
        rs.diagnose(model)
    assert [f.layer for f in rs.diagnose(model, opaque={"Magic": None}).faults] == ["c"]
    assert rs.diagnose(model, opaque={"a": (3, 4)}).valid
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    told = CliRunner().invoke(app, ["architecture", str(path), "--opaque", "a=3,4"])
    assert told.stdout.splitlines()[0] == "valid"
    core = CliRunner().invoke(app, ["architecture", str(path), "--opaque", "a", "--core"])
    assert "these contradict each other" in core.stdout


def test_an_opaque_shape_is_not_edited():
    """The shape that the user states of an opaque layer is no input whose axes could be moved."""
    layers = [
        {"name": "a", "type": "Magic", "args": {}},
        {"name": "b", "type": "Conv2D", "args": {"filters": 2, "kernel_size": 3}},
    ]
    model = {"framework": "keras", "input_shape": [4], "layers": layers}
    fix = rs.repair_architecture(model, opaque={"a": (1, 8, 8)})
    assert fix.proved
    assert all(edit.operation != "input" for edits in (fix.edits, *fix.equals) for edit in edits)


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="REPAIRSOLVER_DATA is not set")
def test_the_real_bugs_keep_their_widths():
    for case in json.loads((Path(str(DATA)) / "exais" / "real_bugs.json").read_text()):
        fix = repair_model(read_model(case), seconds=0.5)
        assert fix.status in ("repaired", "valid")
        assert diagnose_model(fix.model).valid
        changed = {edit.name for edit in fix.edits if edit.operation == "set"}
        assert not changed & {"units", "filters"}, case["id"]


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="REPAIRSOLVER_DATA is not set")
def test_every_tenth_random_model_is_repaired():
    lines = (Path(str(DATA)) / "exais" / "random_models.jsonl").read_text().splitlines()[::10]
    for line in lines:
        fix = repair_model(read_model(json.loads(line)), prove=False)
        assert fix.status in ("repaired", "valid")
        assert diagnose_model(fix.model).valid
