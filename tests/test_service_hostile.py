"""Hostile files: every job that gets one ends with a reason, within its limits, and the server goes on."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from service_server import NET, PROP, Server, serving

from repairsolver.service.events import _aligned, _read
from repairsolver.service.folder import Folder
from repairsolver.service.kinds import KINDS
from repairsolver.service.kinds.kind import Slot
from repairsolver.service.uploads import ending_of, parse_options, shown

SIZES = [
    helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 5))
]


def model(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> bytes:
    """A model from 4 inputs x to 5 outputs y."""
    graph = helper.make_graph(list(nodes), "g", SIZES[:1], SIZES[1:], list(tensors))
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return made


def huge_constant() -> bytes:
    """A constant of 10^12 numbers in a few bytes."""
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [10**6, 10**6])
    return model(
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
        tensors=(shape,),
    )


def huge_claim() -> bytes:
    """A tensor that claims a shape which its data does not have."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    del tensor.dims[:]
    tensor.dims.extend([2**31 - 1, 2**31 - 1])
    return model(helper.make_node("MatMul", ["x", "w"], ["y"]), tensors=(tensor,))


def huge_reshape() -> bytes:
    """An expansion to 10^12 numbers."""
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [10**6, 4 * 10**6])
    return model(helper.make_node("Tile", ["x", "s"], ["y"]), tensors=(shape,))


def outside(location: str) -> bytes:
    """A tensor whose data is said to lie elsewhere."""
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4, 5], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", "0"), ("length", "80")):
        tensor.external_data.add(key=key, value=value)
    return model(helper.make_node("MatMul", ["x", "w"], ["y"]), tensors=(tensor,))


