"""Reading a user's prompts: every form of file gives the same rows, and every fault has a name."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misalign_profile import sources
from misalign_profile.errors import ConfigError, InputError
from misalign_profile.sources import SCHEMA, read_prompts

DOMAINS = {
    "health": ("Health", "Health"),
    "self_harm": ("Self-Harm", "Self-Harm"),
    "drug_and_weapon_abuse": ("Drug & Weapon Abuse", "", "Drug abuse/weapons/banned substances"),
    "accepting_ones_lot": ("Accepting One's Lot", None),
}
TEXTS = ['He said "go",\nthen left.', "Où est la gare ?", "健康とは何ですか"]


def read(path: object, **options: object) -> list[dict[str, object]]:
    return read_prompts(str(path), domains=DOMAINS, **options).to_pylist()


def refusal(path: object, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.where
    assert caught.value.hint
    return caught.value


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_csv(delimiter: str = ",", end: str = "\n") -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    rows = [["prompt", "topic"], *([quoted(text), "Health"] for text in TEXTS)]
    return "".join(delimiter.join(row) + end for row in rows)


ROWS = [{"prompt": text, "topic": "Health"} for text in TEXTS]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FORMS = {
    "p.csv": as_csv().encode(),
    "bom.csv": b"\xef\xbb\xbf" + as_csv().encode(),
    "crlf.CSV": as_csv(end="\r\n").encode(),
    "no_last_newline.csv": as_csv().rstrip("\n").encode(),
    "p.tsv": as_csv("\t").encode(),
    "p.csv.gz": gzip.compress(as_csv().encode()),
    "p.jsonl": LINES.encode(),
    "p.ndjson": LINES.replace("\n", "\r\n").encode(),
    "p.jsonl.gz": gzip.compress(LINES.encode()),
    "p.json": json.dumps(ROWS, indent=1).encode(),
    "lines.json": LINES.encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    path = put(tmp_path / name, FORMS[name])
    rows = read(path, label_columns=["topic"])
    assert [row["prompt"] for row in rows] == TEXTS
    assert [row["row_number"] for row in rows] == [1, 2, 3]
    assert {row["source_file"] for row in rows} == {str(path)}
    assert [row["labels"] for row in rows] == [["health"]] * 3


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_parquet_gives_the_same_rows(kind: pa.DataType, tmp_path: Path) -> None:
    lists = [["Health", "self harm"], [], None]
    table = pa.table({"prompt": pa.array(TEXTS, kind), "tags": lists, "other": [1, 2, 3]})
    pq.write_table(table, tmp_path / "p.parquet")
    rows = read(tmp_path / "p.parquet", label_columns=["tags"])
    assert [row["prompt"] for row in rows] == TEXTS
    assert [row["labels"] for row in rows] == [["health", "self_harm"], [], []]


def test_no_path_gives_the_empty_table() -> None:
    table = read_prompts("", domains=DOMAINS, label_columns=["any"])
    assert table.num_rows == 0
    assert table.schema == SCHEMA


def test_schema_holds_when_nothing_is_usable(tmp_path: Path) -> None:
    table = read_prompts(str(put(tmp_path / "p.txt", "...\n")), domains=DOMAINS)
    assert table.schema == SCHEMA
    assert table["skip_reason"].to_pylist() == ["no_text"]


def test_text_file_holds_a_prompt_a_line(tmp_path: Path) -> None:
    rows = read(put(tmp_path / "p.txt", 'one, "two"\r\n\r\nthree\u2028four\n'))
    assert [row["prompt"] for row in rows] == ['one, "two"', None, "three\u2028four"]
    assert [row["skip_reason"] for row in rows] == [None, "no_text", None]


def test_folder_is_read_in_name_order(tmp_path: Path) -> None:
    put(tmp_path / "b.txt", "from b\n")
    put(tmp_path / "a.csv", "prompt\nfrom a\n")
    put(tmp_path / "c.jsonl", '{"prompt": "from c"}\n')
    put(tmp_path / "notes.md", "not a prompt")
    put(tmp_path / "._a.csv", b"\x00\x05\x16\x07")
    rows = read(tmp_path)
    assert [(row["source_file"], row["row_number"], row["prompt"]) for row in rows] == [
        ("a.csv", 1, "from a"),
        ("b.txt", 1, "from b"),
        ("c.jsonl", 1, "from c"),
    ]
    assert [row["prompt"] for row in read(tmp_path, limit=2)] == ["from a", "from b"]


def test_urls_go_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    path = put(tmp_path / "p.csv", as_csv())
    assert [row["prompt"] for row in read(path.as_uri())] == TEXTS
    memory = fsspec.filesystem("memory")
    memory.pipe("/sources-test/b.csv.gz", gzip.compress(b"prompt\nfrom b\n"))
    memory.pipe("/sources-test/a.jsonl", b'{"prompt": "from a"}')
    try:
        rows = read("memory://sources-test")
    finally:
        memory.rm("/sources-test", recursive=True)
    assert [(row["source_file"], row["prompt"]) for row in rows] == [
        ("a.jsonl", "from a"),
        ("b.csv.gz", "from b"),
    ]


def test_url_of_no_known_package_or_place_is_refused() -> None:
    pytest.importorskip("fsspec")
    assert "fsspec package" in refusal("nosuch://bucket/p.csv").hint
    assert refusal("memory://nowhere/p.csv").what == "no such file or folder"


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/p.csv", "s3fs"), ("hf://datasets/a/b/p.csv", "huggingface_hub")],
)
def test_missing_package_is_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("fsspec.core")

    def absent(_: str) -> None:
        raise ImportError("not here")

    monkeypatch.setattr(core, "url_to_fs", absent)
    assert refusal(url).hint == f"pip install {package}"


def test_secrets_of_a_url_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("fsspec.core")
    url = "https://me:pass@example.org/p.csv?token=abc"

    class Web:
        def cat_file(self, inner: str) -> bytes:
            assert inner == url
            return b"prompt\nhello\n"

    monkeypatch.setattr(core, "url_to_fs", lambda path: (Web(), path))
    assert read(url)[0]["source_file"] == "https://example.org/p.csv"

    def refused(path: str) -> None:
        raise OSError(f"403 for {path}")

    monkeypatch.setattr(core, "url_to_fs", refused)
    assert "abc" not in str(refusal(url))
    assert "pass" not in str(refusal(url))


# Columns


def test_exact_column_wins_over_other_case(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", "Prompt,prompt\nA,b\n")
    assert read(path)[0]["prompt"] == "b"
    assert read(path, text_column="Prompt")[0]["prompt"] == "A"
    assert "more than one" in refusal(path, text_column="PROMPT").what
    other = put(tmp_path / "q.csv", "id, TEXT \n1,c\n")
    assert read(other, text_column="text")[0]["prompt"] == "c"


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.parquet"])
def test_unknown_column_lists_those_that_exist(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "p.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        put(path, FORMS[name])
    for options in ({"text_column": "question"}, {"label_columns": ["question"]}):
        error = refusal(path, **options)
        assert "'question'" in error.what
        assert error.hint == "the columns are: 'prompt', 'topic'"


def test_text_file_has_no_label_column(tmp_path: Path) -> None:
    assert "'topic'" in refusal(put(tmp_path / "p.txt", "a\n"), label_columns=["topic"]).what


# Rows


def test_row_trouble_is_a_row_with_its_reason(tmp_path: Path) -> None:
    values = [None, "  ", " ?!_… ", "x" * 51, 7, True, ["a"], {"a": 1}, float("nan"), "\ud800 half"]
    lines = "".join(json.dumps({"prompt": value}) + "\n" for value in [*values, "  fine\0 one "])
    rows = read(put(tmp_path / "p.jsonl", lines + "{}\n"), max_characters=50)
    assert [row["skip_reason"] for row in rows] == [
        *["no_text"] * 3,
        "too_long",
        *["not_text"] * 4,
        "no_text",
        "not_text",
        None,
        "no_text",
    ]
    assert [row["prompt"] for row in rows if row["prompt"]] == ["fine one"]


def test_json_array_may_hold_bare_strings(tmp_path: Path) -> None:
    rows = read(put(tmp_path / "p.json", '["one", 2, null, "two"]'))
    assert [row["prompt"] for row in rows] == ["one", None, None, "two"]
    assert [row["skip_reason"] for row in rows] == [None, "not_text", "no_text", None]


def test_two_megabyte_cell_is_read_and_the_csv_limit_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = put(tmp_path / "p.csv", "prompt\n" + "a " * 1_000_000 + "\nshort\n")
    assert [row["skip_reason"] for row in read(path)] == ["too_long", None]
    assert len(str(read(path, max_characters=3_000_000)[0]["prompt"])) == 1_999_999
    assert csv.field_size_limit() == before


def test_limit_counts_usable_prompts_and_reads_no_further(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", 'prompt\none\n...\ntwo\n...\n"never closed')
    assert [row["prompt"] for row in read(path, limit=2)] == ["one", None, "two"]


def test_short_csv_row_lacks_its_last_cells(tmp_path: Path) -> None:
    rows = read(put(tmp_path / "p.csv", "prompt,topic\none\n\ntwo,Health\n"), label_columns="topic")
    assert [(row["row_number"], row["labels"]) for row in rows] == [(1, []), (2, ["health"])]


# Files that cannot be used


@pytest.mark.parametrize(
    ("name", "content", "what", "row"),
    [
        ("p.csv", b"", "0 bytes", ""),
        ("p.csv", b"prompt,topic\r\n", "no data rows", ""),
        ("p.jsonl", b"\n \n", "no data rows", ""),
        ("p.json", b"[]", "no data rows", ""),
        ("p.parquet", b"", "0 bytes", ""),
        ("p.parquet", b"PAR1 and no more", "ArrowInvalid", ""),
        ("p.csv.gz", b"prompt\nhello", "BadGzipFile", ""),
        ("p.csv", gzip.compress(b"prompt\nhello"), "gzip file", ""),
        ("p.csv", b"prompt\nok\ncaf\xe9 au lait\n", "byte offset 13, line 3", ""),
        ("p.txt", "\ufeffhello".encode("utf-16-le"), "byte offset 0, line 1", ""),
        ("p.txt", "hello there".encode("utf-16-le"), "byte offset 1, line 1", ""),
        ("p.csv", b'prompt\nok\n"never closed\nfoo\n', "broken CSV", "row 2"),
        ("p.csv", b'prompt\n"a"b\n', "broken CSV", "row 1"),
        ("p.csv", b"prompt,topic\nok,Health\nHello, how, are you\n", "3 cells", "row 2"),
        ("p.jsonl", b'{"prompt": "a"}\n\n{"prompt": \n', "broken JSON at line 3", "row 2"),
        ("p.jsonl", b'{"prompt": "a"} {"prompt": "b"}\n', "Extra data", "row 1"),
        ("p.json", b'[{"prompt": "a"},\n{"prompt" "b"}]', "broken JSON at line 2", ""),
        ("p.jsonl", b"[" * 100_000, "broken JSON", ""),
        ("p.xlsx", b"PK\x03\x04", "known kind", ""),
        ("p.parquet.gz", b"", "known kind", ""),
    ],
)
def test_broken_file_is_refused(
    name: str, content: bytes, what: str, row: str, tmp_path: Path
) -> None:
    path = put(tmp_path / name, content)
    error = refusal(path)
    assert what in error.what
    assert error.where == (f"{path}, {row}" if row else str(path))


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    text = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": text}), tmp_path / "p.parquet")
    assert "UnicodeDecodeError" in refusal(tmp_path / "p.parquet").what


def test_missing_or_useless_place_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").what == "no such file or folder"
    assert "no file of a known kind" in refusal(tmp_path).what


def test_folder_fault_names_the_member(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", "prompt\nfine\n")
    put(tmp_path / "b.csv", "")
    assert refusal(tmp_path).where == f"{tmp_path}/b.csv"


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = put(tmp_path / "p.csv", "prompt\nhello\n")
    monkeypatch.setattr(sources.Path, "read_bytes", denied)  # root may read whatever the mode
    assert refusal(path).what == "no permission to read it"


# Labels


@pytest.mark.parametrize(
    ("cell", "slugs"),
    [
        ("self_harm", ["self_harm"]),
        (" SELF harm ", ["self_harm"]),
        ("drug and weapon abuse", ["drug_and_weapon_abuse"]),
        ("Drug & Weapon Abuse", ["drug_and_weapon_abuse"]),
        ("drug abuse / weapons / banned substances", ["drug_and_weapon_abuse"]),
        ("Accepting One\u2019s Lot", ["accepting_ones_lot"]),
        ("Health; Self-Harm|health;", ["health", "self_harm"]),
        (["Health", ["none", None], "self-harm"], ["health", "self_harm"]),
        *((nothing, []) for nothing in (None, "", " ", "None", "UNKNOWN", "nan", float("nan"), [])),
    ],
)
def test_label_maps_by_letters_and_digits(cell: object, slugs: list[str], tmp_path: Path) -> None:
    path = put(tmp_path / "p.jsonl", json.dumps({"prompt": "hello", "topic": cell}))
    row = read(path, label_columns=["topic"])[0]
    assert (row["labels"], row["unmapped_labels"]) == (slugs, [])


def test_labels_of_several_columns_are_joined_once(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", "prompt,a,b\nhello,Health;Foo,Self-Harm;health;Foo\n")
    row = read(path, label_columns=["a", "b"], unknown_labels="list")[0]
    assert row["labels"] == ["health", "self_harm"]
    assert row["unmapped_labels"] == ["Foo"]


def test_unknown_labels_fail_with_counts_and_first_row(tmp_path: Path) -> None:
    cells = ["Health", "Foo", "Bar", "Foo", *(f"Rare {n}" for n in range(9))]
    path = put(tmp_path / "p.csv", "prompt,topic\n" + "".join(f"hello,{c}\n" for c in cells))
    error = refusal(path, label_columns=["topic"])
    assert error.what.startswith(
        "11 labels name no domain: 'Foo' x2, first in row 2; 'Bar' x1, first in row 3;"
    )
    assert error.what.endswith("'Rare 5' x1, first in row 10; and 3 more")
    assert "`unknown_labels: list`" in error.hint
    assert len(read(path, label_columns=["topic"], unknown_labels="list")) == len(cells)


def test_spelling_of_two_domains_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stands for both film and cinema"):
        read_prompts("", domains={"film": ("Film",), "cinema": ("Cinema", "FILM")})


@pytest.mark.parametrize(
    "options", [{"limit": -1}, {"max_characters": 0}, {"unknown_labels": "drop"}]
)
def test_argument_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        read("", **options)


def test_seeded_aliases_add_spellings_and_contradict_none() -> None:
    seeds = Path(__file__).parents[2] / "seeds"

    def rows(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((seeds / name).read_text("utf-8").splitlines()))

    domains = {row["domain"]: (row["name"], row["released_name"]) for row in rows("domains.csv")}
    plain = sources.LabelMap()
    plain.learn(domains)
    for row in rows("label_aliases.csv"):
        assert sources._key(row["alias"]) not in plain.slugs, "no alias needed"
        domains[row["domain"]] += (row["alias"],)
    read_prompts("", domains=domains)
