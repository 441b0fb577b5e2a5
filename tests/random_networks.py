"""Seeded random networks over every operator, and random properties with thresholds close to the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from repairsolver.network import Network, load_network
from repairsolver.property import Conjunction, Property, Region

OPSET = 17
PIECEWISE = ("Relu", "LeakyRelu", "PRelu", "Clip", "HardSigmoid")
SMOOTH = ("Sigmoid", "Tanh")
SLOPES = (0.0625, 0.25, 1.0, 1.75, -0.5, 0.0)
CLIPS = ((-0.5, 0.5), (0.0, 6.0), (None, 0.375), (-0.25, None), (0.25, 0.25))


class Draft:
    """An ONNX graph that grows node by node; the current tensor is the last one, of a known shape."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng, self.input_shape = rng, shape
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.current, self.shape = "x", shape

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """Multiples of 1/16: sums and products are exact in float32, and exact arithmetic stays small."""
        return self.constant(np.round(16 * self.rng.normal(size=shape) * scale) / 16)

    def add(self, operator: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: object) -> str:
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [out], name=f"n{out}", **attributes))
        self.current, self.shape = out, shape
        return out

    def network(self, name: str) -> Network:
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )
        imports = [helper.make_opsetid("", OPSET)]
        version = helper.find_min_ir_version_for(imports)
        proto = helper.make_model(graph, opset_imports=imports, ir_version=version)
        return load_network(proto.SerializeToString(), name=name)


def random_network(
    seed: int, *, smooth: bool = True, softmax: bool = False, steps: int = 3, outputs: int | None = None
) -> Network:
    """A network of 1 to 8 inputs with `steps` random stages before its last layer.

    Args:
        smooth: whether sigmoid and tanh may occur (otherwise it is piecewise linear).
        softmax: whether a softmax comes last.
    """
    rng = np.random.default_rng(seed)
    draft = Draft(rng, _start(rng))
    for _ in range(steps):
        _stage(draft, smooth)
    _flatten(draft)
    _gemm(draft, outputs or int(rng.integers(1, 4)))
    if softmax:
        draft.add("Softmax", [draft.current], draft.shape, axis=-1)
    return draft.network(f"random{seed}")


def dense_network(seed: int, sizes: Sequence[int], activation: str = "Relu") -> Network:
    """A chain of Gemm layers with one activation between them."""
    draft = Draft(np.random.default_rng(seed), (1, sizes[0]))
    for size in sizes[1:-1]:
        _gemm(draft, size)
        _activate(draft, activation)
    _gemm(draft, sizes[-1])
    return draft.network(f"dense{seed}")


def single_activation(operator: str, size: int, seed: int = 0) -> Network:
    """One activation applied to the input itself."""
    draft = Draft(np.random.default_rng(seed), (1, size))
    _activate(draft, operator)
    return draft.network(operator)


