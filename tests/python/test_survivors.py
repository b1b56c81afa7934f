"""Who survives and which split a prompt gets, over the models' own SQL on texts with near-duplicates."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import pytest

from misalign_profile.plugin import register

ROOT = Path(__file__).parents[2]
MODELS = ("fingerprinted", "near_duplicates", "clustered", "kept_first", "dealt", "deduplicated")
MACROS = ("jaccard", "keep_first", "shingles", "simhash64", "split_block")
VARS: dict[str, Any] = {
    "near_duplicate_max_distance": 10,
    "near_duplicate_audit_distance": 16,
    "near_duplicate_min_jaccard": 0,
    "simhash_implementation": "compiled",
    "split_shares": {"train": 80, "validation": 10, "test": 10},
}
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
DIMENSIONS = ("cultural", "safety", "value")
JINJA = jinja2.Environment(undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"])
WORDS = (ROOT / "seeds" / "prompts.csv").read_text("utf-8").split()
Row = dict[str, Any]
Prompt = tuple[str, str, str, int]
"""prompt_id, prompt, origin, position"""


class CompilerError(Exception):
    """What dbt's ``exceptions.raise_compiler_error`` raises here."""


class _Exceptions:
    @staticmethod
    def raise_compiler_error(message: str) -> None:
        raise CompilerError(message)


def render(model: str, values: dict[str, Any]) -> str:
    """The SQL of a dedup model, with tables named like the models."""
    macros = "".join((ROOT / "macros" / f"{name}.sql").read_text("utf-8") for name in MACROS)
    sql = (ROOT / "models" / "dedup" / f"int_prompts__{model}.sql").read_text("utf-8")
    template = JINJA.from_string(macros + sql)
    return template.render(
        ref=lambda name: name, var=values.__getitem__, config=lambda **_: "", exceptions=_Exceptions
    )


def text(source: random.Random, words: int) -> str:
    return " ".join(source.choice(WORDS) for _ in range(words))


