"""Forecasts by hand: what is counted, what is estimated from which rates, what is a bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from misalign_profile.config import Roles
from misalign_profile.errors import CheckError
from misalign_profile.forecast import AT_MOST, ESTIMATE, EXACT, Forecast, Line, Tables, read_tables
from misalign_profile.survey import Seen, Survey

VARIABLES = {
    "expansion_oversampling": 2,
    "candidates_per_side": 3,
    "resampling_rounds": 2,
    "response_prompts_limit": 0,
    "classification_option_orders": 1,
    "judge_option_orders": 1,
    "judge_check_prompts_limit": 0,
    "judge_repeats": 1,
    "judge_quality": False,
    "verdict_option_orders": 1,
    "protocols": ["verdict"],
    "answers_per_prompt": 1,
    "allow_judge_as_responder": True,
}
MODELS = [
    {"model": m, "source": m, "engine": "scripted", "revision": "r", "dtype": "", "category": ""}
    | {"prompt_style": "compact"}
    for m in ("m", "second")
]
ROLES = [
    {"target": "t", "role": role, "model": "m", "position": 1}
    for role in ("classifier", "expander", "responder", "judge", "model_under_test")
]
HALF = Tables(  # half of ten prompts are classified and answered
    {"prompts": 10, "classified": 5, "known": 5, "drawn": 20, "distinct_drawn": 10, "accepted": 5}
    | {"labelled": 10, "answerable": 8, "to_answer": 8, "judged": 80, "verdicts": 40},
    {"d": (10, 50)},
    {"m": (8, 56)},
)
SEEN_HALF = {
    "classify prompts": Seen(30, 15),
    "semantic type": Seen(10, 5),
    "expand": Seen(80, 60),
    "classify expansions": Seen(30, 0),
    "responses": Seen(56, 0),
    "judge": Seen(80, 0),
    "verdicts": Seen(40, 0),
}


def forecast(
    seen: dict[str, Seen], here: Tables, there: Tables | None = None, *more: Any, **variables: Any
) -> dict[tuple[str, str], Line]:
    survey = Survey({(part, "m"): counted for part, counted in seen.items()})
    cast = Roles("t", [*ROLES, *more], MODELS)
    lines = Forecast(survey, here, there or Tables(), VARIABLES | variables, cast).lines()
    return {(line.part, line.model.model): line for line in lines}


def shown(lines: dict[tuple[str, str], Line]) -> list[tuple[int, int, str]]:
    """(calls, held, basis) in the order of a run."""
    return [(line.calls, line.held, line.basis) for line in lines.values()]


def test_all_answered_is_counted_exactly() -> None:
    here = Tables(dict(HALF.counts) | {"classified": 10, "known": 10}, HALF.labels, HALF.answered)
    seen = {part: Seen(counted.calls, 0) for part, counted in SEEN_HALF.items()}
    lines = forecast(seen, here)
    assert shown(lines) == [(s.calls, s.calls, EXACT) for s in seen.values()]
    assert [line.role for line in lines.values()] == [
        "classifier", "classifier", "expander", "classifier", "responder", "judge", "model_under_test"
    ]  # fmt: skip


def test_nothing_answered_and_no_earlier_run_is_bounded_by_the_vars() -> None:
    # 50 prompts accepted at most and 10 of one's own; 2 sides x 3 candidates x 3 rounds = 18 draws
    seen = {
        "classify prompts": Seen(30, 30),
        "semantic type": Seen(10, 10),
        "expand": Seen(100, 100),
    }
    here = Tables({"prompts": 10}, {"d": (0, 50)})
    assert shown(forecast(seen, here)) == [
        (30, 0, EXACT),
        (10, 0, EXACT),
        (100, 0, AT_MOST),
        (300, 0, AT_MOST),
        (60 * 18, 0, AT_MOST),
        (60 * 18 * 3, 0, AT_MOST),
        (60 * 2 * 4, 0, AT_MOST),
    ]


@pytest.mark.parametrize(("limit", "to_come"), [(0, 12), (100, 12), (10, 2), (8, 0)])
def test_what_is_known_gives_the_rates_for_what_is_not(limit: int, to_come: int) -> None:
    # Labels double, so (50 - 20) x 2 draws, 20 of them there; half of the other 40 texts are new.
    # 5 prompts and 40 x 5/20 accepted draws are to come; 8 of 10 can be answered: 12, or the limit.
    lines = forecast(SEEN_HALF, HALF, response_prompts_limit=limit)
    assert shown(lines) == [
        (30, 15, EXACT),
        (10, 5, EXACT),
        (60, 20, ESTIMATE),
        (30 + 40 * 3 // 2, 30, ESTIMATE),
        (56 + 7 * to_come, 56, ESTIMATE),
        (80 + 10 * to_come, 80, ESTIMATE),
        (40 + 5 * to_come, 40, ESTIMATE),
    ]


def test_a_bound_within_an_estimate_makes_it_a_bound() -> None:
    lines = forecast(SEEN_HALF | {"responses": Seen(48, 48)}, Tables(HALF.counts, HALF.labels))
    assert [line.basis for line in lines.values()][2:] == [ESTIMATE] * 2 + [AT_MOST] * 3
    assert lines["responses", "m"].calls == (8 + 12) * 18


def test_an_earlier_run_gives_the_rates_when_it_knows_more() -> None:
    here = Tables({"prompts": 10}, {"d": (0, 50)})
    seen = {
        "classify prompts": Seen(30, 30),
        "semantic type": Seen(10, 10),
        "expand": Seen(100, 100),
    }
    lines = forecast(seen, here, HALF)
    assert [line.basis for line in lines.values()] == [EXACT, EXACT, *[ESTIMATE] * 5]
    assert lines["expand", "m"].calls == 60
    # 10 prompts and 60 x 5/20 accepted draws, 8 of 10 answerable: 20 prompts of 7 draws each
    assert lines["responses", "m"].calls == 20 * 7


def test_draws_whose_domain_is_not_checked_yet_may_still_become_prompts() -> None:
    counts = dict(HALF.counts) | {"classified": 10, "known": 10, "accepted": 0}
    seen = SEEN_HALF | {"expand": Seen(80, 0), "classify expansions": Seen(30, 12)}
    lines = forecast(seen, Tables(counts, HALF.labels, HALF.answered), HALF)
    assert (lines["expand", "m"].calls, lines["expand", "m"].basis) == (80, EXACT)
    assert lines["classify expansions", "m"].basis == EXACT
    # 12 / 3 texts x 5/20 accepted elsewhere x 8/10 answerable = 0.8 prompts
    assert lines["responses", "m"].calls == 56 + 6  # 7 x 0.8 = 5.6, rounded up


SECOND = {"target": "t", "role": "second_judge", "model": "second", "position": 1}


@pytest.mark.parametrize(
    ("limit", "repeats", "second", "again"),
    [
        (0, 1, 200, None),
        (0, 3, 3 * 200, 2 * 200),
        (5, 1, 5 * 10, None),
        (5, 2, 2 * 50, 50),
        (99, 1, 200, None),
    ],
)
def test_the_checks_of_the_judge_follow_what_the_judge_is_asked(
    limit: int, repeats: int, second: int, again: int | None
) -> None:
    # the judge: 80 calls for 8 prompts and 10 for each of 12 to come
    lines = forecast(
        SEEN_HALF, HALF, None, SECOND, judge_check_prompts_limit=limit, judge_repeats=repeats
    )
    line = lines["second judge", "second"]
    assert (line.calls, line.basis, line.role) == (second, ESTIMATE, "second_judge")
    repeated = lines.get(("judge again", "m"))
    assert (repeated and repeated.calls) == again
    assert repeated is None or repeated.role == "judge"


def test_a_second_judge_is_counted_exactly_where_all_draws_are_known() -> None:
    here = Tables(dict(HALF.counts) | {"classified": 10, "known": 10}, HALF.labels, HALF.answered)
    survey = Survey({(part, "m"): Seen(s.calls, 0) for part, s in SEEN_HALF.items()})
    survey.seen["second judge", "second"] = Seen(40, 30)
    cast = Roles("t", [*ROLES, SECOND], MODELS)
    lines = Forecast(
        survey, here, Tables(), VARIABLES | {"judge_check_prompts_limit": 4}, cast
    ).lines()
    (line,) = (line for line in lines if line.part == "second judge")
    assert (line.calls, line.held, line.basis) == (40, 10, EXACT)


def test_a_new_responder_leaves_the_others_exact() -> None:
    here = Tables(dict(HALF.counts) | {"classified": 10, "known": 10}, HALF.labels, HALF.answered)
    new = {"target": "t", "role": "responder", "model": "second", "position": 2}
    seen = {part: Seen(counted.calls, 0) for part, counted in SEEN_HALF.items()}
    lines = forecast(seen, here, None, new)
    assert (lines["responses", "m"].calls, lines["responses", "m"].basis) == (56, EXACT)
    assert (lines["responses", "second"].calls, lines["responses", "second"].basis) == (
        56,
        ESTIMATE,
    )
    assert lines["judge", "m"].calls == 80 + 10 * 8


PAIRED = Tables(
    dict(HALF.counts) | {"classified": 10, "known": 10, "paired": 8, "paired_labels": 20},
    HALF.labels,
    HALF.answered,
)


def answers_of(lines: dict[tuple[str, str], Line]) -> list[tuple[int, int, str]]:
    parts = ("answers", "judge answers")
    return shown({key: line for key, line in lines.items() if key[0] in parts})


def test_answers_are_asked_of_every_paired_prompt_and_judged_in_every_label() -> None:
    seen = {part: Seen(counted.calls, 0) for part, counted in SEEN_HALF.items()}
    both = {"protocols": ["verdict", "respond"], "answers_per_prompt": 2}
    asked = seen | {"answers": Seen(16, 16)}
    assert answers_of(forecast(asked, PAIRED)) == []
    # 8 prompts x 2 draws; 20 labels of 8 prompts
    assert answers_of(forecast(asked, PAIRED, **both)) == [(16, 0, EXACT), (40, 0, ESTIMATE)]
    asked = seen | {"answers": Seen(16, 4), "judge answers": Seen(30, 0)}
    assert answers_of(forecast(asked, PAIRED, **both)) == [(16, 12, EXACT), (40, 30, ESTIMATE)]
    asked = seen | {"answers": Seen(16, 0), "judge answers": Seen(36, 3)}
    assert answers_of(forecast(asked, PAIRED, **both)) == [(16, 16, EXACT), (36, 33, EXACT)]


def test_a_judge_is_not_asked_for_answers_unless_allowed() -> None:
    seen = {part: Seen(counted.calls, 0) for part, counted in SEEN_HALF.items()}
    both: dict[str, Any] = {"protocols": ["verdict", "respond"]}
    lines = forecast(seen, PAIRED, **both, allow_judge_as_responder=False)
    assert answers_of(lines) == [(0, 0, EXACT)]  # the judge's line alone
    second = {"target": "t", "role": "model_under_test", "model": "second", "position": 2}
    lines = forecast(seen, PAIRED, None, second, **both, allow_judge_as_responder=False)
    assert (lines["answers", "second"].calls, lines["judge answers", "m"].calls) == (8, 20)


def test_prompts_to_come_will_have_answers() -> None:
    both: dict[str, Any] = {"protocols": ["verdict", "respond"]}
    known = Tables(
        dict(HALF.counts) | {"paired": 6, "paired_labels": 15}, HALF.labels, HALF.answered
    )
    # 12 slots are to come, of which 6 of 8 give a pair, and 15 labels go with 6 prompts
    assert answers_of(forecast(SEEN_HALF, known, **both)) == [(15, 0, ESTIMATE), (38, 0, ESTIMATE)]
    twice = forecast(SEEN_HALF, known, **both, answers_per_prompt=2)
    assert answers_of(twice) == [(30, 0, ESTIMATE), (75, 0, ESTIMATE)]
    nothing = Tables({"prompts": 10}, {"d": (0, 50)})
    seen = {"classify prompts": Seen(30, 30), "expand": Seen(100, 100)}
    assert answers_of(forecast(seen, nothing, **both)) == [(60, 0, AT_MOST), (180, 0, AT_MOST)]


@pytest.mark.end_to_end
def test_tables_are_read_from_a_warehouse(scripted_warehouse: Path, tmp_path: Path) -> None:
    tables = read_tables(scripted_warehouse)
    assert tables["prompts"] == tables["classified"] == tables["known"] > 1000
    assert tables.slots == tables["to_answer"] == tables["answerable"]
    assert tables.draws > 6 * tables.slots * 0.9
    assert len(tables.labels) == 112
    with pytest.raises(CheckError, match=r"none.duckdb"):
        read_tables(tmp_path / "none.duckdb")


def test_a_warehouse_of_a_run_that_was_stopped_early_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "early.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(
            "create schema staging; create table staging.stg_prompts as select 1 as prompt_id"
        )
    assert read_tables(path) == Tables()
