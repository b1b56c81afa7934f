"""The gate passes a sound warehouse, names each corruption, and never passes what it cannot see."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from gate_warehouse import ROOT, build_warehouse
from misalign_profile.gate import run_gate

SUITES = ROOT / "expectations"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse file that every table of the project is in, without a defect."""
    path = tmp_path_factory.mktemp("gate") / "sound.duckdb"
    build_warehouse(path)
    return path


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Any:
    """Copies the sound warehouse, runs SQL on the copy, gives its path."""

    def breaks(*statements: str) -> Path:
        copy = tmp_path / "broken.duckdb"
        shutil.copy(sound, copy)
        with duckdb.connect(str(copy)) as con:
            for statement in statements:
                con.execute(statement)
        return copy

    return breaks


@pytest.fixture
def suite(tmp_path: Path) -> Any:
    """A suites folder with the vars beside it: a real suite, one check of it, or a text."""

    def folder(check: str = "", text: str = "") -> Path:
        suites = tmp_path / "project" / "expectations"
        suites.mkdir(parents=True)
        shutil.copy(ROOT / "dbt_project.yml", suites.parent)
        name, _, only = check.partition("/")
        if name:
            content = yaml.safe_load((SUITES / f"{name}.yml").read_text())
            content["checks"] = [c for c in content["checks"] if only in ("", c["name"])]
            (suites / f"{name}.yml").write_text(json.dumps(content))
        if text:
            (suites / "own.yml").write_text(text)
        return suites

    return folder


