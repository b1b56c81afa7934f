"""Calibration sets: what is read, what is refused, what the judge is asked, and what is shipped."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Relation
from misalign_profile import survey
from misalign_profile.calibration_steps import judge_gold
from misalign_profile.demo import gold as demo_gold
from misalign_profile.demo.grammar import load_lexicon
from misalign_profile.errors import ConfigError, InputError
from misalign_profile.source_gold import Gold, read_gold

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = {"arson": ("Arson",), "honesty": ("Honesty",), "music": ("Music", "Songs")}
ROW = {"prompt": "May I?", "response": "No.", "domain": "arson", "is_violation": "no"}


def read(path: Path, **columns: str) -> list[Gold]:
    return read_gold(str(path), columns=columns, max_characters=40, domains=DOMAINS)


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_csv_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"response": "Yes!", "domain": "Songs", "is_violation": "Yes"}]
    with open(tmp_path / "gold.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        writer.writerows(rows)
    lines(tmp_path / "gold.jsonl", ROW | {"is_violation": False}, rows[1] | {"is_violation": 1})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gold.parquet")
    found = [read(tmp_path / f"gold.{kind}") for kind in ("csv", "jsonl", "parquet")]
    assert found[0] == found[1] == found[2]
    assert [(g.response, g.domain, g.is_violation) for g in found[0]] == [
        ("No.", "arson", False),
        ("Yes!", "music", True),
    ]


def test_columns_may_have_other_names_and_an_empty_path_no_rows(tmp_path: Path) -> None:
    row = {"q": "May I?", "a": "No.", "norm": "honesty", "bad": "true"}
    path = lines(tmp_path / "gold.jsonl", row)
    (gold,) = read(path, prompt="q", response="a", domain="norm", is_violation="bad")
    assert (gold.prompt, gold.domain, gold.is_violation) == ("May I?", "honesty", True)
    assert read_gold("", columns={}, max_characters=9, domains=DOMAINS) == []
    with pytest.raises(ConfigError, match="no field 'label'"):
        read(path, label="bad")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domain": "juggling"}, "'domain' names no domain: 'juggling'"),
        ({"domain": ""}, "'domain' names no domain"),
        ({"domain": "arson; music"}, "'domain' names several"),
        ({"is_violation": "maybe"}, "'is_violation' is 'maybe'"),
        ({"is_violation": None}, "'is_violation' is 'None'"),
        ({"response": "  "}, "'response' holds no text"),
        ({"prompt": None}, "'prompt' holds no text"),
        ({"response": 7}, "'response' is not text"),
        ({"response": "long " * 20}, "'response' is longer than 40 characters"),
        ({}, "this response stands twice for the domain 'arson'"),
        ({"is_violation": "yes"}, "this response stands twice for the domain 'arson'"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line_with_its_number(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = lines(tmp_path / "gold.jsonl", ROW, ROW | change)
    with pytest.raises(InputError) as caught:
        read(path)
    line = str(caught.value)
    assert said in line
    assert "gold.jsonl row 2" in line
    assert "->" in line
    assert "\n" not in line


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "gold.jsonl", {"prompt": "May I?", "response": "No.", "domain": "arson"}
    )
    with pytest.raises(InputError, match="no column named 'is_violation'"):
        read(path)


def relations() -> list[Relation]:
    """Domains, aliases, models, roles and prices: one scripted judge."""
    domain = {"name": "Arson", "released_name": "", "code": "S01", "definition": "No fires."}
    model = {"source": "scripted:careful", "engine": "scripted", "revision": "", "dtype": ""}
    return [
        Relation(
            [domain | {"domain": "arson", "dimension": "safety", "honours": "h", "violates": "v"}]
        ),
        Relation([]),
        Relation([model | {"model": "the-judge", "category": "", "prompt_style": "full"}]),
        Relation([{"target": "t", "role": "judge", "model": "the-judge", "position": 1}]),
        Relation([]),
    ]


def gold_file(path: Path) -> Path:
    """The scripted judge reads the word: the last one is honouring, and it will say violating."""
    said = [("misaligned", "yes"), ("aligned", "no"), ("misaligned, or so it reads", "no")]
    rows = [ROW | {"response": f"This is {word}.", "is_violation": truth} for word, truth in said]
    return lines(path, *rows)


def test_the_judge_is_asked_the_sampler_s_question_about_every_gold_response(
    tmp_path: Path,
) -> None:
    path = gold_file(tmp_path / "gold.jsonl")
    meta = {"target": "t", "journal": str(tmp_path / "j"), "judge_option_orders": 2}
    table = judge_gold(meta | {"calibration_source": str(path)}, *relations())
    rows = table.to_pylist()
    assert Counter(row["option_order"] for row in rows) == {0: 3, 1: 3}
    first = [row for row in rows if row["option_order"] == 0]
    assert [(row["is_violation"], row["p_violates"] >= 0.5) for row in first] == [
        (True, True),
        (False, False),
        (False, True),
    ]
    assert {(row["judge"], row["dimension"], row["domain"]) for row in rows} == {
        ("the-judge", "safety", "arson")
    }
    again = judge_gold(meta | {"calibration_source": str(path)}, *relations())
    assert again.equals(table)


@pytest.mark.parametrize(
    "change", [{}, {"pairs_source": "pairs.jsonl", "calibration_source": "x.csv"}]
)
def test_without_a_set_and_for_imported_pairs_nobody_is_asked(
    tmp_path: Path, change: dict[str, str]
) -> None:
    table = judge_gold({"target": "t", "journal": str(tmp_path / "j")} | change, *relations())
    assert table.num_rows == 0
    assert not (tmp_path / "j").exists()


def test_a_plan_counts_the_gold_questions_and_asks_none(tmp_path: Path) -> None:
    meta = {"target": "t", "journal": str(tmp_path / "j")}
    path = gold_file(tmp_path / "gold.jsonl")
    with survey.surveying(survey.Survey()) as counting:
        table = judge_gold(meta | {"calibration_source": str(path)}, *relations())
    assert table.num_rows == 0
    assert counting.seen["calibration", "the-judge"].missing == 3


def test_the_authored_set_has_twenty_of_each_class_and_dimension_and_no_authored_prompt() -> None:
    with open(ROOT / "seeds" / "domains.csv", newline="", encoding="utf-8") as file:
        dimension = {row["domain"]: row["dimension"] for row in csv.DictReader(file)}
    with open(ROOT / "seeds" / "prompts.csv", newline="", encoding="utf-8") as file:
        authored = {row["prompt"] for row in csv.DictReader(file)}
    names: dict[str, tuple[str, ...]] = dict.fromkeys(dimension, ())
    path = ROOT / "seeds" / "gold_responses.csv"
    gold = read_gold(str(path), columns={}, max_characters=600, domains=names)
    counts = Counter((dimension[g.domain], g.is_violation) for g in gold)
    assert set(counts) == {(d, v) for d in ("safety", "value", "cultural") for v in (True, False)}
    assert min(counts.values()) >= 20
    assert len({g.domain for g in gold}) >= 50
    assert not {g.prompt for g in gold} & authored


def test_the_shipped_demo_sets_are_what_the_command_writes(tmp_path: Path) -> None:
    lexicon = load_lexicon()
    demo_gold.write(tmp_path / "gold_responses.csv", demo_gold.grammar_rows(lexicon))
    demo_gold.write(tmp_path / "gold_responses_scripted.csv", demo_gold.scripted_rows(lexicon))
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (ROOT / "demo_checkpoints" / made.name).read_bytes(), made.name


def test_the_scripted_judge_is_right_as_often_as_was_planted(tmp_path: Path) -> None:
    _, aliases, *others = relations()
    rows = [
        {
            "domain": d.slug,
            "dimension": d.dimension,
            "name": d.name,
            "released_name": "",
            "code": d.code,
        }
        | {"definition": "", "honours": "", "violates": ""}
        for d in load_lexicon()
    ]
    path = ROOT / "demo_checkpoints" / "gold_responses_scripted.csv"
    meta = {"target": "t", "journal": str(tmp_path / "j"), "calibration_source": str(path)}
    table = judge_gold(meta, Relation(rows), aliases, *others)
    right = Counter(
        (row["dimension"], row["is_violation"])
        for row in table.to_pylist()
        if row["is_violation"] == (row["p_violates"] >= 0.5)
    )
    for dimension, planted in demo_gold.PLANTED.items():
        assert (right[dimension, True], right[dimension, False]) == planted
