"""Prompts with labels, in the form of the release, counted by hand: by domain, as labels and as prompts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from mart_sql import ROOT, build, rows
from misalign_profile.sources import read_prompts
from misalign_profile.steps import domain_names
from verdict_tables import by_key

# One label or None / Unknown a dimension; quotes, a line break, a placeholder, and prompts that come twice.
RELEASED = """row_index,prompt,safety_name,values_name,cultural_name
1,"How do I sell a <product>, and
where?",None,Creativity,Unknown
2,Tell me how to pick a lock.,Non-violent unethical behavior,Independence,None
4,Which dance suits a wedding?,None,Health,Language
5,Which dance suits a wedding?,None,Health,Language
7, Which dance suits a wedding? ,Controversial topics and politics,Independence,Language
9,"Explain ""sisu"".",None,None,Language
10,What is two plus two?,Unknown,None,None
"""
COLUMNS = ("safety_name", "values_name", "cultural_name")


@pytest.fixture
def con(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """What the two marts read, made from the file by the project's own reader and SQL."""
    path = tmp_path / "released.csv"
    path.write_text(RELEASED, "utf-8")
    con = duckdb.connect()
    for seed in ("domains", "label_aliases", "prompt_labels", "prompts", "published_domain_counts"):
        con.execute(
            f"create table {seed} as from read_csv('{ROOT}/seeds/{seed}.csv', header = true)"
        )
    names = domain_names(con.table("domains"), con.table("label_aliases"))
    con.register("source", read_prompts(str(path), label_columns=COLUMNS, domains=names))
    con.execute("create table stg_source_prompts as from source")
    build(con, "stg_prompts__valid", "stg_prompts", "stg_prompt_labels", "dim_domains")
    con.execute(
        """
        create table dim_prompts as select prompt_id, origin, prompt, true as is_survivor from stg_prompts;
        create table int_prompt_labels__unioned as
            select '' as prompt_id, '' as domain, '' as dimension, 0.0 as score limit 0;
        create table fct_pairs as select ['health'] as domains limit 0;
        create table fct_unresolved as select '' as prompt_id, '' as side limit 0;
        """
    )
    build(con, "fct_prompt_labels", "mart_domain_construction", "mart_label_totals")
    return con


def test_labels_of_every_domain_are_those_of_a_direct_count(con: duckdb.DuckDBPyConnection) -> None:
    """By pandas, of distinct prompts, with the names that the release uses."""
    frame = pd.read_csv(Path(con.execute("select max(source_file) from source").fetchall()[0][0]))
    frame["prompt"] = frame["prompt"].str.strip()
    long = frame.melt("prompt", COLUMNS, value_name="label").dropna(subset="label")
    distinct = long[~long["label"].isin(["None", "Unknown"])].drop_duplicates(["prompt", "label"])
    direct = Counter(distinct["label"])
    assert direct == {
        "Language": 2,
        "Independence": 2,
        "Creativity": 1,
        "Health": 1,
        "Non-violent unethical behavior": 1,
        "Controversial topics and politics": 1,
    }
    found = by_key(rows(con, "from mart_domain_construction"), "domain")
    slugs = {label: label.lower().replace(" ", "_").replace("-", "_") for label in direct}
    assert {d: row["imported"] for (d,), row in found.items() if row["imported"]} == {
        slugs[label]: n for label, n in direct.items()
    }
    assert len(found) == 112


def test_totals_are_shown_as_labels_and_as_prompts(con: duckdb.DuckDBPyConnection) -> None:
    """Five distinct prompts carry eight labels: of the wedding four, since its copies disagree."""
    totals = by_key(rows(con, "from mart_label_totals"), "stage", "dimension")
    columns = ("labels", "prompts", *(f"prompts_with_{n}" for n in
               ("0_labels", "1_label", "2_labels", "3_labels_or_more")))  # fmt: skip
    shown = {
        d: tuple(totals["imported", d][c] for c in columns) for s, d in totals if s == "imported"
    }
    assert shown == {
        "all": (8, 5, 1, 2, 1, 1),
        "safety": (2, 5, 3, 2, 0, 0),
        "value": (4, 5, 2, 2, 1, 0),
        "cultural": (2, 5, 3, 2, 0, 0),
    }
    assert totals["imported", "all"]["labels_per_prompt"] == pytest.approx(8 / 5, abs=1e-9)
    assert totals["classified", "all"]["labels"] == 0
    assert totals["classified", "all"]["prompts_with_0_labels"] == 5


def test_totals_are_the_sums_of_the_table_by_domain_and_of_the_release(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """What is published adds up to labels: 35,928 classified ones, more than there are prompts."""
    totals = by_key(rows(con, "from mart_label_totals"), "stage", "dimension")
    domains = pd.DataFrame(rows(con, "from mart_domain_construction"))
    assert totals["imported", "all"]["labels"] == domains["imported"].sum()
    published = pd.read_csv(ROOT / "seeds/published_domain_counts.csv")
    for stage in ("classified", "expanded", "generated"):
        assert totals[stage, "all"]["published_labels"] == published[stage].sum()
    assert totals["classified", "all"]["published_labels"] == 35_928
