"""Prices fitted to the accepted repairs of real bugs, and how well they rank repairs of bugs held out.

Every case has a pool of repairs, found by the search under many prices. Prices enter the ranking of a pool
alone, so they are fitted in no time: on four fifths of the cases, judged on the last fifth. The fit starts
from equal prices, though the pools hold what the search finds under prices around those in use.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from benchmarks.architecture.classes import CLASSES, held_close, scaled, tiers
from benchmarks.architecture.matching import same_repair
from benchmarks.record import data_folder
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Model
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.search import search

COLUMNS = ("prices", "repeat", "fold", "cases", "first", "top3", "first_all", "top3_all")
FOLDS, REPEATS, POOLS, LEVELS = 5, 4, 10, (1, 2, 3, 4, 5, 6, 8, 10, 13)
START, STRENGTH = dict.fromkeys(CLASSES, 1.0), 1.0
Prices = dict[str, int]


@dataclass(frozen=True)
class Candidate:
    """A repair in a pool: how often each price is paid, the size of its changes, whether it is accepted."""

    paid: Mapping[str, int]
    size: float
    words: str
    accepted: bool


def names() -> list[str]:
    """All prices by name."""
    costs = Costs()
    single = [f.name for f in fields(costs) if f.type == "int"]
    return [*single, *(f"roles.{r}" for r in costs.roles), *(f"adapters.{a}" for a in costs.adapters)]


def by_hand() -> Prices:
    """The prices that are set in the package."""
    return {name: _get(Costs(), name) for name in names()}


def _get(costs: Costs, name: str) -> int:
    table, _, key = name.partition(".")
    value = getattr(costs, table)
    return int(value[key] if key else value)


def made(prices: Mapping[str, int]) -> Costs:
    """The costs of these prices."""
    costs = Costs()
    single = {name: price for name, price in prices.items() if "." not in name}
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


def drawn(rng: random.Random, spread: float) -> Prices:
    """Prices around those in use, all different, so that a paid price has one name."""
    order = rng.sample(names(), len(names()))
    wanted = {name: by_hand()[name] * rng.uniform(1 - spread, 1 + spread) for name in order}
    ranked = sorted(order, key=wanted.__getitem__)
    return {name: place + 1 for place, name in enumerate(ranked)}


def pool(case: Mapping[str, Any], seed: int) -> list[Candidate]:
    """Repairs of a case under prices in orders around that of those in use."""
    rng, model = random.Random(seed), read_model(case)
    found: dict[str, Candidate] = {}
    for number in range(POOLS):
        prices = drawn(rng, 0.1 if number == 0 else 0.7)
        for way in search(model, made(prices)):
            count: Counter[str] = Counter()
            for edit in way.edits:
                if edit.cost:
                    count.update(paid(edit, model, prices))
            accepted = same_repair(way.edits, case["fix_edits"], values=True)
            found[way.words] = Candidate(count, way.size, way.words, accepted)
    return list(found.values())


def rank(candidates: Sequence[Candidate], prices: Mapping[str, int]) -> int:
    """The place of the accepted repair, from 0; a large number where it is not there."""

    def key(candidate: Candidate) -> tuple[int, float, str]:
        price = sum(prices[name] * count for name, count in candidate.paid.items())
        return price, candidate.size, candidate.words

    ordered = sorted(candidates, key=key)
    return next((place for place, c in enumerate(ordered) if c.accepted), 10**6)


def score(pools: Sequence[Sequence[Candidate]], prices: Mapping[str, int]) -> tuple[int, int]:
    """How often the accepted repair comes first, and among the first three."""
    ranks = [rank(candidates, prices) for candidates in pools]
    return sum(r == 0 for r in ranks), sum(r < 3 for r in ranks)


def fitted(pools: Sequence[Sequence[Candidate]], rng: random.Random) -> Prices:
    """Coordinate search from equal prices: each price in turn takes the level that ranks best."""
    prices = dict.fromkeys(names(), 5)
    best = score(pools, prices)
    for _ in range(4):
        before = best
        for name in rng.sample(list(prices), len(prices)):
            for level in LEVELS:
                trial = {**prices, name: level}
                found = score(pools, trial)
                if (found[0] + found[1], found) > (best[0] + best[1], best):
                    prices, best = trial, found
        if best == before:
            break
    return prices


def rows(seed: int) -> Iterator[dict[str, object]]:
    """For prices fitted without each fold, for equal ones and for those in use, what they rank in it."""
    cases = json.loads((data_folder("arch_bugs") / "cases.json").read_text())["cases"]
    pools = [pool(case, seed + number) for number, case in enumerate(cases)]
    for repeat in range(REPEATS):
        rng = random.Random(seed + repeat)
        order = rng.sample(range(len(pools)), len(pools))
        for fold in range(FOLDS):
            held = [pools[i] for i in order[fold::FOLDS]]
            rest = [pools[i] for n, i in enumerate(order) if n % FOLDS != fold]

            def won(prices: Prices, rest: list[list[Candidate]] = rest) -> float:
                return float(sum(score(rest, prices)))

            choices = {
                "every price fitted": fitted(rest, rng),
                "equal": dict.fromkeys(names(), 5),
                "tiers": tiers(START),
                "tiers fitted": held_close(tiers, won, STRENGTH),
                "in use": by_hand(),
                "in use, classes fitted": held_close(lambda f: scaled(by_hand(), f), won, STRENGTH),
            }
            for name, prices in choices.items():
                (first, top), (first_all, top_all) = score(held, prices), score(pools, prices)
                yield {
                    "prices": name,
                    "repeat": repeat,
                    "fold": fold,
                    "cases": len(held),
                    "first": first,
                    "top3": top,
                    "first_all": first_all,
                    "top3_all": top_all,
                }
