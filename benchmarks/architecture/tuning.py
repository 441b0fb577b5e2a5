"""Prices in use: written by a fit to the accepted repairs of real bugs, and judged on bugs held out.

Every case has a pool of repairs. All that is chosen is chosen on four fifths of the cases alone: the prices
by a fit (`choice`), and by folds of these four fifths the classes of edits that cases have moved (`MOVED`),
how far prices may leave the tiers (`PRIORS`), and the order of the alternatives (`ORDERS`). The last fifth
is held out from every choice. On it the whole repair is run, not only the pool ranked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.architecture.choice import PRIORS, Prior, fitted
from benchmarks.architecture.classes import MOVED, PLACES, PRICES, Places, tiers
from benchmarks.architecture.matching import same_repair
from benchmarks.architecture.orders import IN_USE, ORDERS, Order
from benchmarks.architecture.pools import Pool, Prices, by_default, made, pool, score
from benchmarks.record import data_folder
from repairsolver.architecture import costs
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.search import search
from repairsolver.architecture.transitions import step

COUNTS = ("first", "top3", "first_pool", "top3_pool")
COLUMNS = ("prices", "repeat", "fold", "cases", *COUNTS, "classes", "own", *MOVED, "order")
FOLDS, REPEATS, INNER, SECONDS = 5, 4, 3, 2.0
TABLE = Path(costs.__file__).with_name("prices.json")
Case: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """What folds choose, beside the prices: classes of moved edits, width of the prior, order."""

    places: Places
    prior: Prior
    order: Order

    def said(self) -> dict[str, object]:
        """In words."""
        moved = dict(zip(MOVED, self.places, strict=True))
        return {"classes": self.prior.classes, "own": self.prior.own, **moved, "order": self.order.name}


def read_cases() -> list[Case]:
    """The real bugs with their accepted repairs."""
    cases: list[Case] = json.loads((data_folder("arch_bugs") / "cases.json").read_text())["cases"]
    return cases


@dataclass(frozen=True)
class Judged:
    """A variant with how often it won on held-out folds, and how likely it made them."""

    won: int
    likely: float
    variant: Variant


def judged(pools: Sequence[Pool], rng: random.Random) -> list[Judged]:
    """All variants, on held-out folds of these pools.

    For each choice of classes, the prior is the one under which held-out folds are most likely. A variant
    wins once where the accepted repair is among three, and twice where it comes first.
    """
    shuffles = [rng.sample(range(len(pools)), len(pools)) for _ in range(INNER)]
    folds = [split(pools, shuffle, fold) for shuffle in shuffles for fold in range(FOLDS)]
    found: list[Judged] = []
    for places in PLACES:
        prior, likely, tuned = _most_likely(folds, places)
        for order in ORDERS:
            pairs = zip(folds, tuned, strict=True)
            won = sum(sum(score(held, prices, order)) for (held, _), prices in pairs)
            found.append(Judged(won, likely, Variant(places, prior, order)))
    return found


def best(variants: Sequence[Judged]) -> Variant:
    """The variant that won most; of equals the more likely, then the first."""
    return max(variants, key=lambda one: (one.won, one.likely)).variant


_Fold: TypeAlias = tuple[list[Pool], list[Pool]]


def _most_likely(folds: Sequence[_Fold], places: Places) -> tuple[Prior, float, list[Prices]]:
    """The prior under which held-out folds are most likely, and the prices fitted to the rest of each."""
    tried: list[tuple[Prior, float, list[Prices]]] = []
    for prior in PRIORS:
        fits = [fitted(rest, prior, places) for _, rest in folds]
        likely = sum(fit.log_likelihood(held) for fit, (held, _) in zip(fits, folds, strict=True))
        tried.append((prior, likely, [fit.rounded() for fit in fits]))
    return max(tried, key=lambda found: found[1])


def split(pools: Sequence[Pool], order: Sequence[int], fold: int) -> _Fold:
    """A fold, and the rest."""
    rest = [pools[i] for n, i in enumerate(order) if n % FOLDS != fold]
    return [pools[i] for i in order[fold::FOLDS]], rest


def placed(cases: Sequence[Case], prices: Mapping[str, int], order: Order) -> tuple[int, int]:
    """How often the whole repair, proof and all, puts the accepted one first, and among three."""
    first = top = 0
    for case in cases:
        model = read_model(case)
        fix = repair_model(model, made(prices), seconds=SECONDS)
        steps = {way.words: way for way in map(step, (fix.edits, *fix.alternatives))}
        if order.spare:
            steps |= {way.words: way for way in search(model, made(prices))}
        ranked = [way.edits for way in order.arrange(sorted(steps.values()))[:3]]
        won = [same_repair(edits, case["fix_edits"], values=True) for edits in ranked]
        first, top = first + won[0], top + any(won)
    return first, top


def rows(seed: int, whole: bool = True) -> Iterator[dict[str, object]]:
    """For each held-out fold, what prices fitted without it rank in it; equal ones, tiers, those in use.

    Args:
        seed: of the pools and of the folds.
        whole: whether the whole repair is run on the held-out fold too.
    """
    cases = read_cases()
    pools = [pool(case, seed + number) for number, case in enumerate(cases)]
    for repeat in range(REPEATS):
        rng = random.Random(seed + repeat)
        order = rng.sample(range(len(pools)), len(pools))
        for fold in range(FOLDS):
            held, rest = split(pools, order, fold)
            ours = [cases[i] for i in order[fold::FOLDS]]
            for name, (prices, variant) in _tables(rest, rng).items():
                first, top = placed(ours, prices, variant.order) if whole and name == "fitted" else ("", "")
                by_pool = score(held, prices, variant.order)
                counts = zip(COUNTS, (first, top, *by_pool), strict=True)
                row = {"prices": name, "repeat": repeat, "fold": fold, "cases": len(held), **dict(counts)}
                chosen = variant.said() if name in ("fitted", "order fixed") else {}
                yield dict.fromkeys(COLUMNS, "") | row | chosen


def _tables(rest: Sequence[Pool], rng: random.Random) -> dict[str, tuple[Prices, Variant]]:
    """Prices and orders to compare; "fitted" is the procedure, in "order fixed" it takes the order in use."""
    variants = judged(rest, rng)
    free, fixed = best(variants), best([one for one in variants if one.variant.order == IN_USE])
    plain = Variant(PLACES[0], PRIORS[0], IN_USE)
    return {
        "equal": (dict.fromkeys(PRICES, 5), plain),
        "tiers": (dict(tiers(PLACES[0])), plain),
        "fitted": (fitted(rest, free.prior, free.places).rounded(), free),
        "order fixed": (fitted(rest, fixed.prior, fixed.places).rounded(), fixed),
        "in use": (by_default(), plain),
    }


def write_prices(seed: int) -> Prices:
    """Fit the prices to all cases as `rows` does to its folds, and write them into the package.

    The order that is chosen is named in the file; `ranking` has to follow it (a test sees to it).
    """
    cases = read_cases()
    pools = [pool(case, seed + number) for number, case in enumerate(cases)]
    variant = best(judged(pools, random.Random(seed)))
    prices = fitted(pools, variant.prior, variant.places).rounded()
    made_by = {"cases": len(cases), "seed": seed, **variant.said()}
    TABLE.write_text(json.dumps({"fitted": made_by, "prices": prices}, indent=1) + "\n")
    return prices