def corpus(n: int, seed: int = 1) -> list[Prompt]:
    """Prompts of all origins: loose ones, copies in other case, near-duplicates and chains of them."""
    source = random.Random(seed)
    texts = [text(source, source.randint(5, 25)) for _ in range(n // 2)]
    while len(texts) < n:
        words = source.choice(texts).split()
        if source.random() < 0.2:
            words = [word.upper() + "!" for word in words]
        else:
            words[source.randrange(len(words))] = source.choice(WORDS)
        texts.append(" ".join(words))
    source.shuffle(texts)
    unique = list(dict.fromkeys(texts))
    origins = [source.choice(("seed", "source", "source", "expansion")) for _ in unique]
    pairs = zip(unique, origins, strict=True)
    return [(f"p{source.getrandbits(60):x}", t, o, i) for i, (t, o) in enumerate(pairs)]


def labels(prompt_id: str) -> list[str]:
    """The dimensions that a prompt is labelled with: none to three, fixed by its id."""
    source = random.Random(prompt_id)
    return [dimension for dimension in DIMENSIONS if source.random() < 0.6]


def create(
    con: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """A table of these rows; executemany would take seconds."""
    batch = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
    con.register("batch", batch)
    con.execute(f"create table {name} as select * from batch")
    con.unregister("batch")


def build(
    prompts: Iterable[Prompt], *, threads: int = 2, **changes: Any
) -> duckdb.DuckDBPyConnection:
    """A database with the dedup models built over the prompts, in the order given."""
    con = duckdb.connect(config={"threads": threads})
    register(con)
    rows = list(prompts)
    create(con, "int_prompts__unioned", ("prompt_id", "prompt", "origin", "position"), rows)
    con.execute("alter table int_prompts__unioned add column parent_ids varchar[] default []")
    labelled = [(row[0], dimension) for row in rows for dimension in labels(row[0])]
    create(con, "int_prompt_labels__unioned", ("prompt_id", "dimension"), labelled)
    con.execute(
        "create table int_prompts__expanded as select prompt_id, null as rejection_reason,"
        " 'domain_' || position % 3 as domain from int_prompts__unioned where origin = 'expansion'"
    )
    for model in MODELS:
        con.execute(f"create table int_prompts__{model} as {render(model, VARS | changes)}")
    return con


def rows(con: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    result = con.execute(query)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def outcome(con: duckdb.DuckDBPyConnection) -> dict[str, Row]:
    return {row["prompt_id"]: row for row in rows(con, "select * from int_prompts__deduplicated")}


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return corpus(1_500)


@pytest.fixture(scope="module")
def built(prompts: list[Prompt]) -> duckdb.DuckDBPyConnection:
    return build(prompts)


def test_the_corpus_has_what_the_tests_are_about(built: duckdb.DuckDBPyConnection) -> None:
    found = rows(
        built,
        "select removal_reason, count(*) as n from int_prompts__deduplicated group by all",
    )
    assert {row["removal_reason"]: row["n"] > 50 for row in found} == {
        None: True,
        "near_duplicate": True,
        "exact_duplicate": True,
    }
    chains = built.execute(
        "select count(*) from (select cluster_id from int_prompts__deduplicated where is_survivor"
        " group by cluster_id having count(*) > 1)"
    ).fetchall()
    assert chains[0][0] > 5, "clusters with several survivors"


def test_equals_going_through_the_prompts_one_by_one(
    prompts: list[Prompt], built: duckdb.DuckDBPyConnection
) -> None:
    order = {"seed": 0, "source": 1, "expansion": 2}
    fingerprints = dict(
        built.execute("select prompt_id, fingerprint from int_prompts__fingerprinted").fetchall()
    )
    letters = dict(
        built.execute("select prompt_id, letters from int_prompts__fingerprinted").fetchall()
    )
    kept: list[str] = []
    expected: dict[str, str] = {}
    first: dict[str, str] = {}
    for prompt_id, *_ in sorted(prompts, key=lambda p: (order[p[2]], p[3], p[0])):
        exact = first.setdefault(letters[prompt_id], prompt_id)
        if exact != prompt_id:
            expected[prompt_id] = expected[exact]
            continue
        near = [(fingerprints[prompt_id] ^ fingerprints[k]).bit_count() for k in kept]
        if near and min(near) <= 10:
            expected[prompt_id] = kept[near.index(min(near))]
        else:
            kept.append(prompt_id)
            expected[prompt_id] = prompt_id
    assert {key: row["survivor_id"] for key, row in outcome(built).items()} == expected


def test_no_two_survivors_are_near_and_every_removed_one_is(
    built: duckdb.DuckDBPyConnection,
) -> None:
    found = rows(
        built,
        """
        select a.is_survivor, b.is_survivor as other, bit_count(xor(a.fingerprint, b.fingerprint))
            as distance, a.survivor_distance
        from int_prompts__deduplicated as a join int_prompts__deduplicated as b
            on a.survivor_id = b.prompt_id or (a.is_survivor and b.is_survivor and a.place < b.place)
        where a.prompt_id != b.prompt_id
        """,
    )
    assert {row["other"] for row in found} == {True}
    assert min(row["distance"] for row in found if row["is_survivor"]) > 10
    removed = [row for row in found if not row["is_survivor"]]
    assert max(row["distance"] for row in removed) == 10
    assert all(row["distance"] == row["survivor_distance"] for row in removed)


def test_no_pair_within_the_distance_crosses_a_split(built: duckdb.DuckDBPyConnection) -> None:
    pairs = rows(
        built,
        """
        select a.split = b.split as together, a.cluster_id = b.cluster_id as clustered
        from int_prompts__deduplicated as a join int_prompts__deduplicated as b
            on a.place < b.place and bit_count(xor(a.fingerprint, b.fingerprint)) <= 10
        """,
    )
    assert len(pairs) > 200
    assert all(pair["together"] and pair["clustered"] for pair in pairs)


@pytest.mark.parametrize("threads", [1, 4])
def test_row_order_and_threads_change_nothing(
    prompts: list[Prompt], built: duckdb.DuckDBPyConnection, threads: int
) -> None:
    shuffled = random.Random(threads).sample(prompts, len(prompts))
    assert outcome(build(shuffled, threads=threads)) == outcome(built)


def test_splits_hold_their_shares_in_every_dimension_set() -> None:
    """Without duplicates the shares are exact by the block; a stratum is off by one block at most."""
    source = random.Random(3)
    loose = [(f"{source.getrandbits(64):x}", text(source, 30), "source", i) for i in range(2_000)]
    con = build(loose)
    found = rows(
        con,
        """
        select stratum, deduplicated.split, count(*) as prompts,
            sum(prompts) over (partition by stratum) as total
        from int_prompts__deduplicated as deduplicated join int_prompts__dealt using (prompt_id)
        group by stratum, deduplicated.split
        """,
    )
    assert len({row["stratum"] for row in found}) == 8
    for row in found:
        share = SHARES[row["split"]]
        assert abs(row["prompts"] - share * row["total"]) <= 10 * share + 2, row


@pytest.mark.parametrize("origin", ["seed", "source", "expansion"])
def test_prompts_added_behind_move_no_other(prompts: list[Prompt], origin: str) -> None:
    """Unless a new prompt joins two clusters: then the later one goes over to the earlier one."""
    old = [p for p in prompts if p[2] == origin]
    half = len(old) // 2
    before = outcome(build([p for p in prompts if p[2] != origin] + old[:half]))
    after = outcome(build(prompts))
    same = [key for key, row in before.items() if row["cluster_id"] == after[key]["cluster_id"]]
    assert [key for key in same if before[key]["split"] != after[key]["split"]] == []
    assert len(same) > 0.8 * len(before)


def test_the_second_signal_spares_pairs_with_few_grams_in_common(prompts: list[Prompt]) -> None:
    strict = build(prompts, near_duplicate_min_jaccard=0.6)
    loose = build(prompts)
    removed = [
        sum(row["removal_reason"] == "near_duplicate" for row in outcome(con).values())
        for con in (loose, strict)
    ]
    assert 0 < removed[1] < removed[0]
    weakest = strict.execute(
        "select min(jaccard) from int_prompts__near_duplicates where is_near"
    ).fetchall()
    assert weakest[0][0] >= 0.6
    copies = [
        sum(row["removal_reason"] == "exact_duplicate" for row in outcome(con).values())
        for con in (loose, strict)
    ]
    assert copies[0] == copies[1] > 0


def test_the_package_and_the_sql_form_remove_the_same(prompts: list[Prompt]) -> None:
    few = prompts[:400]
    expected = outcome(build(few))
    con = duckdb.connect()
    macro = JINJA.from_string(
        (ROOT / "macros" / "simhash64.sql").read_text("utf-8") + "{{ create_simhash64_sql() }}"
    )
    created = macro.render(var=VARS.__getitem__)
    assert outcome(build(few, simhash_implementation="package")) == expected
    fingerprints = {key: row["fingerprint"] for key, row in expected.items()}
    con.execute(created)
    create(con, "prompts", ("prompt_id", "prompt"), [row[:2] for row in few])
    found = con.execute("select prompt_id, simhash64_sql(prompt) from prompts").fetchall()
    assert dict(found) == fingerprints


def test_a_hundred_thousand_copies_are_one_cluster() -> None:
    con = build([(f"{i:x}", "The same thing" + "!" * 3, "source", i) for i in range(3)])
    assert {row["survivor_id"] for row in outcome(con).values()} == {"0"}
    con.execute("truncate int_prompts__unioned")
    con.execute(
        "insert into int_prompts__unioned by name select i::varchar as prompt_id, 'source' as origin,"
        " 'The same thing' || repeat('!', i % 7) as prompt, i as position from range(100_000) t(i)"
    )
    for model in MODELS:
        con.execute(f"create or replace table int_prompts__{model} as {render(model, VARS)}")
    found = con.execute(
        "select count(*), count(distinct survivor_id), count(distinct split), min(survivor_id)"
        " from int_prompts__deduplicated"
    ).fetchall()
    assert found == [(100_000, 1, 1, "0")]


@pytest.mark.parametrize("edges", [0, 40, 150, 199])
def test_clusters_are_connected_components(edges: int) -> None:
    """Against union-find, on graphs from all loose ends to one long chain."""
    source = random.Random(edges)
    if edges == 199:
        links: list[tuple[int, int]] = list(itertools.pairwise(source.sample(range(200), 200)))
    else:
        links = [(source.randrange(200), source.randrange(200)) for _ in range(edges)]
    links = sorted({(min(link), max(link)) for link in links if link[0] != link[1]})
    root = list(range(200))

    def find(n: int) -> int:
        while root[n] != n:
            n = root[n]
        return n

    for x, y in links:
        low, high = sorted((find(x), find(y)))
        root[high] = low
    con = duckdb.connect()
    con.execute(
        "create table int_prompts__fingerprinted as select i::integer as prompt_id,"
        " i::integer as exact_id, i as place from range(200) t(i)"
    )
    con.execute(
        "create table int_prompts__near_duplicates as select unnest($links)[1] as earlier_id,"
        " unnest($links)[2] as later_id, true as is_near",
        {"links": [list(link) for link in links]},
    )
    found = con.execute(render("clustered", VARS)).fetchall()
    assert dict(found) == {n: find(n) for n in range(200)}


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 80, "validation": 10, "test": 5},
        {"train": 0.8, "validation": 0.1, "test": 0.1},
        {"train": 90, "dev": 5, "test": 5},
    ],
)
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(CompilerError, match=r"split_shares is .* add up to 100"):
        render("dealt", VARS | {"split_shares": shares})
