"""What a layer can be made to do on given input shapes: output shapes with the cheapest edits to each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations, islice, product
from typing import TypeAlias

from layerwise.shapes import Outcome, RankMismatch
from repairsolver.architecture.adapters import Adapters, Way
from repairsolver.architecture.alternatives import alternatives
from repairsolver.architecture.candidates import argument_edits, size_of
from repairsolver.architecture.collapse import keeps, pools_before, resizes
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Model, Shape

SWITCHES = ("derived", "amount", "flag", "padding", "groups", "target")
"""Arguments change in pairs only where both changes are at most as dear as the dearest of these."""
ELSEWHERE = 0.75
"""Size that is added to edits which are not where a fault shows."""


@dataclass(frozen=True, order=True)
class Step:
    """Edits with their price.

    Equal prices are ordered by the number of layers that come or go, so that an argument is changed rather
    than a layer inserted, then by the size of the change, then by their words.
    """

    cost: int = 0
    layers: int = 0
    size: float = 0.0
    words: str = ""
    edits: tuple[Edit, ...] = ()

    def __add__(self, other: Step) -> Step:
        words = self.words + other.words
        cost, layers = self.cost + other.cost, self.layers + other.layers
        return Step(cost, layers, self.size + other.size, words, self.edits + other.edits)


def step(edits: Iterable[Edit]) -> Step:
    """The step of these edits."""
    all_edits = tuple(edits)
    cost = sum(edit.cost for edit in all_edits)
    words = "".join(f"{edit};" for edit in all_edits)
    layers = sum(edit.operation in ("insert", "remove") for edit in all_edits)
    return Step(cost, layers, sum(edit.size for edit in all_edits), words, all_edits)


def placed(edit: Edit, faulty: Set[str]) -> Edit:
    """Of equally dear edits of arguments, those where the fault shows come first."""
    return edit if edit.layer in faulty else replace(edit, size=edit.size + ELSEWHERE)


def sized(model: Model, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Edits that an engine found, with the sizes that the search gives to the same changes of arguments."""
    faulty = {fault.layer for fault in diagnose_model(model).faults}
    layers = {layer.name: layer for layer in model.layers}
    return tuple(
        placed(replace(edit, size=size_of(layers[edit.layer], edit.name, edit.value)), faulty)
        if edit.operation == "set"
        else edit
        for edit in edits
    )


Table: TypeAlias = dict[Shape, list[Step]]


