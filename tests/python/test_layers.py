"""House rules over dbt's manifest: folders read to the left, marts the waist; all is described."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "seeds",
    "staging",
    "classification",
    "expansion",
    "dedup",
    "responses",
    "benchmark",
    "marts",
)
Node = dict[str, Any]
Manifest = dict[str, Any]


def dbt(scratch: Path, command: str, *arguments: str) -> None:
    """Run dbt on the project as it stands, writing into ``scratch`` only."""
    places = ["--target-path", scratch / "target", "--log-path", scratch / "logs"]
    done = subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", command, *map(str, places), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layers")


@pytest.fixture(scope="module")
def manifest(scratch: Path) -> Manifest:
    dbt(scratch, "parse")
    parsed: Manifest = json.loads((scratch / "target" / "manifest.json").read_text("utf-8"))
    return parsed


def folder(node: Node) -> str:
    """The folder that a seed or a model belongs to."""
    return "seeds" if node["resource_type"] == "seed" else Path(node["original_file_path"]).parts[1]


def in_folders(manifest: Manifest, *folders: str) -> list[Node]:
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("seed", "model") and folder(node) in folders
    ]


def reads(manifest: Manifest, node: Node) -> list[Node]:
    """The seeds and models that a model refers to."""
    nodes = manifest["nodes"]
    return [nodes[parent] for parent in node["depends_on"]["nodes"] if parent in nodes]


def uncontracted_parents(manifest: Manifest, children: list[Node]) -> set[str]:
    """Names of what stands between these models and the contracted tables that they rest on."""
    found: set[str] = set()
    for child in children:
        parents = [
            node
            for node in reads(manifest, child)
            if folder(node) == "benchmark" and not node["config"]["contract"]["enforced"]
        ]
        found |= {node["name"] for node in parents} | uncontracted_parents(manifest, parents)
    return found


def wrong_reads(manifest: Manifest) -> list[str]:
    """Every reference that the layers forbid, as ``child (folder) reads parent (folder)``."""
    found = []
    for node in in_folders(manifest, *FOLDERS[1:]):
        for parent in reads(manifest, node):
            mine, theirs = folder(node), folder(parent)
            to_the_right = FOLDERS.index(theirs) > FOLDERS.index(mine)
            past_the_waist = mine == "marts" and theirs not in ("benchmark", "marts")
            if to_the_right or past_the_waist:
                found.append(f"{node['name']} ({mine}) reads {parent['name']} ({theirs})")
    return found


def test_every_model_lies_in_a_known_folder(manifest: Manifest) -> None:
    models = [n for n in manifest["nodes"].values() if n["resource_type"] == "model"]
    assert {folder(node) for node in models} == set(FOLDERS[1:])
    assert all(node["schema"] == folder(node) for node in models)


def test_each_folder_reads_only_folders_to_its_left(manifest: Manifest) -> None:
    assert wrong_reads(manifest) == []


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("stg_prompts", "int_prompts__labelled"),
        ("mart_usage", "int_slots__resolved"),
        ("mart_usage", "domains"),
    ],
)
def test_a_wrong_read_is_found(manifest: Manifest, child: str, parent: str) -> None:
    ids = {node["name"]: key for key, node in manifest["nodes"].items()}
    node = manifest["nodes"][ids[child]]
    bent = {**node, "depends_on": {"nodes": [*node["depends_on"]["nodes"], ids[parent]]}}
    found = wrong_reads({"nodes": {**manifest["nodes"], ids[child]: bent}})
    assert len(found) == 1
    assert child in found[0]
    assert parent in found[0]


def test_only_the_benchmark_reads_the_journal(manifest: Manifest) -> None:
    readers = {
        node["name"]
        for node in in_folders(manifest, *FOLDERS)
        if any(parent.startswith("source.") for parent in node["depends_on"].get("nodes", []))
    }
    assert readers == {"fct_calls"}


def test_whoever_asks_models_is_told_the_budget_and_the_prices(manifest: Manifest) -> None:
    asking = [
        node for node in in_folders(manifest, *FOLDERS) if "journal" in node["config"]["meta"]
    ]
    assert len(asking) == 9
    for node in asking:
        told = {key for key in node["config"]["meta"] if key.startswith("budget_")}
        assert told == {"budget_usd", "budget_calls", "budget_tokens"}, node["name"]
        assert "prices" in {parent["name"] for parent in reads(manifest, node)}, node["name"]


def test_dim_and_fct_models_are_contracted(manifest: Manifest) -> None:
    loose = [
        node["name"]
        for node in in_folders(manifest, "benchmark")
        if node["name"].startswith(("dim_", "fct_")) and not node["config"]["contract"]["enforced"]
    ]
    assert loose == []


def test_models_start_with_their_grain_and_every_column_is_described(manifest: Manifest) -> None:
    for node in in_folders(manifest, "responses", "benchmark", "marts"):
        assert node["description"].startswith("One row per "), node["name"]
        assert node["columns"], node["name"]
        silent = [c["name"] for c in node["columns"].values() if not c["description"].strip()]
        assert silent == [], node["name"]


def test_the_exposures_name_what_gate_report_and_export_read(manifest: Manifest) -> None:
    exposed = {e["name"]: set(e["depends_on"]["nodes"]) for e in manifest["exposures"].values()}
    assert set(exposed) == {"report_page", "quality_gate", "export"}
    package = ROOT / "python_udfs" / "misalign_profile"
    readers = {
        "report_page": [*package.glob("report/*.py")],
        "quality_gate": [*package.glob("gate*.py"), *ROOT.glob("expectations/*.yml")],
        "export": [*package.glob("export/*.py")],
    }
    for name, files in readers.items():
        text = "\n".join(path.read_text("utf-8") for path in files)
        named = set(re.findall(rf"\b(?:{'|'.join(FOLDERS)})\.\w+", text))
        read = {
            key
            for key, node in manifest["nodes"].items()
            if node["resource_type"] in ("seed", "model")
            and f"{folder(node)}.{node['name']}" in named
        }
        assert read == exposed[name], f"{name}: mend models/marts/_exposures.yml"


@pytest.fixture(scope="module")
def columns(manifest: Manifest, scratch: Path) -> dict[str, list[str]]:
    """Columns of the marts, built in a warehouse of empty contracted tables alone."""
    warehouse = scratch / "contracts.duckdb"
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create schema benchmark")
        for node in in_folders(manifest, "benchmark"):
            if node["config"]["contract"]["enforced"]:
                typed = ", ".join(f"{c['name']} {c['data_type']}" for c in node["columns"].values())
                con.execute(f"create table benchmark.{node['name']} ({typed})")
    target = {"type": "duckdb", "path": str(warehouse), "threads": 2}
    profile = {"misalign_profile": {"target": "embedded", "outputs": {"embedded": target}}}
    (scratch / "profiles.yml").write_text(json.dumps(profile), "utf-8")
    between = uncontracted_parents(manifest, in_folders(manifest, "marts"))
    dbt(scratch, "run", "--profiles-dir", str(scratch), "--select", *between, "marts")
    with duckdb.connect(str(warehouse), read_only=True) as con:
        rows = con.execute(
            """
            select table_name, list(column_name order by column_index)
            from duckdb_columns() where schema_name = 'marts' group by table_name
            """
        ).fetchall()
    return dict(rows)


def test_marts_need_the_contracted_tables_alone_and_document_what_they_hold(
    manifest: Manifest, columns: dict[str, list[str]]
) -> None:
    documented = {n["name"]: list(n["columns"]) for n in in_folders(manifest, "marts")}
    assert columns == documented