def random_box(
    rng: np.random.Generator, network: Network, width: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A box with corners at multiples of 1/64; about one input in six is fixed."""
    n = network.input_size
    centre = rng.normal(size=n) * 0.7
    radius = rng.uniform(0.02, 1.0, size=n) * width * (rng.random(n) > 1 / 6)
    return np.round(64 * (centre - radius)) / 64, np.round(64 * (centre + radius)) / 64


def sample(rng: np.random.Generator, lower: np.ndarray, upper: np.ndarray, count: int = 400) -> np.ndarray:
    """Points [count, n] of a box: inside, and at its faces and corners."""
    uniform = rng.random((count, len(lower)))
    rim = np.floor(3 * rng.random((count, len(lower)))) / 2
    rim[::2] = 0.5
    share = np.where(rim == 0.5, uniform, rim)
    return np.clip(lower + (upper - lower) * share, lower, upper)


def random_property(
    seed: int, network: Network, *, ordering: bool = False, width: float = 1.0, regions: int | None = None
) -> Property:
    """Boxes with conjunctions of half-spaces that are hardly, or hardly not, violated.

    Args:
        ordering: only rows Y_i <= Y_j, as behind a softmax.
    """
    rng = np.random.default_rng([seed, 7])
    parts = []
    for _ in range(regions or int(rng.choice([1, 1, 1, 2]))):
        lower, upper = random_box(rng, network, width)
        points = sample(rng, lower, upper)
        outputs = network(points)
        make = _ordering if ordering else _half_spaces
        unsafe = tuple(make(rng, points, outputs) for _ in range(int(rng.choice([1, 1, 2, 3]))))
        parts.append(Region(lower, upper, unsafe))
    return Property(tuple(parts), network.input_size, network.output_size, name=f"random{seed}")


def _half_spaces(rng: np.random.Generator, points: np.ndarray, outputs: np.ndarray) -> Conjunction:
    """One to three rows; the threshold of the last one is near the worst value that the others leave."""
    count, m, n = int(rng.choice([1, 1, 2, 3])), outputs.shape[1], points.shape[1]
    rows = np.round(8 * rng.normal(size=(count, m))) / 8
    mixed = np.round(8 * rng.normal(size=(count, n)) * (rng.random((count, 1)) < 0.3)) / 8
    values = outputs @ rows.T + points @ mixed.T
    bound = np.quantile(values, 0.6, axis=0)
    kept = (values[:, :-1] <= bound[:-1]).all(axis=1)
    worst = values[kept, -1].min() if kept.any() else values[:, -1].min()
    spread = float(np.ptp(values[:, -1])) + 0.1
    offset = rng.choice([-1.0, -0.3, -0.05, -0.003, 0.0, 0.003, 0.05, 0.3])
    bound[-1] = worst + offset * spread
    return Conjunction(rows, mixed, np.round(1024 * bound) / 1024)


def _ordering(rng: np.random.Generator, points: np.ndarray, outputs: np.ndarray) -> Conjunction:
    """One output is at most (or below all of) the others."""
    m, n = outputs.shape[1], points.shape[1]
    chosen = int(rng.integers(m))
    others = [j for j in range(m) if j != chosen]
    if rng.random() < 0.5:
        others = others[:1]
    sign = rng.choice([-1.0, 1.0])
    rows = np.zeros((len(others), m))
    for r, j in enumerate(others):
        rows[r, chosen], rows[r, j] = sign, -sign
    return Conjunction(rows, np.zeros((len(others), n)), np.zeros(len(others)))


def _start(rng: np.random.Generator) -> tuple[int, ...]:
    kind = rng.integers(4)
    if kind < 2:
        return (1, int(rng.integers(1, 5)))
    if kind == 2:
        return (1, int(rng.integers(1, 3)), 3)
    return (1, int(rng.integers(1, 3)), 2, 2)


def _stage(draft: Draft, smooth: bool) -> None:
    image = len(draft.shape) > 2
    menu: list[Callable[[Draft], None]] = [_affine, _rearrange, _pad]
    menu += [_max_pool, _average_pool, _conv] if image else [_gemm, _gemm]
    weights = np.array([1, 1, 1] + ([2, 1, 4] if image else [3, 3]), dtype=float)
    menu[draft.rng.choice(len(menu), p=weights / weights.sum())](draft)
    names = PIECEWISE + (SMOOTH if smooth else ())
    name = str(draft.rng.choice(names))
    form = draft.rng.integers(4)
    if form == 0:
        _residual(draft, name)
    elif form == 1:
        _concat(draft, name)
    else:
        _activate(draft, name)


def _gemm(draft: Draft, size: int = 0) -> None:
    _flatten(draft)
    inputs, size = draft.shape[1], size or int(draft.rng.integers(1, 5))
    weight = draft.normal(size, inputs, scale=1.5 / np.sqrt(inputs))
    draft.add("Gemm", [draft.current, weight, draft.normal(size, scale=0.5)], (1, size), transB=1)


def _conv(draft: Draft) -> None:
    rng, (channels, *space) = draft.rng, draft.shape[1:]
    groups = int(rng.choice([g for g in (1, 2) if channels % g == 0]))
    outputs = groups * int(rng.integers(1, 3))
    kernel = [int(rng.integers(1, min(3, s) + 1)) for s in space]
    dilations = [
        int(rng.integers(1, 3)) if (k - 1) * 2 + 1 <= s else 1 for k, s in zip(kernel, space, strict=True)
    ]
    strides = [int(rng.integers(1, 3)) for _ in space]
    pads = [int(rng.integers(0, 2)) for _ in range(2 * len(space))]
    weight = draft.normal(outputs, channels // groups, *kernel)
    result = tuple(
        (s + pads[i] + pads[i + len(space)] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i, s in enumerate(space)
    )
    inputs = [draft.current, weight, draft.normal(outputs, scale=0.5)]
    draft.add(
        "Conv", inputs, (1, outputs, *result), group=groups, dilations=dilations, strides=strides, pads=pads
    )  # fmt: skip


def _pool(draft: Draft, operator: str, **attributes: object) -> None:
    rng, space = draft.rng, draft.shape[2:]
    kernel = [int(rng.integers(1, min(3, s) + 1)) for s in space]
    strides = [int(rng.integers(1, 3)) for _ in space]
    pads = [int(rng.integers(0, 2)) if k > 1 else 0 for k in kernel * 2]
    result = tuple(
        (s + pads[i] + pads[i + len(space)] - kernel[i]) // strides[i] + 1 for i, s in enumerate(space)
    )
    shape = (*draft.shape[:2], *result)
    draft.add(operator, [draft.current], shape, kernel_shape=kernel, strides=strides, pads=pads, **attributes)


def _max_pool(draft: Draft) -> None:
    _pool(draft, "MaxPool")


def _average_pool(draft: Draft) -> None:
    _pool(draft, "AveragePool", count_include_pad=int(draft.rng.integers(2)))


def _affine(draft: Draft) -> None:
    draft.add("Mul", [draft.current, draft.normal(*draft.shape)], draft.shape)
    draft.add(str(draft.rng.choice(["Add", "Sub"])), [draft.current, draft.normal(*draft.shape)], draft.shape)


def _rearrange(draft: Draft) -> None:
    last = draft.shape[-1]
    start, step = int(draft.rng.integers(last)), int(draft.rng.choice([-2, -1, 1]))
    stop = -last - 1 if step < 0 else last
    length = len(range(start, -1 if step < 0 else last, step))
    values = [[start], [stop], [len(draft.shape) - 1], [step]]
    names = [draft.constant(value, np.int64) for value in values]
    draft.add("Slice", [draft.current, *names], (*draft.shape[:-1], length))
    if len(draft.shape) == 4:
        n, c, h, w = draft.shape
        draft.add("Transpose", [draft.current], (n, h, w, c), perm=[0, 2, 3, 1])


def _pad(draft: Draft) -> None:
    """A constant other than zero behind and before the last axis."""
    rank = len(draft.shape)
    pads = np.zeros(2 * rank, int)
    pads[rank - 1], pads[2 * rank - 1] = draft.rng.integers(0, 2, size=2)
    shape = (*draft.shape[:-1], draft.shape[-1] + int(pads.sum()))
    fill = draft.normal()
    draft.add("Pad", [draft.current, draft.constant(pads, np.int64), fill], shape)


def _activate(draft: Draft, operator: str) -> str:
    rng, x, shape = draft.rng, draft.current, draft.shape
    if operator == "LeakyRelu":
        return draft.add(operator, [x], shape, alpha=float(rng.choice(SLOPES)))
    if operator == "PRelu":
        slopes = draft.constant(rng.choice(SLOPES, size=shape[1:]))
        return draft.add(operator, [x, slopes], shape)
    if operator == "Clip":
        ends = CLIPS[rng.integers(len(CLIPS))]
        return draft.add(operator, [x, *("" if e is None else draft.constant(e) for e in ends)], shape)
    if operator == "HardSigmoid":
        return draft.add(operator, [x], shape, alpha=float(rng.choice([0.25, 0.5])), beta=0.5)
    return draft.add(operator, [x], shape)


def _residual(draft: Draft, activation: str) -> None:
    before = draft.current
    after = _activate(draft, activation)
    draft.add(str(draft.rng.choice(["Add", "Sub"])), [before, after], draft.shape)


def _concat(draft: Draft, activation: str) -> None:
    before, axis = draft.current, int(draft.rng.integers(1, len(draft.shape)))
    after = _activate(draft, activation)
    shape = list(draft.shape)
    shape[axis] *= 2
    draft.add("Concat", [before, after], tuple(shape), axis=axis)


def _flatten(draft: Draft) -> None:
    if len(draft.shape) > 2:
        draft.add("Flatten", [draft.current], (1, int(np.prod(draft.shape[1:]))))