def test_a_sound_warehouse_passes(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_gate(sound, SUITES)
    out = capsys.readouterr().out
    assert code == 0, out
    for path in SUITES.glob("*.yml"):
        assert path.stem in out


SHORT = {
    "$FIRST_PAIR": "(select min(pair_id) from benchmark.fct_pairs)",
    "$SOME_RESPONSE": "(select min(aligned_response_id) from benchmark.fct_pairs)",
}


def _cases(text: str) -> list[Any]:
    """``name | suite/check | words that the output must hold``, then the SQL, indented."""
    cases = []
    for name, suite, words, sql in re.findall(r"(.+) \| ([\w/]+) \| (.+)\n((?:    .+\n)+)", text):
        for short, long in SHORT.items():
            sql = sql.replace(short, long)
        cases.append(pytest.param(suite, words, sql, id=name))
    return cases


CORRUPTIONS = _cases("""
code twice | taxonomy/domains | domains.code
    update benchmark.dim_domains set code = (select min(code) from benchmark.dim_domains) where
    code = (select max(code) from benchmark.dim_domains)
a domain lost | taxonomy/domains | row count to equal (value=112)
    delete from benchmark.dim_domains where dimension = 'value' and code = (select max(code)
    from benchmark.dim_domains where dimension = 'value')
a domain moved | taxonomy/domains_per_dimension | domains_per_dimension
    update benchmark.dim_domains set dimension = 'safety' where code = (select max(code) from
    benchmark.dim_domains where dimension = 'value')
release count | taxonomy/domains | domains.in_release
    update benchmark.dim_domains set in_release = true
type missing | taxonomy/semantic_types | semantic_types
    delete from seeds.semantic_types where semantic_type = 'relation'
type too rare | taxonomy/seed_prompt_shares | share
    update seeds.prompts set semantic_type = 'object' where semantic_type = 'relation'
unknown domain | labels/assigned_labels | domain_is_known
    update benchmark.fct_prompt_labels set domain = 'nonsense' where prompt_id = (select
    min(prompt_id) from benchmark.fct_prompt_labels)
two labels | labels/one_label_a_dimension | one_label_a_dimension
    insert into benchmark.fct_prompt_labels select prompt_id, 'other', dimension, score,
    is_assigned, is_reference from benchmark.fct_prompt_labels limit 1
score above one | labels/assigned_labels | labels.score
    update benchmark.fct_prompt_labels set score = 1.5 where prompt_id = (select min(prompt_id)
    from benchmark.fct_prompt_labels)
score lost | labels/assigned_labels | not be null
    update benchmark.fct_prompt_labels set score = null
near survivors | deduplication/near_pairs | near_survivor
    update benchmark.dim_prompts set prompt = 'x' || (select prompt from benchmark.dim_prompts
    where origin = 'seed' order by place limit 1) where prompt_id = (select max(prompt_id)
    from benchmark.dim_prompts)
same letters survive twice | deduplication/near_pairs | survivors
    update benchmark.dim_prompts set prompt = (select upper(prompt) || '!' from
    benchmark.dim_prompts where origin = 'seed' order by place limit 1) where prompt_id =
    (select max(prompt_id) from benchmark.dim_prompts)
fingerprint of another text | deduplication/near_pairs | fingerprint_is_right
    update benchmark.dim_prompts set fingerprint = fingerprint + 1 where prompt_id =
    (select max(prompt_id) from benchmark.dim_prompts)
survivor in another cluster | deduplication/clusters | survivors_agree
    update benchmark.dim_prompts set is_survivor = false, survivor_id = (select min(prompt_id)
    from benchmark.dim_prompts) where prompt_id = (select max(prompt_id) from
    benchmark.dim_prompts)
cluster in two splits | deduplication/clusters | dim_prompts.splits
    update benchmark.dim_prompts set cluster_id = (select min(prompt_id) from
    benchmark.dim_prompts) where prompt_id = (select min(prompt_id) from benchmark.dim_prompts
    where split = 'test') or prompt_id = (select min(prompt_id) from benchmark.dim_prompts where
    split = 'train')
text empty | pairs/pairs | aligned_characters
    update benchmark.fct_pairs set aligned_response = ' ' where pair_id = $FIRST_PAIR
texts equal | pairs/pairs | texts_differ
    update benchmark.fct_pairs set misaligned_response = aligned_response where pair_id =
    $FIRST_PAIR
draw rejected | pairs/pairs | aligned_is_an_accepted_draw
    update benchmark.fct_draws set rejection_reason = 'echo', rejected_by = 'rules' where
    response_id = $SOME_RESPONSE
draw lost | pairs/pairs | aligned_is_an_accepted_draw
    delete from benchmark.fct_draws where response_id = $SOME_RESPONSE
sides of unlike length | pairs/matches | matches_in_length
    update benchmark.fct_draws set words = 99 where response_id = $SOME_RESPONSE
sides of unlike quality | pairs/matches | matches_in_quality
    update benchmark.fct_draws set p_quality = 0.55 where response_id = $SOME_RESPONSE
a poor side | pairs/matches | is_good_enough
    update benchmark.fct_draws set p_quality = 0.45 where response_id = $SOME_RESPONSE
prompt lost | pairs/accounted_for | has_a_pair_or_a_reason
    delete from benchmark.fct_pairs where pair_id = $FIRST_PAIR
aligned violates | pairs/reference_violations | aligned_violations
    update benchmark.fct_reference_labels set is_misaligned = true where response_id =
    $SOME_RESPONSE
misaligned honours | pairs/reference_violations | misaligned_violations
    update benchmark.fct_reference_labels set is_misaligned = false where response_id = (select
    min(misaligned_response_id) from benchmark.fct_pairs)
unknown reason | pairs/draws | reason_is_known
    update benchmark.fct_draws set rejection_reason = 'whim' where rejection_reason is not null
funnel miscounted | metrics/rejection_funnel | draws
    update marts.mart_rejection_funnel set draws = draws + 1
funnel row lost | metrics/rejection_funnel | difference
    delete from marts.mart_rejection_funnel where domain = 'all' and outcome = 'too_short'
kappa changed | metrics/judge_agreement | kappa
    update marts.mart_judge_agreement set kappa = 0.99
alpha changed | metrics/judge_agreement | alpha
    update marts.mart_judge_agreement set alpha = alpha * 0.999 where compared = 'judges'
misaligned draws said to be harmless | pairs/draws | offence_is_told
    update benchmark.fct_draws set may_offend = false where side = 'misaligned'
unjudged draws said to be harmless | pairs/draws | offence_is_told
    update benchmark.fct_draws set may_offend = false where judge_margin is null
one candidate too many | pairs/draws | candidate_is_in_range
    update benchmark.fct_draws set candidate = 99 where response_id = $SOME_RESPONSE
one round too many | pairs/draws | round_is_in_range
    update benchmark.fct_draws set round = 99 where response_id = $SOME_RESPONSE
misaligned answers said to be harmless | answers/verdicts | offence_is_told
    update benchmark.fct_answers set may_offend = false where unusable_reason is null
unjudged answers said to be harmless | answers/verdicts | offence_is_told
    update benchmark.fct_answers set may_offend = false where unusable_reason is not null
verdict lost | verdicts/coverage | verdicts
    delete from benchmark.fct_verdicts where response_id = $SOME_RESPONSE and dimension =
    'overall'
verdict twice | verdicts/coverage | verdicts
    insert into benchmark.fct_verdicts select * from benchmark.fct_verdicts limit 1
not a probability | verdicts/verdicts | p_misaligned
    update benchmark.fct_verdicts set p_misaligned = p_misaligned + 0.6
flag flipped | verdicts/verdicts | right_agrees
    update benchmark.fct_verdicts set is_flagged = not is_flagged where response_id =
    $SOME_RESPONSE
threshold not one | verdicts/verdicts | one_threshold
    update benchmark.fct_verdicts set is_flagged = not is_flagged, is_right = not is_right where
    response_id = $SOME_RESPONSE
call not recorded | verdicts/calls | is_recorded
    delete from benchmark.fct_calls where call_id = (select min(call_id) from
    benchmark.fct_verdicts)
order lost | verdicts/option_orders | mean_agrees
    delete from benchmark.int_responses__verdicts where option_order = 1
order lost for one | verdicts/option_orders | same_orders
    delete from benchmark.int_responses__verdicts where option_order = 1 and response_id =
    $SOME_RESPONSE
mean of one order | verdicts/option_orders | mean_agrees
    update benchmark.fct_verdicts set p_misaligned = p_misaligned / 2 where response_id =
    $SOME_RESPONSE
orders miscounted | verdicts/option_orders | count_agrees
    update benchmark.fct_verdicts set option_orders = 1
answer lost | answers/coverage | is_answered
    delete from benchmark.fct_answers where item_id = (select min(item_id) from benchmark.fct_answers)
answers of a model lost | answers/coverage | is_answered
    delete from benchmark.fct_answers where model = 'scripted-blind'
verdict on an answer lost | answers/verdicts | verdicts_agree
    delete from benchmark.fct_verdicts where dimension = 'overall' and item_id = (select
    min(item_id) from benchmark.fct_answers where unusable_reason is null)
right and misaligned | answers/verdicts | right_agrees
    update benchmark.fct_verdicts set is_right = true where protocol = 'respond'
overall milder than a part | answers/verdicts | overall_agrees
    update benchmark.fct_verdicts set is_misaligned = false, is_right = true where protocol =
    'respond' and dimension = 'overall'
most answers unusable | answers/usable | is_within_the_limit
    update marts.mart_answers set unusable_share = 0.51 where model = 'scripted-blind'
misaligned answers miscounted | answers/rates | rates_agree
    update marts.mart_answers set misalignment_rate = misalignment_rate / 2
demo unflagged | models/demo_models | demo_is_flagged
    update benchmark.dim_models set is_demo = false
demo unflagged in mart | models/demo_flags_in_marts | flag_agrees
    update marts.mart_trade_offs set is_demo = false
judge is responder | models/judge_and_responder | shared_judge_is_flagged
    update benchmark.fct_pairs set judge = responder
accuracy changed | metrics/alignment_metrics | accuracy
    update marts.mart_alignment_metrics set accuracy = accuracy * 0.999
coverage changed | metrics/alignment_metrics | coverage
    update marts.mart_alignment_metrics set coverage = coverage * 0.999
score out of range | metrics/alignment_ranges | alignment_score
    update marts.mart_alignment_metrics set alignment_score = 1.2
score lost, no reason | metrics/alignment_ranges | null_has_a_reason
    update marts.mart_alignment_metrics set alignment_score = null
reason with a score | metrics/alignment_ranges | null_has_a_reason
    update marts.mart_alignment_metrics set missing_reason = 'because'
interval beside | metrics/alignment_ranges | coverage_in_interval
    update marts.mart_alignment_metrics set coverage_low = coverage_high
row lost | metrics/alignment_metrics | difference
    delete from marts.mart_alignment_metrics where dimension = 'overall' and semantic_type =
    'all'
trade-off changed | metrics/trade_offs | trade_off
    update marts.mart_trade_offs set trade_off = 1 - trade_off
trade-offs all lost | metrics/trade_offs | metrics/trade_offs
    delete from marts.mart_trade_offs
joint too high | metrics/trade_off_ranges | joint_is_not_above_singles
    update marts.mart_trade_offs set joint = 1
drop changed | metrics/joint_alignment | joint_alignment
    update marts.mart_joint_alignment set alignment_drop = 0.123
domain score changed | metrics/domain_metrics | domain_metrics
    update marts.mart_domain_metrics set n_aligned = n_aligned + 1
front turned | metrics/pareto_front | pareto_front
    update marts.mart_pareto_front set is_on_front = not is_on_front
front of too few | metrics/pareto_front | pareto_front
    update marts.mart_alignment_metrics set is_too_small = true
front without a reason | metrics/pareto_ranges | pareto_ranges
    update marts.mart_pareto_front set is_on_front = null
domain reason lost | metrics/domain_ranges | domain_ranges
    update marts.mart_domain_metrics set missing_reason = 'because' where missing_reason is null
drop without a reason | metrics/joint_ranges | joint_ranges
    update marts.mart_joint_alignment set alignment_drop = null
responses miscounted | metrics/domain_construction | responses_are_the_pairs
    update marts.mart_domain_construction set responses = responses + 1
""")


@pytest.mark.parametrize(("name", "words", "sql"), CORRUPTIONS)
def test_a_corruption_fails_and_is_named(
    name: str, words: str, sql: str, broken: Any, suite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_gate(broken(sql), suite(name))
    out = capsys.readouterr().out
    failed = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert code == 1, out
    assert any(words in line for line in failed), out


NOTHING_COMPARED = """
    delete from marts.mart_judge_agreement;
    update benchmark.fct_judgements set p_reversed = null, p_asked_again = [];
    delete from benchmark.fct_judgements where is_second
"""


@pytest.mark.parametrize("sql", [NOTHING_COMPARED, "delete from benchmark.fct_judgements"])
def test_one_judge_asked_once_has_nothing_to_agree_with(
    sql: str, broken: Any, suite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = "delete from marts.mart_judge_agreement"
    assert run_gate(broken(sql, gone), suite("metrics/judge_agreement")) == 0
    assert "passed, 2 expectations" in capsys.readouterr().out


GONE = _cases("""
table | models/judge_and_responder | fct_pairs
    drop table benchmark.fct_pairs
table of a frame | metrics/trade_offs | fct_verdicts
    drop table benchmark.fct_verdicts
table that may be empty | metrics/trade_off_ranges | mart_trade_offs
    drop table marts.mart_trade_offs
column | labels/classifier_scores | none_score
    alter table classification.int_prompts__classified drop column none_score
column in a query | pairs/pairs | prompt_id
    alter table benchmark.fct_draws drop column prompt_id
column of a frame | metrics/alignment_metrics | coverage
    alter table marts.mart_alignment_metrics drop column coverage
rows | deduplication/clusters | dim_prompts: the table is empty
    delete from benchmark.dim_prompts
rows behind a query | verdicts/coverage | fct_pairs
    delete from benchmark.fct_pairs
""")


@pytest.mark.parametrize(("name", "words", "sql"), GONE)
def test_what_is_gone_cannot_be_checked(
    name: str, words: str, sql: str, broken: Any, suite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_gate(broken(sql), suite(name))
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("COULD NOT CHECK")]
    assert code == 2, out
    assert any(words in line and "->" in line for line in lines), out


CHECK = "why: x\nchecks:\n  - {name: a, why: x, table: benchmark.dim_domains, expectations: [%s]}\n"
ONE_ROW = "{expect_table_row_count_to_equal: {value: 1}}"
UNUSABLE = {
    "not yaml": ("why: [", "own.yml"),
    "empty file": ("\n", "own.yml"),
    "no expectations": (CHECK % "", "own.yml"),
    "unknown key": (
        CHECK.replace("table:", "my_be_null: [a], table:") % "expect_x: {}",
        "my_be_null",
    ),
    "unknown expectation": (CHECK % "{expect_miracles: {column: code}}", "expect_miracles"),
    "wrong argument": (CHECK % "{expect_table_row_count_to_equal: {valve: 1}}", "valve"),
    "unknown column": (CHECK % "{expect_column_values_to_be_unique: {column: nope}}", "nope"),
    "raises": (
        CHECK % "{expect_column_mean_to_be_between: {column: code, max_value: 1}}",
        "raised",
    ),
    "unknown frame": (CHECK.replace("table:", "frame: nope, table:") % ONE_ROW, "nope"),
    "unknown var": (CHECK.replace("table:", "query: select $nope, table:") % ONE_ROW, "$nope"),
    "no suites": ("", "there are no suites"),
}


@pytest.mark.parametrize(("text", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_suite_is_never_a_pass(
    text: str, words: str, sound: Path, suite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_gate(sound, suite(text=text)) == 2
    out = capsys.readouterr().out
    assert any(words in line for line in out.splitlines() if line.startswith("COULD NOT CHECK")), (
        out
    )


def test_no_warehouse_and_no_duckdb_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_gate(tmp_path / "none.duckdb", SUITES) == 2
    (tmp_path / "text.duckdb").write_text("this is not a database, it is a sentence " * 50)
    assert run_gate(tmp_path / "text.duckdb", SUITES) == 2
    assert capsys.readouterr().out.count("COULD NOT CHECK") == 2


def test_both_are_reported_and_two_outranks_one(
    broken: Any, suite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken("update benchmark.dim_domains set in_release = true", "drop table seeds.prompts")
    assert run_gate(path, suite("taxonomy")) == 2
    out = capsys.readouterr().out
    assert "FAILED  taxonomy/domains" in out
    assert "COULD NOT CHECK  taxonomy/seed_prompt_shares" in out
