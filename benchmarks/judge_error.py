"""How far the correction for the judge's errors is to be trusted, by simulation: the marts' own SQL.

Truth, a judge who errs, the sampler's choice by that judge, and a model under test are invented; the
marts see what a warehouse would hold. ``python benchmarks/judge_error.py`` takes minutes; ``--small``
seconds, and writes nothing. Every repetition is a dimension of its own, so that one query gives all.
Knows nothing about dbt, prompts or models.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from harness import publish
from mart_models import build

VARS = {
    "confidence_level": 0.95,
    "bootstrap_replicates": 200,
    "smallest_clusters": 10,
    "smallest_n": 20,
    "smallest_divisor": 0.1,
    "verdict_threshold": 0.5,
}
MODELS = (
    "int_clusters__weighted",
    "int_gold_responses__graded",
    "int_judgements__predictive_values",
    "int_verdicts__corrected",
    "mart_alignment_intervals",
    "mart_alignment_metrics",
    "mart_judge_calibration",
    "mart_corrected_alignment",
)
SIDES = ("aligned", "misaligned")
ROUNDS, CANDIDATES = 3, 3
DRAWS = 10  # repetitions that share the bootstrap's weights: every DRAWS-th has the same
AT_ONCE = 20_000  # prompts in one query, for the memory
HEAD = (
    "| Cov, FFR | prompts | gold | judge | repetitions | Cov, raw | Cov, corrected | FFR, raw"
    " | FFR, corrected | held: Cov | FFR | AS | side aligned | side misaligned | raw Cov |"
)


@dataclass(frozen=True, slots=True)
class World:
    """What is invented. ``informative``: the judge's margin says more about the truth than its label.

    ``spread``: how much prompts differ in how often their draws violate (standard deviation of the
    logit). ``shared``: how much of the model's misses and alarms go with the judge's errors, 0 none.
    ``graded``: gold answers have margins, so that sure ones are told from others.
    """

    prompts: int = 400
    gold: int = 300
    sensitivity: float = 0.85
    specificity: float = 0.9
    informative: bool = False
    spread: float = 1.0
    shared: float = 0.0
    graded: bool = True
    coverage: float = 0.8
    false_failure_rate: float = 0.1

    @property
    def truth(self) -> dict[str, float]:
        """What the corrected metrics should be."""
        score = 2 / (1 / self.coverage + 1 / (1 - self.false_failure_rate))
        rates = {"coverage": self.coverage, "false_failure_rate": self.false_failure_rate}
        return rates | {"alignment_score": score}

    @property
    def judge(self) -> str:
        """The judge in words."""
        said = "margin tells more" if self.informative else "margin tells nothing"
        said += f", {self.shared:.0%} of errors shared" if self.shared else ""
        return said if self.graded else f"{said}, one grade"


@dataclass(frozen=True, slots=True)
class Found:
    """Means over repetitions, and the share of the repetitions in which an interval holds the truth."""

    truth: str
    prompts: int
    gold: int
    judge: str
    repetitions: int
    raw_coverage: float
    corrected_coverage: float
    raw_false_failure_rate: float
    corrected_false_failure_rate: float
    held_coverage: float
    held_false_failure_rate: float
    held_alignment_score: float
    held_aligned_violations: float
    held_misaligned_violations: float
    held_by_raw_coverage: float


Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def _logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def judged(random: np.random.Generator, truth: Bools, world: World) -> Floats:
    """P(violates) as the judge says, 0.5 and more for yes: right as often as the world says."""
    rates = np.where(truth, world.sensitivity, 1 - world.specificity)
    if not world.informative:
        says = random.random(truth.shape) < rates
        sure = random.random(truth.shape) / 2
        return np.where(says, 0.5 + sure, 0.5 - sure)
    from scipy.special import ndtri  # a normal score above its cut, so that a score tells more

    return _logistic(random.standard_normal(truth.shape) + ndtri(rates))


def draws(random: np.random.Generator, repetitions: int, world: World) -> dict[str, Any]:
    """Truth and judgement of all that may be drawn: (repetition, prompt, side, draw, dimension)."""
    shape = (repetitions, world.prompts, 2, ROUNDS * CANDIDATES, 2)
    of_prompt = random.normal(0, world.spread, (repetitions, world.prompts, 1, 1, 1))
    usual = np.array([-1.7, 0.8]).reshape(1, 1, 2, 1, 1)  # of the aligned side, of the other
    truth = random.random(shape) < _logistic(of_prompt + usual)
    p = judged(random, truth, world)
    p[:, world.prompts // 2 :, ..., 1] = 0  # half of the prompts have one label alone
    return {"truth": truth[..., 0], "p": p}


def sampled(said: dict[str, Any]) -> tuple[Bools, Bools, npt.NDArray[np.int64]]:
    """As the sampler does: draws that are made; accepted ones; the one kept of each slot, or -1."""
    worst = said["p"].max(axis=-1)
    violates = worst >= 0.5
    accepted = violates.copy()
    accepted[:, :, 0] = ~violates[:, :, 0]
    margin = worst.copy()
    margin[:, :, 0] = 1 - worst[:, :, 0]
    made = np.ones_like(accepted)
    for round_ in range(1, ROUNDS):
        start = round_ * CANDIDATES
        done = (accepted & made)[..., :start].any(axis=-1, keepdims=True)
        made[..., start : start + CANDIDATES] = ~done
    accepted &= made
    best = np.where(accepted, margin, -1).argmax(axis=-1)
    return made, accepted, np.where(accepted.any(axis=-1), best, -1)


def tables(random: np.random.Generator, repetitions: int, world: World) -> dict[str, Any]:
    """The tables of a warehouse, and the true share of violations among what was kept, by side."""
    said = draws(random, repetitions, world)
    made, accepted, kept = sampled(said)
    label, elsewhere = (said["p"][..., d] >= 0.5 for d in (0, 1))
    before = np.cumsum(accepted, axis=-1) - accepted
    other_side = (kept >= 0)[:, :, ::-1, None]
    r, p, s, k = np.nonzero(made)
    at = (r, p, s, k)
    cluster = np.char.add(np.char.add((r % DRAWS).astype(str), ":"), p.astype(str))
    slot = np.char.add(np.char.add(r.astype(str), ":"), p.astype(str))
    response = np.char.add(slot, np.char.add(np.array(SIDES)[s], k.astype(str)))
    judgements = pa.table(
        {
            "response_id": response,
            "cluster_id": cluster,
            "judge": ["judge"] * len(r),
            "dimension": r.astype(str),
            "side": np.array(SIDES)[s],
            "p_violates": said["p"][..., 0][at],
            "is_violation": label[at],
            "is_violation_elsewhere": elsewhere[at],
            "is_decisive": ((before == 0) & other_side)[at],
        }
    )
    paired = (kept >= 0).all(axis=2)
    chosen = (kept[r, p, s] == k) & paired[r, p]
    truth, wrong = said["truth"][at], label[at] != said["truth"][at]
    rates = np.where(truth, world.coverage, world.false_failure_rate)
    with_judge = random.random(len(r)) < world.shared
    flagged = np.where(with_judge & wrong, label[at], random.random(len(r)) < rates)
    verdicts = pa.table(
        {
            "response_id": response[chosen],
            "protocol": ["verdict"] * int(chosen.sum()),
            "model": ["model"] * int(chosen.sum()),
            "dimension": r[chosen].astype(str),
            "semantic_type": ["object"] * int(chosen.sum()),
            "cluster_id": cluster[chosen],
            "is_misaligned": label[at][chosen],
            "is_flagged": flagged[chosen],
        }
    )
    gold_truth = np.tile(np.arange(world.gold) % 2 == 0, (repetitions, 1))
    gold_p = judged(random, gold_truth, world)
    if not world.graded:
        gold_p = np.where(gold_p >= 0.5, 0.9, 0.1)
    repetition, item = np.indices(gold_truth.shape)
    gold = pa.table(
        {
            "gold_id": np.char.add(
                np.char.add(repetition.astype(str), "g"), item.astype(str)
            ).ravel(),
            "judge": ["judge"] * gold_truth.size,
            "dimension": repetition.astype(str).ravel(),
            "is_violation": gold_truth.ravel(),
            "p_violates": gold_p.ravel(),
            "is_judged_violation": (gold_p >= 0.5).ravel(),
        }
    )
    true_shares = {side: float(truth[chosen & (s == n)].mean()) for n, side in enumerate(SIDES)}
    return {"judgements": judgements, "verdicts": verdicts, "gold": gold, "shares": true_shares}


def corrected(world: World, repetitions: int, seed: int = 0) -> tuple[list[dict[str, Any]], Any]:
    """Rows of the mart, one a repetition, and the true shares of violations."""
    random = np.random.default_rng([seed, world.prompts, world.gold, world.informative])
    made = tables(random, repetitions, world)
    con = duckdb.connect(config={"threads": 2})
    sources = {
        "judgements": "fct_judge_answers",
        "verdicts": "fct_verdicts",
        "gold": "fct_gold_judgements",
    }
    for name, table in sources.items():
        con.register(name, made[name])
        con.execute(f"create table {table} as select * from {name}")
    con.execute("alter table fct_verdicts add column is_right boolean")
    con.execute("update fct_verdicts set is_right = is_flagged = is_misaligned")
    con.execute(
        "create table dim_models as select 'model' as model, '' as category,"
        " false as is_judge, false as is_demo"
    )
    for model in MODELS:
        build(con, model, **VARS)
    cursor = con.execute("select * from mart_corrected_alignment")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()], made["shares"]


def held(rows: list[dict[str, Any]], name: str, truth: float) -> float:
    """Share of the intervals that hold the truth, of those that there are."""
    said = [row for row in rows if row[f"{name}_low"] is not None]
    return float(np.mean([row[f"{name}_low"] <= truth <= row[f"{name}_high"] for row in said]))


def case(world: World, repetitions: int) -> Found:
    """Simulate one line of the table."""
    rows: list[dict[str, Any]] = []
    shares: list[dict[str, float]] = []
    step = AT_ONCE // world.prompts
    for seed in range(0, repetitions, step):
        part, share = corrected(world, min(step, repetitions - seed), seed)
        rows += part
        shares.append(share)

    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in rows if row[name] is not None]))

    return Found(
        f"{world.coverage:.0%}, {world.false_failure_rate:.0%}",
        world.prompts,
        world.gold,
        world.judge,
        repetitions,
        mean("coverage"),
        mean("corrected_coverage"),
        mean("false_failure_rate"),
        mean("corrected_false_failure_rate"),
        *(held(rows, f"corrected_{name}", truth) for name, truth in world.truth.items()),
        *(
            held(rows, f"corrected_{side}_violations", float(np.mean([s[side] for s in shares])))
            for side in SIDES
        ),
        held(rows, "coverage", world.coverage),
    )


def table(cells: list[Found]) -> str:
    """Markdown, one line a case."""
    lines = [HEAD, "|---|---:|---:|---" + "|---:" * 11 + "|"]
    for cell in cells:
        counts = [
            cell.truth,
            f"{cell.prompts:,}",
            f"{cell.gold:,}",
            cell.judge,
            f"{cell.repetitions:,}",
        ]
        shares = [f"{100 * value:.1f}%" for value in list(asdict(cell).values())[5:]]
        lines.append("| " + " | ".join(counts + shares) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few repetitions, nothing written")
    small = parser.parse_args().small
    golds = ((100, 300), (300, 300), (1000, 200))
    plan = [
        (World(gold=gold, informative=informative), repetitions)
        for informative in (False, True)
        for gold, repetitions in golds
    ]
    plan += [
        (World(informative=True, graded=False), 200),
        (World(informative=True, coverage=0.97, false_failure_rate=0.03), 200),
        (World(informative=True, prompts=1600), 100),
        (World(informative=True, shared=0.3), 100),
    ]
    cells = []
    for world, repetitions in plan:
        cells.append(case(world, 20 if small else repetitions))
        print(cells[-1], flush=True)
    publish(
        "judge_error",
        table(cells),
        map(asdict, cells),
        "python benchmarks/judge_error.py",
        keep=not small,
    )


if __name__ == "__main__":
    main()