class Transitions:
    """The transitions of all layers of one model, each computed once for each tuple of input shapes.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        keep: how many ways to the same shape are kept.
    """

    def __init__(self, model: Model, costs: Costs, keep: int) -> None:
        self.model, self.costs, self.keep = model, costs, keep
        self.faulty = {fault.layer for fault in diagnose_model(model).faults}
        self.cheap = max(costs.roles[role] for role in SWITCHES)
        self.demanded = any(shape is not None for shape in model.outputs.values())
        self._known: dict[tuple[str, tuple[Shape, ...]], Table] = {}

    def of_layer(self, layer: Layer, inputs: tuple[Shape, ...]) -> Table:
        """Output shapes with the cheapest steps to each."""
        key = (layer.name, inputs)
        if key not in self._known:
            self._known[key] = self._collected(self._of_layer(layer, inputs))
        return self._known[key]

    def of_output(self, name: str, shape: Shape, wanted: Shape) -> list[Step]:
        """Insertions behind an output that give it the demanded shape."""
        ways = Adapters(self.model.framework, self.costs, name, -1).bridge(shape, wanted)
        return self._collected((end, step(edits)) for end, edits in ways).get(wanted, [])

    def _collected(self, found: Iterator[tuple[Shape, Step]]) -> Table:
        table: Table = {}
        for shape, way in found:
            ways = table.setdefault(shape, [])
            if all(way.words != other.words for other in ways):
                ways.append(way)
        return {shape: sorted(ways)[: self.keep] for shape, ways in table.items()}

    def _of_layer(self, layer: Layer, inputs: tuple[Shape, ...]) -> Iterator[tuple[Shape, Step]]:
        yield from self._with_arguments(layer, inputs, ())
        if len(inputs) == 1:
            yield from self._unary(layer, inputs[0])
        elif self._outcome(layer, inputs) is None:
            for shapes, edits in self._bridged(layer, inputs):
                yield from self._fitting(layer, shapes, edits)

    def _with_arguments(
        self, layer: Layer, inputs: Sequence[Shape], before: tuple[Edit, ...], pairs: bool = True
    ) -> Iterator[tuple[Shape, Step]]:
        """As it is, with one argument changed, and with two."""
        found = list(self._fitting(layer, inputs, before))
        yield from found
        singles = [
            placed(edit, self.faulty) for edit in argument_edits(self.model, layer, inputs, self.costs)
        ]
        for edit in singles:
            yield from self._fitting(_changed(layer, edit), inputs, (*before, edit))
        if (found and not any(way.edits for _, way in found)) or not pairs:
            return
        cheap = [edit for edit in singles if edit.cost <= self.cheap]
        for one, other in combinations(cheap, 2):
            if one.name != other.name:
                yield from self._fitting(_changed(layer, one, other), inputs, (*before, one, other))

    def _unary(self, layer: Layer, shape: Shape) -> Iterator[tuple[Shape, Step]]:
        global_pool = layer.kind.startswith("Global")
        price = self.costs.remove_global_pool if global_pool else self.costs.remove
        yield shape, step([Edit("remove", layer.name, layer.kind, cost=price)])
        pools = pools_before(self.model, layer, self.costs)
        ways = Adapters(self.model.framework, self.costs, layer.name, 0, pools)
        valid = self._outcome(layer, (shape,)) is not None
        if self.demanded or not valid:
            for target, edits in ways.anywhere(shape):
                if not _mixes_features(layer):
                    edits = tuple(replace(edit, size=edit.size + ELSEWHERE) for edit in edits)
                yield from self._with_arguments(layer, (target,), edits, pairs=False)
        if not valid:
            for sibling, swap in islice(alternatives(self.model, layer, self.costs), 1, None):
                yield from self._with_arguments(sibling, (shape,), swap, pairs=False)
            for target, edits in self._reshaped(layer, ways, shape):
                yield from self._with_arguments(layer, (target,), edits, pairs=False)

    def _reshaped(self, layer: Layer, ways: Adapters, shape: Shape) -> Iterator[Way]:
        for rank in (1, 2, 3, 4):
            yield from ways.ranked(shape, rank)
        yield from ways.squared(shape, layer.args.get("in_channels", 1))
        if len(shape) > 1:
            yield from ways.bridge(shape, (*shape[1:], shape[0]))
            yield from ways.bridge(shape, (shape[-1], *shape[:-1]))

    def _bridged(
        self, layer: Layer, inputs: tuple[Shape, ...]
    ) -> Iterator[tuple[tuple[Shape, ...], tuple[Edit, ...]]]:
        """Each input adapted to one of them, or to the largest sizes."""
        for targets in dict.fromkeys(self._targets(layer, inputs)):
            options = [
                list(islice(Adapters(self.model.framework, self.costs, layer.name, slot).bridge(s, t), 6))
                for slot, (s, t) in enumerate(zip(inputs, targets, strict=True))
            ]
            for ways in product(*options):
                yield tuple(shape for shape, _ in ways), tuple(edit for _, edits in ways for edit in edits)

    def _targets(self, layer: Layer, inputs: tuple[Shape, ...]) -> Iterator[tuple[Shape, ...]]:
        if layer.kind == "Dot":
            yield from _dot_targets(layer, inputs)
            return
        bases = list(inputs)
        if len({len(shape) for shape in inputs}) == 1:
            bases.append(tuple(max(sizes) for sizes in zip(*inputs, strict=True)))
        for base in bases:
            yield tuple(self._own_width(layer, base, shape) for shape in inputs)

    def _own_width(self, layer: Layer, base: Shape, shape: Shape) -> Shape:
        """The base shape; on the axis of a concatenation every input keeps its own size."""
        axis = layer.args.get("axis", layer.args.get("dim"))
        if axis is None or len(base) != len(shape):
            return base
        place = axis + len(base) if axis < 0 else axis - 1
        return tuple(shape[i] if i == place else size for i, size in enumerate(base))

    def _outcome(self, layer: Layer, inputs: Sequence[Shape]) -> Outcome | None:
        try:
            outcome = self.model.rule(layer)(inputs, layer.args)
        except RankMismatch:
            return None
        if any(size < 1 for size in outcome.shape):
            return None
        return outcome if all(need.holds for need in outcome.requirements) else None

    def _fitting(
        self, layer: Layer, inputs: Sequence[Shape], edits: tuple[Edit, ...]
    ) -> Iterator[tuple[Shape, Step]]:
        """The layer with these edits, if it is valid; given weights are refitted where they must be."""
        outcome = self._outcome(layer, inputs)
        if outcome is not None and self._kept(layer, inputs[0], outcome.shape, edits):
            refits = tuple(weight_edits(layer, outcome, self.costs))
            yield outcome.shape, step((*edits, *refits))

    def _kept(self, layer: Layer, shape: Shape, out: Shape, edits: tuple[Edit, ...]) -> bool:
        """Whether edits of the layer, or those before a guarded one, leave several positions of several."""
        if self.costs.collapse:
            return True
        own = [edit for edit in edits if edit.operation in ("set", "swap")]
        decided = layer.name in self.model.guarded or (own and resizes(self.model.rule(layer), own))
        return not decided or bool(keeps(layer.kind, layer.args, shape, out))


def weight_edits(layer: Layer, outcome: Outcome, costs: Costs) -> Iterator[Edit]:
    """Given weights brought to the shapes that the layer needs: one price for all weights of a layer."""
    wrong = {
        name: (tuple(given), tuple(outcome.weights.get(name, given)))
        for name, given in layer.weights.items()
        if tuple(outcome.weights.get(name, given)) != tuple(given)
    }
    turned = all(sorted(given) == sorted(wanted) for given, wanted in wrong.values())
    price = costs.transpose if turned else costs.weights
    for name, (given, wanted) in wrong.items():
        yield Edit("weights", layer.name, name, wanted, price, before=given)
        price = 0


def _mixes_features(layer: Layer) -> bool:
    """Whether the layer mixes features, so that users flatten in front of it."""
    return layer.kind in ("Dense", "Linear", "Gemm", "MatMulConstant")


def _changed(layer: Layer, *edits: Edit) -> Layer:
    return layer.with_args(**{edit.name: edit.value for edit in edits})


def _dot_targets(layer: Layer, inputs: tuple[Shape, ...]) -> Iterator[tuple[Shape, ...]]:
    """One of the two axes brought to the size of the other, at the ranks that the axes need."""
    axes = [a if a > 0 else a + len(s) + 1 for a, s in zip(layer.args["axes"], inputs, strict=True)]
    left, right = (s if a <= len(s) else s + (1,) * (a - len(s)) for a, s in zip(axes, inputs, strict=True))
    i, j = (a - 1 for a in axes)
    yield left, (*right[:j], left[i], *right[j + 1 :])
    yield (*left[:i], right[j], *left[i + 1 :]), right
