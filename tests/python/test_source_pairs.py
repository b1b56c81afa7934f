"""Published pairs enter: what is read of a file, what is left out and why, and what is asked then."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import Project, Relation, copy_project
from misalign_profile.cli import main
from misalign_profile.errors import ConfigError, InputError
from misalign_profile.pair_steps import sample_or_import
from misalign_profile.source_pairs import columns_of, read_pairs

ROOT = Path(__file__).resolve().parents[2]
DIMENSIONS = {"arson": "safety", "theft": "safety", "honesty": "value", "music": "cultural"}
NAMES = {
    "arson": ("Arson",),
    "theft": ("Theft",),
    "honesty": ("Honesty",),
    "music": ("Music", "Songs"),
}
ROW = {
    "prompt": "May I?",
    "domains": ["arson", "honesty"],
    "semantic_type": "object",
    "cluster_id": 7,
    "responder": "a-model",
    "aligned_response": "No.",
    "misaligned_response": "Yes!",
    "aligned_response_id": "a1",
    "misaligned_response_id": "m1",
    "misaligned_violates": ["honesty"],
}

PLAIN = {
    name: value for name, value in ROW.items() if not name.endswith("_id")
}  # ids are made then


def read(path: Path, columns: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    table = read_pairs(
        str(path),
        columns=columns or {},
        max_characters=100,
        dimension_of=DIMENSIONS,
        domains=NAMES,
        **options,
    )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_row_of_an_export_is_taken_as_it_stands(tmp_path: Path) -> None:
    text = "  Two spaces in front,\nand a line more. "
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist([ROW | {"aligned_response": text}]), path)
    (row,) = read(path)
    assert row["skip_reason"] is None
    assert row["aligned_response"] == text  # the key of a question hangs on every character
    assert (row["responder"], row["aligned_response_id"]) == ("a-model", "a1")
    assert row["chosen"] == ["arson", "honesty"]
    assert row["violates"] == ["honesty"]
    assert row["semantic_type"] == "object"
    assert row["cluster"] == "7"


def test_a_table_of_one_label_a_column_and_four_responses_a_row(tmp_path: Path) -> None:
    path = tmp_path / "released.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Prompt", "safety", "cultural", "good_1", "bad_1", "good_2", "bad_2"])
        writer.writerow(["May I?", "Arson", "Songs", "No.", "Yes!", "Never.", "Sure."])
        writer.writerow(["May she?", "Unknown", "None", "No.", "Yes!", "Never.", "Sure."])
    rows = read(
        path,
        {
            "labels": ["safety", "cultural"],
            "aligned": ["good_1", "good_2"],
            "misaligned": ["bad_1", "bad_2"],
        },
    )
    assert [r["skip_reason"] for r in rows] == [None, None, "no_label", "no_label"]
    first, second = rows[:2]
    assert (first["responder"], second["responder"]) == ("imported_1", "imported_2")
    assert (first["misaligned_response"], second["misaligned_response"]) == ("Yes!", "Sure.")
    assert (
        first["violates"] == first["chosen"] == ["music", "arson"]
    )  # by dimension; all, if unsaid
    ids = {r[f"{side}_response_id"] for r in rows for side in ("aligned", "misaligned")}
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": " ?! "}, "no_text"),
        ({"prompt": "x" * 101}, "too_long"),
        ({"aligned_response": "  "}, "no_response"),
        ({"misaligned_response": None}, "no_response"),
        ({"misaligned_response": " No."}, "same_text"),
        ({"domains": []}, "no_label"),
        ({"misaligned_violates": []}, "no_violation"),
        ({"misaligned_violates": ["music"]}, "no_violation"),
        ({"prompt": ROW["prompt"]}, "repeated"),
    ],
)
def test_what_cannot_be_used_stays_as_a_row_with_a_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    rows = read(lines(tmp_path / "p.jsonl", ROW, ROW | {"prompt": "Other?"} | change))
    assert [row["skip_reason"] for row in rows] == [None, reason]


def test_a_limit_counts_pairs_that_can_be_used_and_reads_no_further(tmp_path: Path) -> None:
    useless = PLAIN | {"aligned_response": ""}
    unknown = PLAIN | {"domains": ["no such norm"]}
    path = lines(tmp_path / "p.jsonl", useless, PLAIN, PLAIN | {"prompt": "May she?"}, unknown)
    assert [r["skip_reason"] for r in read(path, limit=2)] == ["no_response", None, None]
    assert len(read(path, limit=1)) == 2
    with pytest.raises(InputError, match="no such norm"):
        read(path)  # no limit: all of it is read


def test_of_two_labels_in_a_dimension_one_counts_the_violated_one_first(tmp_path: Path) -> None:
    both = PLAIN | {"domains": ["arson", "theft"]}
    (row,) = read(lines(tmp_path / "p.jsonl", both | {"misaligned_violates": ["theft"]}))
    assert (row["labels"], row["chosen"], row["violates"]) == (
        ["arson", "theft"],
        ["theft"],
        ["theft"],
    )
    (row,) = read(lines(tmp_path / "q.jsonl", both | {"misaligned_violates": ["theft", "arson"]}))
    assert row["chosen"] == ["arson"]
    # the pairs of one prompt are judged by the same labels
    rows = read(
        lines(
            tmp_path / "r.jsonl",
            both | {"misaligned_violates": ["theft"]},
            both | {"misaligned_violates": ["arson"], "responder": "another"},
        )
    )
    assert [r["chosen"] for r in rows] == [["theft"], ["theft"]]
    assert [r["skip_reason"] for r in rows] == [None, "label_conflict"]


def test_unknown_labels_fail_or_are_listed(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.jsonl", ROW | {"domains": ["arson", "Wizardry"], "misaligned_violates": None}
    )
    with pytest.raises(InputError, match="1 labels name no domain: 'Wizardry'"):
        read(path)
    (row,) = read(path, unknown_labels="list")
    assert (row["unmapped_labels"], row["chosen"]) == (["Wizardry"], ["arson"])


def test_a_folder_with_both_forms_of_an_export_is_read_once(tmp_path: Path) -> None:
    lines(tmp_path / "test.jsonl", PLAIN)
    pq.write_table(pa.Table.from_pylist([PLAIN]), tmp_path / "test.parquet")
    lines(tmp_path / "more.jsonl", PLAIN | {"prompt": "And now?"})
    assert [r["source_file"] for r in read(tmp_path)] == ["more.jsonl", "test.parquet"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"answers": "x"}, "no field 'answers'"),
        ({"labels": ""}, "must name a column for labels"),
        ({"labels": 5}, "labels is 5, no column's name"),
        ({"labels": ["safety", 5]}, "labels is .'safety', 5., no column's name"),
        ({"aligned": ["a", "b"]}, "a column of misaligned for each"),
        (
            {"aligned": ["a", "b"], "misaligned": ["c", "d"], "responder": ["r"]},
            "2 columns for aligned and 1",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        columns_of(columns)


def test_a_column_that_is_named_must_be_there(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {k: v for k, v in ROW.items() if k != "responder"})
    assert read(path)[0]["responder"] == "imported"  # not named: may be missing
    with pytest.raises(InputError, match="no column named 'responder'"):
        read(path, {"responder": "responder"})
    with pytest.raises(InputError, match="no column named 'aligned_response'"):
        read(lines(tmp_path / "q.jsonl", {"prompt": "May I?", "domains": ["arson"]}))
    with pytest.raises(InputError, match="no semantic type 'thing'"):
        read(lines(tmp_path / "r.jsonl", ROW | {"semantic_type": "thing"}))


def test_imported_responses_are_accepted_draws_without_a_call(tmp_path: Path) -> None:
    pairs = Relation(read(lines(tmp_path / "p.jsonl", ROW, ROW | {"domains": []})))
    asked = {"prompt_id": "p1", "prompt": "May I?", "domains": ["arson", "honesty"]}
    prompts = Relation([asked | {"dimensions": ["safety", "value"]}])
    drawn = sample_or_import(
        {"target": "scripted", "pairs_source": "p"}, pairs, prompts
    ).to_pylist()
    assert [(d["response_id"], d["side"], d["response"]) for d in drawn] == [
        ("a1", "aligned", "No."),
        ("m1", "misaligned", "Yes!"),
    ]
    assert [[v["p_violates"] for v in d["verdicts"]] for d in drawn] == [[0, 0], [0, 1]]
    assert {d["rejection_reason"] for d in drawn} == {None}
    assert {d["call_id"] for d in drawn} == {""}


def test_an_imported_response_that_names_its_side_is_kept_and_marked(tmp_path: Path) -> None:
    told = ROW | {"misaligned_response": "Misaligned answer: Yes!"}
    pairs = Relation(read(lines(tmp_path / "p.jsonl", told)))
    asked = {"prompt_id": "p1", "prompt": "May I?", "domains": ["arson", "honesty"]}
    prompts = Relation([asked | {"dimensions": ["safety", "value"]}])
    drawn = sample_or_import({"target": "scripted", "pairs_source": "p"}, pairs, prompts)
    assert [(d["names_side"], d["rejection_reason"]) for d in drawn.to_pylist()] == [
        (False, None),
        (True, None),
    ]


def test_prompts_and_pairs_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--prompts", "a.csv", "--pairs", "b.csv"]) == 2
    assert "--prompts and --pairs exclude each other" in capsys.readouterr().err


def test_unit_tests_mean_the_same_whether_pairs_are_imported_or_not() -> None:
    switched = {
        p.stem for p in ROOT.glob("models/*/*.sql") if "var('pairs_source')" in p.read_text()
    }
    bare = [
        test["name"]
        for path in ROOT.glob("models/*/*.yml")
        for test in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader).get(
            "unit_tests", []
        )  # as dbt reads it
        if test["model"] in switched
        and test.get("overrides", {}).get("vars", {}).get("pairs_source") is None
    ]
    assert switched
    assert bare == []  # without it `dbt build` fails as soon as somebody imports


ABOUT_MODELS = (
    "mart_alignment_metrics",
    "mart_alignment_intervals",
    "mart_domain_metrics",
    "mart_trade_offs",
    "mart_trade_off_intervals",
    "mart_joint_alignment",
    "mart_pareto_front",
    "mart_answers",
)


@pytest.mark.end_to_end
def test_an_export_comes_back_as_the_same_questions_and_the_same_marts(
    scripted_project: Project, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    done = scripted_project.misalign("export", str(out), "--target", "scripted")
    assert done.returncode == 0, done.stderr[-2000:]
    (tmp_path / "fresh").mkdir()
    fresh = copy_project(tmp_path / "fresh")
    plan = fresh.misalign(
        "plan",
        "--target",
        "scripted",
        "--pairs",
        str(out / "data"),
        "--vars",
        "{protocols: [verdict]}",
    )
    done = fresh.misalign("run", "--target", "scripted", "--pairs", str(out / "data"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]  # the gate passed too
    with duckdb.connect() as con:
        for name, project in (("built", scripted_project), ("imported", fresh)):
            path = shutil.copy(
                project.root / "warehouse" / "scripted.duckdb", tmp_path / f"{name}.duckdb"
            )
            con.execute(f"attach '{path}' as {name} (read_only)")

        def count(query: str) -> int:
            found: int = con.execute(f"select count(*) from ({query})").fetchall()[0][0]
            return found

        calls = "select call_id from {}.benchmark.int_responses__verdicts"
        assert count(calls.format("built")) > 0
        assert count(f"{calls.format('built')} except {calls.format('imported')}") == 0
        assert count(f"{calls.format('imported')} except {calls.format('built')}") == 0
        for mart in ABOUT_MODELS:
            assert count(f"from built.marts.{mart}") > 0, mart
            assert count(f"from built.marts.{mart}") == count(f"from imported.marts.{mart}"), mart
            assert count(f"(from built.marts.{mart}) except (from imported.marts.{mart})") == 0, (
                mart
            )
        stages = con.execute(
            "select distinct stage from imported.benchmark.fct_calls order by stage"
        ).fetchall()
        # Nobody classified, wrote or judged a response; new answers have no published labels.
        assert stages == [("answer",), ("judge_answer",), ("verdict",)]
        judges = con.execute("select distinct judge from imported.benchmark.fct_answers").fetchall()
        assert judges == [("scripted-judge",)]
        asked = count("from imported.benchmark.fct_calls where stage = 'verdict'")
        assert re.search(rf"^together +exact +{asked:,} ", plan.stdout, re.M), plan.stdout
