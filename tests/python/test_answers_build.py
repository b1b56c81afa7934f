"""A whole build with answers: known rates come back, and verdicts do not notice that answers are there."""

from __future__ import annotations

import shutil
from math import sqrt
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from conftest import Project
from misalign_profile.engines.scripted import ANSWERS, BROKEN_ANSWERS
from misalign_profile.types import DIMENSIONS

pytestmark = pytest.mark.end_to_end
CASES = [(model, d) for model in ("overflags", "blind") for d in (*DIMENSIONS, "overall")]


def expected(model: str, dimension: str, labels: list[list[str]]) -> tuple[float, float]:
    """P(declines) and P(misaligned | does not decline) of prompts with these labelled dimensions."""
    declines, *of = ANSWERS[model]
    rates = dict(zip(DIMENSIONS, of, strict=True))
    if dimension != "overall":
        return declines, rates[dimension]
    aligned = 0.0
    for labelled in labels:
        chance = 1.0
        for d in labelled:
            chance *= 1 - rates[d]
        aligned += chance
    return declines, 1 - aligned / len(labels)


@pytest.mark.parametrize(("model", "dimension"), CASES)
def test_the_rates_of_the_scripted_models_come_back(
    scripted_warehouse: Path, model: str, dimension: str
) -> None:
    with duckdb.connect(str(scripted_warehouse), read_only=True) as con:
        labels = con.execute(
            "select distinct on (prompt_id) dimensions from benchmark.fct_answers"
            " where unusable_reason is null"
        ).fetchall()
        ((answers, judged, unusable, refused, of_all, of_replies),) = con.execute(
            """
            select answers, judged, unusable_share, refusal_rate, misalignment_rate,
                misalignment_rate_of_replies
            from marts.mart_answers where model = ? and dimension = ?
            """,
            [f"scripted-{model}", dimension],
        ).fetchall()
        ((rate, low, high, coverage),) = con.execute(
            """
            select misalignment_rate, misalignment_rate_low, misalignment_rate_high, coverage
            from marts.mart_alignment_metrics
            where protocol = 'respond' and semantic_type = 'all' and model = ? and dimension = ?
            """,
            [f"scripted-{model}", dimension],
        ).fetchall()
    declines, misaligned = expected(model, dimension, [row[0] for row in labels])

    def near(found: float, truth: float, n: float) -> bool:
        return abs(found - truth) <= 4 * sqrt(truth * (1 - truth) / n)

    assert judged < answers
    assert near(unusable, BROKEN_ANSWERS, answers)
    assert near(refused, declines, judged)
    assert near(of_replies, misaligned, judged * (1 - declines))
    assert near(of_all, misaligned * (1 - declines), judged)
    assert rate == pytest.approx(of_all)
    assert low < rate < high
    assert coverage is None


def test_the_judge_is_left_out_and_the_mart_says_why(scripted_warehouse: Path) -> None:
    with duckdb.connect(str(scripted_warehouse), read_only=True) as con:
        found = con.execute(
            "select dimension, answers, missing_reason from marts.mart_answers"
            " where model = 'scripted-careful'"
        ).fetchall()
        answered = con.execute(
            "select distinct model from benchmark.fct_answers order by 1"
        ).fetchall()
        stages = con.execute(
            """
            select stage, role, sum(calls)::integer from marts.mart_usage
            where is_current and stage in ('answer', 'judge_answer') group by all order by all
            """
        ).fetchall()
        ((prompts, verdicts),) = con.execute(
            """
            select (select count(distinct prompt_id) from benchmark.fct_pairs),
                (select count(distinct call_id) from benchmark.fct_verdicts
                    where protocol = 'respond' and dimension != 'overall')
            """
        ).fetchall()
    assert found == [("overall", 0, "its checkpoint is the judge, which does not judge itself")]
    assert answered == [("scripted-blind",), ("scripted-overflags",)]
    assert stages == [
        ("answer", "model_under_test", 2 * prompts),
        ("judge_answer", "judge", verdicts),
    ]


def tables(warehouse: Path) -> dict[str, pd.DataFrame]:
    """The verdicts' rows of every mart that names protocols, and marts that know of verdicts alone."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        marts = con.execute(
            "select table_name from duckdb_columns() where schema_name = 'marts' and column_name = 'protocol'"
        ).fetchall()
        queries = {mart: f"from marts.{mart} where protocol = 'verdict'" for (mart,) in marts}
        queries["mart_published_comparison"] = "from marts.mart_published_comparison"
        queries["mart_option_order"] = "from marts.mart_option_order where stage != 'judge_answer'"
        queries["fct_verdicts"] = "from benchmark.fct_verdicts where protocol = 'verdict'"
        found = {name: con.sql(query).df() for name, query in queries.items()}
    for name, frame in found.items():
        words = [c for c in frame if not pd.api.types.is_float_dtype(frame[c])]
        frame[words] = frame[words].astype(str)  # lists among them
        found[name] = frame.sort_values(words).reset_index(drop=True)
    return found


def test_verdicts_are_the_same_with_and_without_answers(
    scripted_project: Project, tmp_path: Path
) -> None:
    with_answers = tables(scripted_project.root / "warehouse" / "scripted.duckdb")
    copy = Project(Path(shutil.copytree(scripted_project.root, tmp_path / "without")))
    done = copy.dbt(
        "run", "--target", "scripted", "--vars", "{protocols: [verdict]}",
        "--select", "dim_settings+", "int_answers__judged+",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    warehouse = copy.root / "warehouse" / "scripted.duckdb"
    without = tables(warehouse)
    assert len(with_answers) > 10
    assert with_answers.keys() == without.keys()
    for name, frame in with_answers.items():
        assert len(frame) > 0, name
        pd.testing.assert_frame_equal(frame, without[name], obj=name, rtol=1e-9)
    with duckdb.connect(str(warehouse), read_only=True) as con:
        left = con.execute(
            """
            select (select count(*) from benchmark.fct_answers),
                (select count(*) from marts.mart_pareto_front where protocol = 'respond'),
                (select list(distinct missing_reason) from marts.mart_answers)
            """
        ).fetchall()
    assert left == [(0, 0, ["the protocol respond is not asked on this target"])]
    gate = copy.misalign("gate", "--target", "scripted")
    assert gate.returncode == 0, gate.stdout[-2000:]
    report = copy.misalign("report", "--target", "scripted")
    assert report.returncode == 0, report.stderr[-2000:]
    assert 'id="answers"' not in (copy.root / "warehouse" / "scripted_report.html").read_text()
