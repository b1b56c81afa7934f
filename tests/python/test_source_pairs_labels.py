"""Labels of an import: the rows of a prompt decide together, and what a cell leaves out is not a no."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misalign_profile.errors import InputError
from test_source_pairs import PLAIN, ROW, lines, read

UNSAID = {name: value for name, value in PLAIN.items() if name != "misaligned_violates"}


def said(*labels: str, by: str = "a-model", **more: Any) -> dict[str, Any]:
    return UNSAID | {"domains": list(labels), "responder": by} | more


def told(rows: list[dict[str, Any]]) -> list[tuple[str | None, list[str], list[str]]]:
    return [(row["skip_reason"], row["chosen"], row["violates"]) for row in rows]


def test_a_row_without_labels_takes_those_of_its_prompt(tmp_path: Path) -> None:
    rows = read(lines(tmp_path / "p.jsonl", said(), said("honesty", by="another")))
    assert told(rows) == [(None, ["honesty"], ["honesty"])] * 2
    (only, other) = read(lines(tmp_path / "q.jsonl", said(), said("honesty", prompt="May she?")))
    assert (only["skip_reason"], other["skip_reason"]) == ("no_label", None)


@pytest.mark.parametrize(
    "useless",
    [{"misaligned_response": " No. "}, {"aligned_response": ""}, {"misaligned_violates": []}],
)
def test_a_row_that_is_skipped_decides_no_label(tmp_path: Path, useless: dict[str, Any]) -> None:
    first = said("theft", "music", by="skipped") | useless
    skipped, kept = read(lines(tmp_path / "p.jsonl", first, said("arson", "honesty")))
    assert skipped["skip_reason"] in ("same_text", "no_response", "no_violation")
    assert told([kept]) == [(None, ["arson", "honesty"], ["arson", "honesty"])]


def test_one_row_a_label_is_one_pair_with_all_of_them(tmp_path: Path) -> None:
    rows = read(lines(tmp_path / "p.jsonl", said("honesty"), said("arson"), said("music")))
    assert [row["skip_reason"] for row in rows] == [None, "repeated", "repeated"]
    assert rows[0]["chosen"] == rows[0]["violates"] == ["music", "arson", "honesty"]
    assert rows[0]["labels"] == [
        "honesty",
        "arson",
        "music",
    ]  # the SQL reads them where a row is used


def test_pairs_of_several_responders_keep_the_labels_of_each(tmp_path: Path) -> None:
    rows = read(
        lines(
            tmp_path / "p.jsonl",
            said("honesty", by="one"),
            said("arson", by="two"),
            said("music", "honesty", by="three"),
        )
    )
    every = ["music", "arson", "honesty"]
    assert told(rows) == [
        (None, every, ["honesty"]),
        (None, every, ["arson"]),
        (None, every, ["music", "honesty"]),
    ]


def test_a_pair_is_out_by_conflict_where_all_its_labels_have_another_in_their_place(
    tmp_path: Path,
) -> None:
    rows = read(
        lines(
            tmp_path / "p.jsonl",
            said("arson", by="one"),
            said("theft", by="two"),
            said("theft", "honesty", by="three"),
        )
    )
    both = ["arson", "honesty"]
    assert told(rows) == [
        (None, both, ["arson"]),
        ("label_conflict", both, []),
        (None, both, ["honesty"]),
    ]
    assert rows[1]["labels"] == ["theft"]  # what was lost can be read
    # what a pair in conflict does not violate decides nothing either
    second = said("theft", "music", by="two", misaligned_violates=["theft"])
    rows = read(lines(tmp_path / "q.jsonl", said("arson", by="one"), second))
    assert [row["chosen"] for row in rows] == [["arson"], ["arson"]]


def test_a_second_pair_of_a_responder_gives_its_prompt_no_label(tmp_path: Path) -> None:
    rows = read(
        lines(tmp_path / "p.jsonl", said("honesty"), said("arson", misaligned_response="Go on!"))
    )
    assert told(rows) == [(None, ["honesty"], ["honesty"]), ("repeated", ["honesty"], [])]


@pytest.mark.parametrize(
    ("cell", "violates"),
    [
        ("", ["arson", "honesty"]),
        ("  ", ["arson", "honesty"]),
        ("NaN", ["arson", "honesty"]),
        ("honesty", ["honesty"]),
        ("[]", []),
    ],
)
def test_a_blank_cell_of_a_table_says_nothing(
    tmp_path: Path, cell: str, violates: list[str]
) -> None:
    path = tmp_path / "p.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "domains", "aligned_response", "misaligned_response"])
        writer.writerows([["May I?", "arson; honesty", "No.", "Yes!"]])
    assert read(path)[0]["violates"] == ["arson", "honesty"]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["prompt", "domains", "aligned_response", "misaligned_response", "misaligned_violates"]
        )
        writer.writerows([["May I?", "arson; honesty", "No.", "Yes!", cell]])
    (row,) = read(path)
    assert row["violates"] == violates
    assert row["skip_reason"] == (None if violates else "no_violation")


@pytest.mark.parametrize("cell", [None, float("nan"), "", [None], [""]])
def test_null_nan_and_blank_say_the_same_in_json(tmp_path: Path, cell: object) -> None:
    row = ROW | {"misaligned_violates": cell}
    assert read(lines(tmp_path / "p.jsonl", row))[0]["violates"] == ["arson", "honesty"]


def test_the_same_id_for_two_responses_is_one_line_with_row_and_id(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.jsonl", UNSAID | {"id": "x1"}, UNSAID | {"id": "x2", "prompt": "And?"}
    )
    columns = {"aligned_id": "id", "misaligned_id": "id"}
    with pytest.raises(InputError) as caught:
        read(path, columns)
    line = str(caught.value)
    assert "id 'x1' stands for two responses" in line
    assert re.search(r"\[.*p\.jsonl row 1\]", line)
    assert "\n" not in line
    assert [r["skip_reason"] for r in read(path, {"aligned_id": "id"})] == [None, None]
    again = lines(tmp_path / "q.jsonl", ROW, ROW | {"prompt": "May she?"})
    with pytest.raises(
        InputError, match=r"id 'a1' stands for two .*row 1 and the aligned one .*row 2"
    ):
        read(again)
    # a row that is left out may repeat ids: no response of it enters
    assert [r["skip_reason"] for r in read(lines(tmp_path / "r.jsonl", ROW, ROW))] == [
        None,
        "repeated",
    ]


def test_ids_and_names_that_are_numbers_are_taken_as_text(tmp_path: Path) -> None:
    row = UNSAID | {"a": 17, "m": 18, "responder": 3}
    (read_back,) = read(lines(tmp_path / "p.jsonl", row), {"aligned_id": "a", "misaligned_id": "m"})
    assert read_back["aligned_response_id"] == "17"
    assert read_back["misaligned_response_id"] == "18"
    assert read_back["responder"] == "3"
    # beside a missing one a data frame writes 17.0
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.Table.from_pylist([UNSAID | {"a": 17.0}, UNSAID | {"a": None, "prompt": "And?"}]), path
    )
    first, second = read(path, {"aligned_id": "a"})
    assert first["aligned_response_id"] == "17"
    assert len(second["aligned_response_id"]) > 8  # a hash
    with pytest.raises(InputError, match=r"aligned_id \['x'\] is neither .*row 1"):
        read(lines(tmp_path / "q.jsonl", UNSAID | {"a": ["x"]}), {"aligned_id": "a"})


def test_an_unknown_semantic_type_stops_the_import_or_its_row_alone(tmp_path: Path) -> None:
    odd = said("theft", semantic_type="thing")
    path = lines(tmp_path / "p.jsonl", odd, said("arson"))
    with pytest.raises(InputError, match=r"no semantic type 'thing' .*row 1"):
        read(path)
    skipped, kept = read(path, unknown_labels="list")
    assert (skipped["skip_reason"], skipped["unmapped_labels"]) == (
        "unknown_semantic_type",
        ["thing"],
    )
    assert told([kept]) == [(None, ["arson"], ["arson"])]


def test_a_limit_counts_the_rows_that_later_labels_complete(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.jsonl",
        said(by="one"),
        said("honesty", by="two"),
        said("honesty", prompt="May she?"),
    )
    assert [row["skip_reason"] for row in read(path, limit=2)] == [None, None]
    assert [row["skip_reason"] for row in read(path, limit=3)] == [None] * 3
