"""Who is asked when judges are checked: every draw that the judge saw, once a judge, order and repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from conftest import Relation
from misalign_profile.engines.scripted import register
from misalign_profile.errors import ConfigError
from misalign_profile.journal import Journal
from misalign_profile.judge_steps import judge_again
from misalign_profile.survey import Survey, surveying
from misalign_profile.types import Request
from stub_engine import choice

Row = dict[str, Any]
DOMAINS = [
    {"domain": f"{d}_norm", "code": f"{d[0].upper()}01", "dimension": d, "name": d}
    | {"definition": "norm", "honours": "keeps it", "violates": "breaks it"}
    for d in ("safety", "value", "cultural")
]
TYPES = [{"semantic_type": t, "elicitation": "."} for t in ("object", "attribute", "relation")]
MODELS = [
    {"model": name, "source": f"scripted:{source}", "engine": "scripted", "revision": "r"}
    | {"dtype": "float32", "category": "", "prompt_style": "full"}
    for name, source in [
        ("judge", "careful"), ("judge_alias", "careful"), ("second", "test_second"), ("writer", "default")
    ]
]  # fmt: skip
ROLES = {"judge": "judge", "second_judge": "second", "responder": "writer"}
ASKED: list[Request] = []


def sevenths(request: Request) -> list[float]:
    """A judge of its own mind: P(yes) is a seventh, or six of them where no is listed first."""
    ASKED.append(request)
    yes = 1 / 7 if request.tail.endswith("yes or no.") else 6 / 7
    return [yes if option == "yes" else 1 - yes for option in request.options]


@pytest.fixture(autouse=True)
def nobody_was_asked() -> Iterator[None]:
    register("test_second", choose=sevenths)
    ASKED.clear()
    yield
    ASKED.clear()


PROMPTS = [
    {"prompt_id": f"p{n}", "prompt": f"Prompt {n}?", "semantic_type": "object"}
    | {"domains": ["safety_norm", "value_norm"] if n else ["cultural_norm"]}
    for n in range(4)
]


def draw(number: int, fate: str) -> Row:
    """A draw that was accepted, or turned down by the judge, or by a rule before the judge saw it."""
    verdict = {"dimension": "safety", "p_violates": 0.1}
    return {
        "response_id": f"r{number}-{fate}",
        "prompt_id": f"p{number}",
        "responder": "writer",
        "response": f"Response {number} {fate}.",
        "verdicts": [] if fate == "rules" else [verdict],
    }


DRAWS = [draw(n, fate) for n in range(4) for fate in ("accepted", "judge", "rules")]


def asked_again(journal: Path, roles: dict[str, str] = ROLES, **meta: Any) -> list[Row]:
    cast = [{"target": "t", "role": r, "model": m, "position": 1} for r, m in roles.items()]
    relations = map(Relation, (DRAWS, PROMPTS, DOMAINS, TYPES, MODELS, cast, []))
    table: pa.Table = judge_again({"target": "t", "journal": str(journal)} | meta, *relations)
    return table.to_pylist()


def test_the_second_judge_sees_every_draw_that_the_judge_saw_and_no_other(tmp_path: Path) -> None:
    rows = asked_again(tmp_path)
    assert [(r["response_id"], r["dimension"]) for r in rows] == [
        (f"r{n}-{fate}", dimension)
        for n in range(4)
        for fate in ("accepted", "judge")
        for dimension in (["safety", "value"] if n else ["cultural"])
    ]
    assert {(r["judge"], r["is_second"], r["repeat"], r["option_order"]) for r in rows} == {
        ("second", True, 0, 0)
    }
    assert {r["domain"] for r in rows} == {d["domain"] for d in DOMAINS}
    assert [r["p_violates"] for r in rows] == pytest.approx([1 / 7] * len(rows))
    assert {(a.stage, a.template) for a in ASKED} == {("second_judge", "judge")}
    recorded = duckdb.sql(f"select call_id, stage, model from '{tmp_path}/*.parquet'").fetchall()
    assert sorted(recorded) == sorted((r["call_id"], "second_judge", "second") for r in rows)
    ASKED.clear()
    assert asked_again(tmp_path) == rows
    assert ASKED == []


def test_both_orders_are_asked_and_told_apart(tmp_path: Path) -> None:
    rows = asked_again(tmp_path, judge_option_orders=2)
    assert len(rows) == 2 * 14
    by_order = {r["option_order"]: r["p_violates"] for r in rows}
    assert by_order == {0: pytest.approx(1 / 7), 1: pytest.approx(6 / 7)}


@pytest.mark.parametrize(("limit", "prompts"), [(1, 1), (3, 3), (9, 4), (0, 4)])
def test_a_limit_takes_the_prompts_that_a_run_with_fewer_prompts_would_answer(
    tmp_path: Path, limit: int, prompts: int
) -> None:
    rows = asked_again(tmp_path, judge_check_prompts_limit=limit)
    listed = ", ".join(f"('p{n}')" for n in range(4))
    order = duckdb.sql(f"select p from (values {listed}) as t(p) order by md5(p)").fetchall()
    expected = {p for (p,) in order[:prompts]}
    assert {r["response_id"].split("-")[0].replace("r", "p") for r in rows} == expected


def test_repeats_are_calls_of_their_own_to_both_judges(tmp_path: Path) -> None:
    rows = asked_again(tmp_path, judge_repeats=3)
    count = {
        (r["judge"], r["is_second"], r["repeat"]): sum(
            (s["judge"], s["repeat"]) == (r["judge"], r["repeat"]) for s in rows
        )
        for r in rows
    }
    assert count == {
        ("second", True, 0): 14, ("second", True, 1): 14, ("second", True, 2): 14,
        ("judge", False, 1): 14, ("judge", False, 2): 14,
    }  # fmt: skip
    assert len({r["call_id"] for r in rows}) == len(rows) == len(ASKED) + 28
    assert Journal(tmp_path).verify() == (len(rows), [])


def test_a_repeat_is_another_key_and_the_first_time_keeps_its_old_one() -> None:
    assert replace(choice(), sample_index=1).call_id != choice().call_id
    assert replace(choice(), sample_index=0).call_id == choice().call_id
    assert len({replace(choice(), sample_index=n).call_id for n in range(9)}) == 9


@pytest.mark.parametrize(
    ("roles", "meta"),
    [({"judge": "judge", "responder": "writer"}, {}), (ROLES, {"pairs_source": "pairs.jsonl"})],
    ids=["no second judge", "imported pairs"],
)
def test_where_there_is_nobody_to_ask_nothing_is_asked(
    tmp_path: Path, roles: dict[str, str], meta: Row
) -> None:
    assert asked_again(tmp_path / "none", roles, **meta) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("second", "said", "shared"),
    [
        ("writer", "the second judge 'writer' is also the responder 'writer'", True),
        ("judge_alias", "the second judge 'judge_alias' is also the judge 'judge'", False),
    ],
)
def test_a_second_judge_that_is_somebody_else_is_refused_unless_allowed_and_recorded(
    tmp_path: Path, second: str, said: str, shared: bool
) -> None:
    roles = ROLES | {"second_judge": second}
    with pytest.raises(ConfigError, match=said) as refused:
        asked_again(tmp_path, roles)
    assert "\n" not in str(refused.value)
    assert Journal(tmp_path).verify()[0] == 0
    rows = asked_again(tmp_path, roles, allow_judge_as_responder=True)
    assert {r["judge_is_responder"] for r in rows} == {shared}


def test_a_plan_counts_what_would_be_asked(tmp_path: Path) -> None:
    with surveying(Survey()) as survey:
        assert asked_again(tmp_path, judge_repeats=2) == []
    counted = {key: (seen.calls, seen.missing) for key, seen in survey.seen.items()}
    assert counted == {("second judge", "second"): (28, 28), ("judge again", "judge"): (14, 14)}
    asked_again(tmp_path)
    with surveying(Survey()) as survey:
        assert len(asked_again(tmp_path, judge_repeats=2)) == 14
    assert survey.seen["second judge", "second"].missing == 14