def nested_graphs() -> bytes:
    """Graphs within graphs, deeper than protobuf reads."""
    graph = b""
    for _ in range(3000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            graph = tag + _varint(len(graph)) + graph
    return b"\x3a" + _varint(len(graph)) + graph


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def bomb(size: int) -> bytes:
    """So many zeros, packed twice as small as gzip alone does, member behind member."""
    part = gzip.compress(b"\0" * 2**24, 9)
    return part * (size // 2**24)


def packed_points() -> bytes:
    """An archive of points that unpacks to 64 GB, by what it claims."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (2 * 10**9, 4)}
        )
        archive.writestr("inputs.npy", header.getvalue() + b"\0" * 10**6)
    return stream.getvalue()


def pickled_points(path: Path) -> bytes:
    """An archive whose array is a pickle that would create a file."""

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (path,)

    stream = io.BytesIO()
    np.savez(stream, inputs=np.array([Evil()], dtype=object))
    return stream.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("hostile"), "--memory", "1.2", "--workers", "2") as started:
        yield started


NETWORKS: dict[str, bytes] = {
    "garbage.onnx": bytes(range(256)) * 40,
    "cut.onnx": NET.read_bytes()[:4000],
    "constant.onnx": huge_constant(),
    "claim.onnx": huge_claim(),
    "reshape.onnx": huge_reshape(),
    "absolute.onnx": outside("/etc/passwd"),
    "above.onnx": outside("../request.json"),
    "nested.onnx": nested_graphs(),
    "bomb.onnx.gz": bomb(5 * 2**30),
    "bomb.nnet": b"//\n" * 10**6,
}
PROPERTIES: dict[str, bytes] = {
    "deep.vnnlib": b"(assert " + b"(and " * 400_000,
    "bomb.vnnlib.gz": bomb(2**30),
    "digits.vnnlib": b"(declare-const X_0 Real)\n(assert (<= X_0 " + b"9" * 10**6 + b"))",
    "many.vnnlib": b"".join(b"(declare-const X_%d Real)\n" % i for i in range(200_000)),
}


def test_every_hostile_file_is_refused_and_the_server_goes_on(server: Server, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    points = {
        "bomb.npz": packed_points(),
        "pickle.npz": pickled_points(touched),
        "csv.csv": b"1,2,\n" * 10**5,
    }
    models = {"deep.json": b'{"layers":' * 200_000, "latin.json": b'"\xff\xfe"', "list.json": b"[" * 10**6}
    asked: dict[str, str] = {}
    for kind, slot, files in (
        ("verify", "network", NETWORKS),
        ("verify", "property", PROPERTIES),
        ("repair", "points", points),
        ("architecture", "model", models),
    ):
        for name, content in files.items():
            path = tmp_path / name
            path.write_bytes(content)
            whole = {} if kind == "architecture" else {"network": NET, "property": PROP}
            answer = server.submit(kind, whole | {slot: path}, '{"seconds": 5}')
            assert answer.status_code == 201, answer.text
            asked[name] = answer.json()["id"]
    for name, id_ in asked.items():
        job = server.ended(id_, 200)
        assert (name, job["state"]) == (name, "failed"), job
        assert job["reason"] in ("input", "memory"), (name, job)
        assert job["message"]
    bomb_job = server.job(asked["bomb.onnx.gz"])
    assert (bomb_job["reason"], "memory" in bomb_job["message"]) == ("memory", True), bomb_job
    assert not touched.exists(), "a pickle was loaded"
    assert "outside the folder" in server.job(asked["above.onnx"])["message"]
    good = server.submit("verify", {"network": NET, "property": PROP}).json()["id"]
    assert server.ended(good)["answer"] == "sat"


def test_a_hostile_certificate_is_refused(server: Server, tmp_path: Path) -> None:
    head = {"counts": {"nodes": 2**40, "splits": 2**39, "leaves": 2**39, "rows": 2**20}}
    path = tmp_path / "x.cert"
    path.write_bytes(json.dumps(head).encode() + b"\n\n" + zlib.compress(b"\0" * 2**24))
    job = server.ended(
        server.submit("check", {"certificate": path, "network": NET, "property": PROP}).json()["id"]
    )
    assert (job["state"], job["reason"]) in (("failed", "input"), ("done", "")), job
    assert job["answer"] != "valid"


@given(st.text(max_size=400))
@settings(max_examples=100, deadline=None)
def test_names_are_short_words_without_folders(name: str) -> None:
    word = shown(name)
    assert 0 < len(word) <= 200
    assert "/" not in word
    assert "\\" not in word
    assert word.isprintable()


@given(st.text(max_size=60).map(lambda text: text + ".onnx") | st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_files_are_stored_under_endings_of_ours(name: str) -> None:
    slot = Slot("network", "Network", (".onnx", ".onnx.gz"))
    assert ending_of(slot, name) in (None, ".onnx", ".onnx.gz")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(sorted({name for kind in KINDS.values() for name in kind.options.model_fields}))


@given(
    st.sampled_from(sorted(KINDS)),
    st.text(max_size=60) | JSON.map(json.dumps) | st.dictionaries(NAMES, JSON).map(json.dumps),
)
@settings(max_examples=150, deadline=None)
def test_options_are_taken_whole_or_refused(kind: str, text: str) -> None:
    options, refused = None, None
    try:
        options = parse_options(KINDS[kind], text, 100.0)
    except HTTPException as error:
        refused = error
    if options is None:
        assert refused is not None
        assert (refused.status_code, bool(refused.detail)) == (422, True)
    else:
        assert set(options) == set(KINDS[kind].options.model_fields)
        assert 0 < options["seconds"] <= 100
        assert KINDS[kind].options(**options)


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"").hex()), max_size=8),
    st.integers(-5, 400),
)
@settings(max_examples=50, deadline=None)
def test_events_are_read_in_whole_lines_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], start: int
) -> None:
    folder = Folder(tmp_path_factory.mktemp("events"))
    folder.events.write_text("".join(f"{line}\n" for line in lines) + "torn")
    offset = _aligned(folder, start)
    found, end = _read(folder, offset)
    assert [line for _, line in found] == lines[len(lines) - len(found) :]
    assert _read(folder, end) == ([], end)
