"""Pools of repairs for real bugs, found under many prices: what each pays, and which is accepted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from benchmarks.architecture.classes import PLACES, PRICES, Places, tiers
from benchmarks.architecture.matching import same_repair
from benchmarks.architecture.orders import Order
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Model
from repairsolver.architecture.ranking import irredundant
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.search import search
from repairsolver.architecture.transitions import Step

DRAWS, SLACK = 18, 16
Prices = dict[str, int]


@dataclass(frozen=True)
class Candidate:
    """A repair in a pool: how often each price is paid, whether it is accepted, and all its edits needed."""

    paid: Mapping[str, int]
    way: Step
    accepted: bool
    needed: bool = True


Pool = Sequence[Candidate]


def by_default() -> Prices:
    """The prices that are set in the package."""
    return {name: _get(Costs(), name) for name in PRICES}


def _get(costs: Costs, name: str) -> int:
    table, _, key = name.partition(".")
    value = getattr(costs, table)
    return int(value[key] if key else value)


def made(prices: Mapping[str, int]) -> Costs:
    """The costs of these prices."""
    costs = Costs()
    single = {f.name: prices[f.name] for f in fields(costs) if f.name in prices}
    roles = {r: prices[f"roles.{r}"] for r in costs.roles}
    adapters = {a: prices[f"adapters.{a}"] for a in costs.adapters}
    return replace(costs, **single, roles=roles, adapters=adapters)  # type: ignore[arg-type]


SPECIAL = ("unpad", "target_total", "width_of_weights", "wide_padding", "layout_one", "layout_mixed")
KINDS = {
    "Flatten": ("Flatten",),
    "Reshape": ("Reshape", "Scramble"),
    "View": ("Reshape", "Scramble"),
    "Permute": ("Permute",),
    "ZeroP": ("Pad", "LargePad", "Crop", "LargeCrop"),
    "Cropp": ("Crop", "LargeCrop"),
    "UpSam": ("Upsample", "LargeUpsample"),
    "MaxPo": ("Pool",),
    "Globa": ("GlobalPool",),
    "Dense": ("Project",),
    "Linea": ("Project",),
    "Conv": ("Project", "Stride"),
}
"""Begin of an inserted layer's type, to the prices that it may have."""


def paid(edit: Edit, model: Model, prices: Mapping[str, int]) -> dict[str, int]:
    """Which prices an edit pays, and how often."""
    if edit.operation == "layout":
        count = sum("data_format" in layer.args for layer in model.layers)
        return {"layout": 1, "layout_layer": count - 1}
    if edit.operation == "insert":
        kinds = next(names for begin, names in KINDS.items() if edit.name.startswith(begin))
        options = [f"adapters.{name}" for name in kinds]
    elif edit.operation == "set":
        layer = next(layer for layer in model.layers if layer.name == edit.layer)
        options = [*SPECIAL, f"roles.{model.rule(layer).argument(edit.name).role}"]
    else:
        options = {
            "remove": ["remove_global_pool", "remove"],
            "weights": ["transpose", "weights"],
            "input": ["input_layout", "declared"],
            "swap": ["sibling"],
            "rewire": ["rewire"],
        }[edit.operation]
    return {next(name for name in reversed(options) if prices[name] == edit.cost): 1}


def drawn(rng: random.Random, spread: float, places: Places) -> Prices:
    """Prices around the tiers, all different, so that a paid price has one name."""
    order, level = rng.sample(PRICES, len(PRICES)), tiers(places)
    wanted = {name: level[name] * rng.uniform(1 - spread, 1 + spread) for name in order}
    ranked = sorted(order, key=wanted.__getitem__)
    return {name: place + 1 for place, name in enumerate(ranked)}


def pool(case: Mapping[str, Any], seed: int) -> Pool:
    """Repairs of a case under prices in orders around those of the tiers, `PLACES` taking turns."""
    rng, model = random.Random(seed), read_model(case)
    found: dict[str, Candidate] = {}
    for number in range(DRAWS):
        prices = drawn(rng, 0.1 if number == 0 else 0.7, PLACES[number % len(PLACES)])
        new = [way for way in search(model, made(prices), slack=SLACK) if way.words not in found]
        needed = {way.words for way in irredundant(model, new)}
        for way in new:
            count: Counter[str] = Counter()
            for edit in way.edits:
                if edit.cost:
                    count.update(paid(edit, model, prices))
            accepted = same_repair(way.edits, case["fix_edits"], values=True)
            found[way.words] = Candidate(count, way, accepted, way.words in needed)
    return list(found.values())


def rank(candidates: Pool, prices: Mapping[str, int], order: Order) -> int:
    """The place of the accepted repair, from 0; a large number where it is not there."""
    priced = {
        candidate.way.words: replace(
            candidate.way, cost=sum(prices[n] * c for n, c in candidate.paid.items())
        )
        for candidate in candidates
        if candidate.needed or order.spare
    }
    accepted = {candidate.way.words for candidate in candidates if candidate.accepted}
    ordered = order.arrange(sorted(priced.values()))
    return next((place for place, way in enumerate(ordered) if way.words in accepted), 10**6)


def score(pools: Sequence[Pool], prices: Mapping[str, int], order: Order) -> tuple[int, int]:
    """How often the accepted repair comes first, and among the first three."""
    ranks = [rank(candidates, prices, order) for candidates in pools]
    return sum(r == 0 for r in ranks), sum(r < 3 for r in ranks)
