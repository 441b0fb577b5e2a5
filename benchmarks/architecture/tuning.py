"""Prices in use: written by a fit to the accepted repairs of real bugs, and judged on bugs held out.

Every case has a pool of repairs. Prices are fitted on four fifths of the cases (`choice`); how far they may
leave the tiers is chosen on folds of these four fifths alone, so that the last fifth is held out from every
choice. On it the whole repair is run with the fitted prices, not only the pool ranked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.architecture.choice import PRIORS, Prior, fitted
from benchmarks.architecture.classes import PRICES, TIER_OF
from benchmarks.architecture.matching import same_repair
from benchmarks.architecture.pools import Pool, Prices, by_default, made, pool, score
from benchmarks.record import data_folder
from repairsolver.architecture import costs
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import repair_model

COLUMNS = ("prices", "repeat", "fold", "cases", "first", "top3", "first_pool", "top3_pool", "classes", "own")
FOLDS, REPEATS, SECONDS = 5, 4, 2.0
TABLE = Path(costs.__file__).with_name("prices.json")
Case: TypeAlias = Mapping[str, Any]


def read_cases() -> list[Case]:
    """The real bugs with their accepted repairs."""
    cases: list[Case] = json.loads((data_folder("arch_bugs") / "cases.json").read_text())["cases"]
    return cases


def chosen(pools: Sequence[Pool], rng: random.Random) -> Prior:
    """The prior under which held-out folds of these pools are most likely."""
    order = rng.sample(range(len(pools)), len(pools))
    likely = dict.fromkeys(PRIORS, 0.0)
    for fold in range(FOLDS):
        held, rest = split(pools, order, fold)
        for prior in PRIORS:
            likely[prior] += fitted(rest, prior).log_likelihood(held)
    return max(PRIORS, key=likely.__getitem__)


def split(pools: Sequence[Pool], order: Sequence[int], fold: int) -> tuple[list[Pool], list[Pool]]:
    """A fold, and the rest."""
    rest = [pools[i] for n, i in enumerate(order) if n % FOLDS != fold]
    return [pools[i] for i in order[fold::FOLDS]], rest


def placed(cases: Sequence[Case], prices: Mapping[str, int]) -> tuple[int, int]:
    """How often the whole repair, proof and all, puts the accepted one first, and among three."""
    first = top = 0
    for case in cases:
        fix = repair_model(read_model(case), made(prices), seconds=SECONDS)
        ranked = [fix.edits, *fix.alternatives][:3]
        won = [same_repair(edits, case["fix_edits"], values=True) for edits in ranked]
        first, top = first + won[0], top + any(won)
    return first, top


def rows(seed: int) -> Iterator[dict[str, object]]:
    """For each held-out fold, what prices fitted without it rank in it; equal ones, tiers, those in use."""
    cases = read_cases()
    pools = [pool(case, seed + number) for number, case in enumerate(cases)]
    for repeat in range(REPEATS):
        rng = random.Random(seed + repeat)
        order = rng.sample(range(len(pools)), len(pools))
        for fold in range(FOLDS):
            held, rest = split(pools, order, fold)
            prior = chosen(rest, rng)
            ours = [cases[i] for i in order[fold::FOLDS]]
            for name, prices in _tables(rest, prior).items():
                first, top = placed(ours, prices) if name == "fitted" else ("", "")
                by_pool = score(held, prices)
                yield {
                    "prices": name,
                    "repeat": repeat,
                    "fold": fold,
                    "cases": len(held),
                    "first": first,
                    "top3": top,
                    "first_pool": by_pool[0],
                    "top3_pool": by_pool[1],
                    "classes": prior.classes if name == "fitted" else "",
                    "own": prior.own if name == "fitted" else "",
                }


def _tables(rest: Sequence[Pool], prior: Prior) -> dict[str, Prices]:
    return {
        "equal": dict.fromkeys(PRICES, 5),
        "tiers": dict(TIER_OF),
        "fitted": fitted(rest, prior).rounded(),
        "in use": by_default(),
    }


def write_prices(seed: int) -> Prices:
    """Fit the prices to all cases as `rows` does to its folds, and write them into the package."""
    cases = read_cases()
    pools = [pool(case, seed + number) for number, case in enumerate(cases)]
    prior = chosen(pools, random.Random(seed))
    prices = fitted(pools, prior).rounded()
    made_by = {"cases": len(cases), "seed": seed, "classes": prior.classes, "own": prior.own}
    TABLE.write_text(json.dumps({"fitted": made_by, "prices": prices}, indent=1) + "\n")
    return prices
