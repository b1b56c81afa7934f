"""A whole build in which every scripted model is asked in full and in several listing orders.

One model under test leans to the option that is listed first.
"""

from __future__ import annotations

import csv
import json
import re

import duckdb
import pytest

from conftest import Project, copy_project

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    project = copy_project(tmp_path_factory.mktemp("orders"))
    models = project.root / "seeds" / "models.csv"
    models.write_text(
        re.sub(r"(?m)^(scripted-.*),compact,", r"\1,full,", models.read_text("utf-8")), "utf-8"
    )
    with open(project.root / "seeds" / "roles.csv", "a", encoding="utf-8") as file:
        file.write("scripted,model_under_test,scripted-first-listed,4\n")
    with open(project.root / "seeds" / "prompts.csv", encoding="utf-8", newline="") as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)][:400:10]
    source = project.root / "mine.txt"
    source.write_text("".join(f"{prompt}\n" for prompt in prompts), "utf-8")
    variables = json.dumps(
        {
            "include_seed_prompts": False, "prompts_source": str(source), "expansion_target": 1,
            "classification_option_orders": 3, "judge_option_orders": 2, "judge_repeats": 2,
            "smallest_n": 5,
        }
    )  # fmt: skip
    done = project.dbt(
        "build", "--target", "scripted", "--exclude-resource-type", "unit_test", "--vars", variables
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return project, variables


def test_a_build_reports_the_bias_and_frees_the_flags_of_it(built: tuple[Project, str]) -> None:
    with duckdb.connect(
        str(built[0].root / "warehouse" / "scripted.duckdb"), read_only=True
    ) as con:
        orders = dict(
            con.execute(
                "select stage, list(distinct option_orders) from marts.mart_option_order group by stage"
            ).fetchall()
        )
        shifts = con.execute(
            """
            select option_order, mean_shift, flipped_share, flipped_share_low, flipped_share_high
            from marts.mart_option_order where model = 'scripted-first-listed' and dimension = 'overall'
            order by option_order
            """
        ).fetchall()
        ((wrong_before, wrong_after, n),) = con.execute(
            """
            with odds as (
                select response_id, dimension, sum(ln(p_misaligned / (1 - p_misaligned))) >= 0 as believed
                from benchmark.int_responses__verdicts where model = 'scripted-first-listed' group by all
            )
            select count(*) filter (where (once.p_misaligned >= 0.5) != believed),
                count(*) filter (where averaged.is_flagged != believed), count(*)
            from benchmark.fct_verdicts as averaged
            join odds using (response_id, dimension)
            join benchmark.int_responses__verdicts as once using (model, response_id, dimension)
            where model = 'scripted-first-listed' and option_order = 0
            """
        ).fetchall()
        ((current, calls, asked),) = con.execute(
            """
            select count(*) filter (where is_current), count(*),
                (select count(distinct call_id) from benchmark.fct_ordered_answers)
                + (select count(*) from benchmark.fct_draws)
                + (select count(*) from benchmark.fct_answers)
                + (select count(*) from expansion.int_expansions__drawn)
                + (select count(distinct call_id) from responses.int_responses__judged_again where repeat > 0)
                + (select count(distinct call_id) from responses.int_gold_responses__judged)
            from benchmark.fct_calls
            """
        ).fetchall()
        ((scores,),) = con.execute(
            """
            select count(*) from (select prompt_id, dimension, sum(score) + any_value(none_score) as whole
                from classification.int_prompts__domains_averaged group by all) where abs(whole - 1) > 1e-9
            """
        ).fetchall()
    assert orders == {
        "classify": [3],
        "semantic_type": [3],
        "judge": [2],
        "second_judge": [2],
        "judge_answer": [2],
        "verdict": [2],
    }
    (_, up, *none), (_, down, share, low, high) = shifts
    assert up == pytest.approx(-down)
    assert up > 0.1
    assert none == [None] * 3
    assert low < share < high
    assert wrong_before > n / 20
    assert wrong_after == 0
    assert current == calls == asked
    assert scores == 0


def test_judges_are_compared_with_each_other_reversed_and_asked_again(
    built: tuple[Project, str],
) -> None:
    """The second judge errs in one of ten, in each order anew; asked again, scripted judges say the same."""
    with duckdb.connect(
        str(built[0].root / "warehouse" / "scripted.duckdb"), read_only=True
    ) as con:
        found = con.execute(
            """
            select compared, judge, n, agreement, kappa from marts.mart_judge_agreement
            where dimension = 'safety' and side = 'all'
            """
        ).fetchall()
    by = {(compared, judge): (agreement, kappa) for compared, judge, _, agreement, kappa in found}
    first, second = "scripted-judge", "scripted-second-judge"
    assert len({n for *_, n, _, _ in found}) == 1
    assert by.keys() == {
        ("judges", first), ("orders", first), ("orders", second), ("repeats", first), ("repeats", second)
    }  # fmt: skip
    assert by["repeats", first] == by["repeats", second] == by["orders", first] == (1, 1)
    assert by["orders", second][1] == pytest.approx(1 - 2 * 0.18, abs=0.15)  # 2 x 0.1 x 0.9 differ


def test_a_plan_after_the_build_finds_every_order_in_the_journal(
    built: tuple[Project, str],
) -> None:
    project, variables = built
    done = project.misalign("plan", "--target", "scripted", "--vars", variables)
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"  +", line) for line in done.stdout.splitlines() if line.count("  ") > 5][
        1:
    ]
    counted = {(line[0], line[1]): [cell.replace(",", "") for cell in line[3:6]] for line in lines}
    assert {to_ask for _, _, to_ask in counted.values()} == {"0"}
    assert counted["classify prompts", "scripted-default"][0] == str(40 * 3 * 3)
    assert counted["semantic type", "scripted-default"][0] == str(40 * 3)
    assert len({tuple(cells) for (part, _), cells in counted.items() if part == "verdicts"}) == 1
    judged = int(counted["judge", "scripted-judge"][0])
    again = int(counted["judge again", "scripted-judge"][0])
    assert 0 < again < judged  # the judge alone is asked about quality, and once
    assert int(counted["second judge", "scripted-second-judge"][0]) == 2 * again
