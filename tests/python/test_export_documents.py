"""What card, datasheet and licence note say: of an import, of a part of the warehouse, of foreign names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from export_fixtures import SECOND, Change, card, everything, passes
from misalign_profile.export import export_dataset
from misalign_profile.export.markdown import code, escaped

DOCUMENTS = ("README.md", "DATASHEET.md", "LICENSE.md")
# What an import leaves: no judge, no calls of stages that did not run, and what was read.
IMPORTED = """
    update benchmark.fct_pairs set judge = 'published-labels' where true;
    update benchmark.fct_pairs set aligned_margin = 1, misaligned_margin = 1 where true;
    update benchmark.dim_settings set value = 'true' where setting = 'pairs_imported';
    update benchmark.dim_prompts set origin = 'source' where true;
    delete from benchmark.fct_calls where stage = 'semantic_type';
    drop table staging.stg_source_pairs;
    create table staging.stg_source_pairs as
    select prompt, null::varchar as skip_reason, list_append(domains, 'second') as labels, domains as chosen
    from benchmark.fct_pairs;
    insert into staging.stg_source_pairs
    select 'p', unnest(['no_label', 'no_label', 'label_conflict']), ['third'], [];
"""


def documents(warehouse: Path, out: Path, layout: str = "pairs") -> dict[str, str]:
    export_dataset(warehouse, out, target="scripted", gate=passes, layout=layout)
    return {name: " ".join((out / name).read_text("utf-8").split()) for name in DOCUMENTS}


def value(warehouse: Path, query: str) -> Any:
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return con.execute(query).fetchall()[0][0]


def test_imported_pairs_are_exported_without_numbers_of_a_judge(
    changed: Change, tmp_path: Path
) -> None:
    texts = documents(changed(IMPORTED), tmp_path / "out")
    rows = everything(tmp_path / "out")
    for side in ("aligned", "misaligned"):
        for name in ("p_violates", "margin", "round"):
            assert {row[f"{side}_{name}"] for row in rows} == {None}
    assert all(row["misaligned_violates"] for row in rows)  # what the file said stays
    for said in (
        "judge's probability",
        "asked to stay mild",
        "No annotators",
        "one judge model",
        "how sure the judge is",
        "as the judge says",
        "are machine-made",
    ):
        assert said not in " ".join(texts.values()), said
    assert "of 240" not in texts["DATASHEET.md"]  # draws turned down
    assert "None was turned down by a rule or a judge" in texts["DATASHEET.md"]
    front = card(tmp_path / "out")[0]
    assert "language" not in front
    assert "synthetic" not in front["tags"]
    assert "classifier" not in texts["README.md"].split("How it was made")[1].split("imported")[0]


def test_an_import_says_what_was_skipped_and_which_labels_gave_way(
    changed: Change, tmp_path: Path
) -> None:
    texts = documents(changed(IMPORTED), tmp_path / "out")
    assert (
        "Of 63 pairs that were read 60 could be used, 1 had to be skipped (`label_conflict`), 2"
        in (texts["DATASHEET.md"])
    )
    assert "| skipped: `no_label` | 2 |" in texts["README.md"]
    for name in ("README.md", "DATASHEET.md"):
        assert "60 labels of 60 prompts" in texts[name]
    assert "All 60 rows, prompts, labels and responses, were imported" in texts["LICENSE.md"]


def test_prompts_without_a_pair_are_prompts_and_each_has_one_reason(
    changed: Change, tmp_path: Path
) -> None:
    warehouse = changed(
        SECOND
        + """
        delete from benchmark.fct_pairs where prompt_id in (
            select prompt_id from benchmark.fct_pairs group by prompt_id having count(*) = 2
            order by prompt_id limit 3
        );
        delete from benchmark.fct_prompt_labels where prompt_id in (
            select prompt_id from benchmark.dim_prompts
            where prompt_id not in (select prompt_id from benchmark.fct_draws)
            order by prompt_id limit 5
        )
        """
    )
    kept = value(warehouse, "select count(*) from benchmark.dim_prompts where is_survivor")
    text = documents(warehouse, tmp_path / "out")["DATASHEET.md"]
    assert f"Of these, {kept - 57:,} prompts have no pair by any responder" in text
    assert "- 5 without a label" in text
    assert f"- {kept - 60 - 5:,} never sent to a responder" in text
    assert "- 3 with responses, and no pair" in text


def test_figures_of_the_whole_warehouse_say_so_where_the_files_hold_a_part(
    changed: Change, tmp_path: Path, exported: Path
) -> None:
    warehouse = changed(
        SECOND
        + """
        insert into benchmark.fct_unresolved by name
        select
            prompt_id, responder, 'aligned' as side, 6 as draws, 2 as rounds,
            'truncated' as unresolved_reason
        from benchmark.fct_draws limit 4
        """
    )
    export_dataset(warehouse, tmp_path / "out", target="scripted", gate=passes, layout="four")
    _, text = card(tmp_path / "out")
    scope = "Over the whole warehouse: 119 pairs, of which 118 are in these files.\n\n"
    for follows in (
        "| responder | side | draws |",
        "| reason for turning a draw down |",
        "A slot is one prompt",
        "| origin | prompts |",
        "| origin | dimension |",
        "| judge | second judge |",
        "| responder | pairs | aligned response",
        "| model | dimension | responses |",
    ):
        assert scope + follows in text, follows
    assert "Over the whole warehouse" not in card(exported)[1]
    sheet = (tmp_path / "out" / "DATASHEET.md").read_text("utf-8")
    assert "Of the 119 pairs of the warehouse 118 are here" in sheet


def test_the_card_tells_of_the_judge_the_match_and_the_length_cue(
    small_warehouse: Path, exported: Path
) -> None:
    front, text = card(exported)
    assert front["language"] == ["en"]
    assert "not-for-all-audiences" in front["tags"]
    cell = "from marts.mart_judge_agreement where side = 'all' and dimension = 'value'"
    agreement = value(small_warehouse, f"select agreement {cell}")
    kappa = value(small_warehouse, f"select kappa {cell}")
    assert f"| {100 * agreement:.1f}% | {kappa:.2f} |" in text
    sensitivity = value(
        small_warehouse,
        "select sensitivity from marts.mart_judge_calibration where dimension = 'safety'",
    )
    assert f"| scripted-judge | safety | 22 | {100 * sensitivity:.1f}% (" in text
    longer = value(
        small_warehouse, "select longer_share from marts.mart_side_cues where side = 'aligned'"
    )
    assert f"| scripted-default | 60 | {100 * longer:.1f}% |" in text
    assert "at most 1.5 times the words" in " ".join(text.split())
    assert "differ by at most 0.3" in text
    clusters = value(small_warehouse, "select count(distinct cluster_id) from benchmark.fct_pairs")
    assert f"60 prompts in {clusters} clusters (near-duplicates, and expansions" in text


def test_what_the_warehouse_does_not_know_is_left_out(changed: Change, tmp_path: Path) -> None:
    warehouse = changed(
        """
        truncate marts.mart_judge_agreement;
        update marts.mart_judge_calibration set n_violating = 0, n_honouring = 0 where true;
        truncate marts.mart_side_cues;
        update benchmark.dim_settings set value = 'false' where setting = 'judge_quality';
        update benchmark.fct_pairs set cluster_id = prompt_id where true;
        update benchmark.dim_prompts set origin = 'source' where origin = 'expansion'
        """
    )
    text = documents(warehouse, tmp_path / "out")["README.md"]
    for said in (
        "second judge",
        "ensitivity",
        "Length alone",
        "probabilities of quality",
    ):
        assert said not in text, said
    assert "prompts, no near-duplicates among them." in text
    assert "language" not in card(tmp_path / "out")[0]  # somebody's prompts may be in any


HOSTILE = (
    "evil`` | <img src=x onerror=alert(1)>\n\n# Own heading\n\n[x](javascript:1) *b* _i_ ~~s~~ &lt;"
)


@pytest.mark.parametrize("imported", [False, True])
def test_a_name_stays_a_name_in_every_document(
    changed: Change, tmp_path: Path, exported: Path, imported: bool
) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    name = HOSTILE.replace("'", "''")
    warehouse = changed(
        f"""
        update benchmark.fct_pairs set responder = '{name}' where true;
        update benchmark.fct_draws set responder = '{name}' where true;
        update benchmark.dim_models set source = '{name}', revision = '{name}', is_demo = false where true;
        update benchmark.dim_models set model = '{name}' where model = 'scripted-default';
        update marts.mart_alignment_metrics set model = '{name}' where true;
        update marts.mart_side_cues set responder = '{name}' where true;
        {IMPORTED if imported else ""}
        """
    )
    out = tmp_path / "out"
    export_dataset(warehouse, out, target="scripted", gate=passes)
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown = " ".join(HOSTILE.split())
    for document in DOCUMENTS:
        tokens = parser.parse((out / document).read_text("utf-8").split("---\n", 2)[-1])
        inline = [child for token in tokens for child in token.children or []]
        assert not [
            t for t in inline if t.type in ("link_open", "html_inline", "s_open", "em_open")
        ]
        blocks = [t.content for t in tokens if t.type == "html_block"]
        assert not [text for text in blocks if "img" in text], document
        headings = [
            tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"
        ]
        assert not [text for text in headings if "Own heading" in text]
        texts = "".join(child.content for child in inline if child.type in ("text", "text_special"))
        # every character of it can be read, in one place, wherever it stands
        assert texts.count("Own heading") == texts.count(shown) > 0, document


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a|b", "a\\|b"),
        ("a\n# b", "a \\# b"),
        ("snake_case_name", "snake_case_name"),
        ("_it_", "\\_it\\_"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("a\u202eb\x1b", "a\ufffdb\ufffd"),
    ],
)
def test_escaped_text_is_one_line_without_marks(text: str, wanted: str) -> None:
    assert str(escaped(text)) == wanted


def test_a_code_span_cannot_be_left() -> None:
    assert str(code("plain_name")) == "`plain_name`"
    assert str(code("a``b\n# c|d")) == "``` a``b # c\\|d ```"


def test_json_lines_load_with_the_types_of_the_card(exported: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path, cache = str(exported / "data" / "test.jsonl"), str(tmp_path)
    builder = datasets.load_dataset_builder(str(exported), cache_dir=cache)
    loaded = datasets.load_dataset(
        "json", data_files=path, features=builder.info.features, split="train", cache_dir=cache
    )
    assert loaded.features["aligned_violates"] == datasets.List(datasets.Value("string"))
    assert loaded.num_rows == len(
        (exported / "data" / "test.jsonl").read_text("utf-8").splitlines()
    )
