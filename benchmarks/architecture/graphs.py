"""One-node ONNX graphs: eighteen invalid ones, and random ones near the border of validity."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPSET = 21
BATCH = 2
Shape = tuple[int, ...]
Weights = Mapping[str, Sequence[int] | np.ndarray[Any, Any]]


def graph(
    op: str,
    inputs: Sequence[Shape],
    weights: Weights,
    output: Sequence[int | str] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    order: Sequence[str] | None = None,
    **attributes: Any,
) -> ModelProto:
    """One node on tensors with these full shapes; a weight is a shape of zeros, or an array of its own."""
    tensors = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, s) for i, s in enumerate(inputs)]
    stored = {
        k: v if isinstance(v, np.ndarray) else np.zeros(tuple(v), np.float32) for k, v in weights.items()
    }
    names = list(order or [*(t.name for t in tensors), *stored])
    node = helper.make_node(op, names, list(outputs), name=op.lower(), **attributes)
    ends = [helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, output)]
    initial = [numpy_helper.from_array(v, k) for k, v in stored.items()]
    whole = helper.make_graph([node], "one", tensors, ends, initial)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _ints(*values: int) -> np.ndarray[Any, Any]:
    return np.asarray(values, dtype=np.int64)


INVALID: Mapping[str, Callable[[], ModelProto]] = {
    "Conv, channels": lambda: graph("Conv", [(2, 3, 8, 8)], {"w": (4, 5, 3, 3)}),
    "Conv, kernel larger than the input": lambda: graph("Conv", [(2, 3, 4, 4)], {"w": (4, 3, 5, 5)}),
    "Conv, groups": lambda: graph("Conv", [(2, 4, 8, 8)], {"w": (3, 2, 3, 3)}, group=2),
    "Reshape, count": lambda: graph("Reshape", [(2, 600)], {"s": _ints(2, 400)}),
    "LayerNormalization, scale": lambda: graph("LayerNormalization", [(2, 5, 8)], {"s": (6,), "b": (6,)}),
    "MaxPool, too large": lambda: graph("MaxPool", [(2, 3, 4, 4)], {}, kernel_shape=[5, 5]),
    "ConvTranspose, channels": lambda: graph("ConvTranspose", [(2, 3, 8, 8)], {"w": (4, 5, 3, 3)}),
    "LSTM, input width": lambda: graph(
        "LSTM", [(5, 2, 7)], {"w": (1, 16, 6), "r": (1, 16, 4)}, hidden_size=4
    ),
    "Transpose, perm": lambda: graph("Transpose", [(2, 3, 4)], {}, perm=[0, 1]),
    "DepthToSpace": lambda: graph("DepthToSpace", [(2, 6, 4, 4)], {}, blocksize=2),
    "GroupNormalization": lambda: graph(
        "GroupNormalization", [(2, 6, 4)], {"s": (6,), "b": (6,)}, num_groups=4
    ),
    "Pad, negative": lambda: graph("Pad", [(2, 3, 4)], {"p": _ints(0, 0, -3, 0, 0, -2)}),
    "Gemm": lambda: graph("Gemm", [(2, 8)], {"w": (6, 4)}),
    "MatMul": lambda: graph("MatMul", [(2, 5, 8)], {"w": (6, 4)}),
    "Concat": lambda: graph("Concat", [(2, 3, 4), (2, 3, 5)], {}, axis=1),
    "Add": lambda: graph("Add", [(2, 3, 4), (2, 3, 5)], {}),
    "BatchNormalization": lambda: graph(
        "BatchNormalization", [(2, 3, 4, 4)], {"s": (4,), "b": (4,), "m": (4,), "v": (4,)}
    ),
    "declared output": lambda: graph("Relu", [(2, 3)], {}, (2, 4)),
}
"""What is wrong, to the graph."""


def drawn(rng: random.Random) -> Iterator[tuple[str, ModelProto]]:
    """Endless random one-node graphs: the kind, and the graph."""
    while True:
        kind = rng.choice(list(_DRAW))
        yield kind, _DRAW[kind](rng)


def _shape(rng: random.Random, rank: int) -> Shape:
    return (BATCH, *(rng.choice((1, 2, 3, 4, 6, 7)) for _ in range(rank)))


def _near(rng: random.Random, size: int) -> int:
    """The right size, mostly."""
    return size if rng.random() < 0.75 else max(1, size + rng.choice((-1, 1, 2)))


def _rank(rng: random.Random, usual: int) -> int:
    return usual if rng.random() < 0.9 else rng.randint(1, 4)


def _conv(op: str) -> Callable[[random.Random], ModelProto]:
    def make(rng: random.Random) -> ModelProto:
        dims, group = rng.choice((1, 2, 3)), rng.choice((1, 1, 1, 2, 3))
        shape = _shape(rng, _rank(rng, dims + 1))
        channels = _near(rng, shape[1])
        kernel = [rng.randint(1, 4) for _ in range(dims)]
        wide, deep = max(1, channels // group), rng.choice((1, 2, 3, 4, 6))
        first = (deep, wide) if op == "Conv" else (channels, max(1, deep // group))
        more: dict[str, Any] = {"strides": [rng.randint(1, 3) for _ in range(dims)], "group": group}
        more["pads"] = [rng.choice((0, 0, 1, 2)) for _ in range(2 * dims)]
        more["dilations"] = [rng.choice((1, 1, 1, 2)) for _ in range(dims)]
        if op == "ConvTranspose":
            more["output_padding"] = [rng.choice((0, 0, 1)) for _ in range(dims)]
        elif rng.random() < 0.2:
            del more["pads"]
            more["auto_pad"] = rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
            more["dilations"] = [1] * dims
        weights: dict[str, Any] = {"w": (*first, *kernel)}
        if rng.random() < 0.5:
            out = deep if op == "Conv" else first[1] * group
            weights["b"] = (_near(rng, out) if rng.random() < 0.3 else out,)
        return graph(op, [shape], weights, **more)

    return make


def _pool(op: str) -> Callable[[random.Random], ModelProto]:
    def make(rng: random.Random) -> ModelProto:
        dims = rng.choice((1, 2, 3))
        more: dict[str, Any] = {"kernel_shape": [rng.randint(1, 4) for _ in range(dims)]}
        more["strides"] = [rng.randint(1, 3) for _ in range(dims)]
        more["pads"] = [rng.choice((0, 0, 0, 1, 2)) for _ in range(2 * dims)]
        return graph(op, [_shape(rng, _rank(rng, dims + 1))], {}, **more)

    return make


def _gemm(rng: random.Random) -> ModelProto:
    shape = _shape(rng, _rank(rng, 1))
    wide, deep, turned = _near(rng, shape[-1]), rng.randint(1, 5), rng.random() < 0.5
    weights: dict[str, Any] = {"w": (deep, wide) if turned else (wide, deep)}
    if rng.random() < 0.5:
        weights["b"] = (_near(rng, deep),)
    return graph("Gemm", [shape], weights, transB=int(turned))


def _matmul(rng: random.Random) -> ModelProto:
    shape = _shape(rng, rng.randint(1, 4))
    if rng.random() < 0.5 or len(shape) < 3:
        return graph("MatMul", [shape], {"w": (_near(rng, shape[-1]), rng.randint(1, 5))})
    other = (*(n if rng.random() < 0.9 else 1 for n in shape[1:-2]), _near(rng, shape[-1]), rng.randint(1, 5))
    return graph("MatMul", [shape, (BATCH, *other)], {})


def _binary(rng: random.Random) -> ModelProto:
    op, shape = rng.choice(("Add", "Sub", "Mul", "Div", "Max", "Min")), _shape(rng, rng.randint(1, 4))
    other = tuple(n if rng.random() < 0.8 else rng.randint(1, 3) for n in shape[1:])
    if rng.random() < 0.5:
        return graph(op, [shape, (BATCH, *(other[1:] if rng.random() < 0.15 else other))], {})
    kept = other[rng.randint(0, len(other) - 1) :]
    return graph(op, [shape], {"c": (1, *other) if rng.random() < 0.3 else kept})


def _norm(rng: random.Random) -> ModelProto:
    op = rng.choice(
        ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization")
    )
    shape = _shape(rng, rng.randint(2, 4))
    if op == "LayerNormalization":
        axis = rng.choice((-1, -2, len(shape) - 1))
        tail = tuple(_near(rng, n) for n in shape[axis:])
        return graph(op, [shape], {"s": tail, "b": tail}, axis=axis)
    names = ("s", "b", "m", "v")[: 4 if op == "BatchNormalization" else 2]
    size = _near(rng, shape[1])
    more = {"num_groups": rng.choice((1, 2, 3))} if op == "GroupNormalization" else {}
    return graph(op, [shape], dict.fromkeys(names, (size,)), **more)


def _recurrent(rng: random.Random) -> ModelProto:
    op, hidden, shape = rng.choice(("LSTM", "GRU", "RNN")), rng.randint(1, 4), _shape(rng, _rank(rng, 2))
    gates, width = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], _near(rng, shape[-1])
    weights = {"w": (1, gates * hidden, width), "r": (1, gates * hidden, hidden)}
    return graph(op, [shape], weights, hidden_size=hidden)


def _moving(rng: random.Random) -> ModelProto:
    """Operators that move or regroup entries."""
    op, shape = (
        rng.choice(("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Pad")),
        _shape(rng, rng.randint(1, 4)),
    )
    rank = len(shape)
    if op == "Reshape":
        target = shape[:0:-1] if rng.random() < 0.6 else (_near(rng, shape[1]), -1)
        return graph(op, [shape], {"s": _ints(rng.choice((BATCH, 0)), *target)})
    if op == "Transpose":
        perm = rng.sample(range(1, rank), rank - 1)
        return graph(op, [shape], {}, perm=[0, *perm][: rank if rng.random() < 0.8 else max(1, rank - 1)])
    if op == "Pad":
        pads = [rng.choice((0, 0, 1, 2, -1)) for _ in range(2 * (rank - 1))]
        return graph(op, [shape], {"p": _ints(0, *pads[: rank - 1], 0, *pads[rank - 1 :])})
    axes = _ints(rng.choice(list(range(1, rank + (op == "Unsqueeze")))))
    return graph(op, [shape], {"a": axes})


def _blocks(rng: random.Random) -> ModelProto:
    op = rng.choice(("DepthToSpace", "SpaceToDepth"))
    return graph(op, [_shape(rng, _rank(rng, 3))], {}, blocksize=rng.choice((1, 2, 2)))


def _concat(rng: random.Random) -> ModelProto:
    shape = _shape(rng, rng.randint(1, 4))
    other = (BATCH, *(_near(rng, n) if rng.random() < 0.4 else n for n in shape[1:]))
    return graph("Concat", [shape, other], {}, axis=rng.choice([-1, *range(1, len(shape))]))


def _others(rng: random.Random) -> ModelProto:
    shape = _shape(rng, rng.randint(1, 4))
    op = rng.choice(("Softmax", "ReduceMean", "Flatten", "Relu", "GlobalAveragePool", "Resize"))
    axis = rng.randint(1, len(shape))
    if op == "ReduceMean":
        return graph(op, [shape], {"a": _ints(axis)}, keepdims=rng.randint(0, 1))
    if op == "Resize":
        scales = np.asarray([1, *(rng.randint(1, 3) for _ in shape[1:])], np.float32)
        return graph(op, [shape], {"scales": scales}, order=("x0", "", "scales"))
    return graph(op, [shape], {}, **({"axis": axis} if op == "Softmax" else {}))


_DRAW: Mapping[str, Callable[[random.Random], ModelProto]] = {
    **{op: _conv(op) for op in ("Conv", "ConvTranspose")},
    **{op: _pool(op) for op in ("MaxPool", "AveragePool")},
    "Gemm": _gemm,
    "MatMul": _matmul,
    "elementwise": _binary,
    "normalisation": _norm,
    "recurrent": _recurrent,
    "moving": _moving,
    "blocks": _blocks,
    "Concat": _concat,
    "others": _others,
}
