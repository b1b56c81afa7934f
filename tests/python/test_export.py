"""What an export holds: rows, taxonomy, card, manifest, sums, over the warehouse of the gate's tests."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path

import duckdb
import pytest

from conftest import Project
from export_fixtures import SECOND, SPLITS, Change, card, everything, passes, records, sums
from misalign_profile.errors import CheckError
from misalign_profile.export import export_dataset
from misalign_profile.export.layouts import NOTE
from misalign_profile.export.reading import public_source

ROOT = Path(__file__).resolve().parents[2]


def test_every_pair_of_the_warehouse_is_there_with_its_labels(
    small_warehouse: Path, exported: Path
) -> None:
    with duckdb.connect(str(small_warehouse), read_only=True) as con:
        wanted = con.execute(
            """
            select pair_id, split, prompt, aligned_response, misaligned_response, domains, responder
            from benchmark.fct_pairs order by pair_id
            """
        ).fetchall()
        dimension_of = dict(
            con.execute("select domain, dimension from benchmark.dim_domains").fetchall()
        )
    rows = sorted(everything(exported), key=lambda r: r["pair_id"])
    names = ("pair_id", "split", "prompt", "aligned_response", "misaligned_response", "domains")
    assert [tuple(r[n] for n in (*names, "responder")) for r in rows] == wanted
    for row in rows:
        labels = {d: row[d] for d in ("safety", "value", "cultural") if row[d]}
        assert {dimension_of[domain]: domain for domain in row["domains"]} == labels
        assert row["misaligned_violates"] == row["domains"]
        assert row["aligned_violates"] == []
        assert row["misaligned_p_violates"] == [0.9] * len(row["domains"])
        assert row["misaligned_is_misaligned"] is True
        assert row["aligned_is_misaligned"] is False
        assert row["content_note"] == NOTE


def test_duckdb_reads_both_forms_in_one_line_and_they_agree(exported: Path) -> None:
    both = [
        duckdb.sql(f"from '{exported}/data/*.{kind}' order by pair_id").fetchall()
        for kind in ("parquet", "jsonl")
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 60


def test_the_hub_library_loads_it_offline(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    loaded = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
    assert {split: loaded[split].num_rows for split in SPLITS} == {
        split: len(records(exported, split)) for split in SPLITS
    }
    assert loaded["train"][:] == {
        name: [row[name] for row in records(exported, "train")] for name in loaded["train"].features
    }
    taxonomy = datasets.load_dataset(str(exported), "taxonomy", cache_dir=str(tmp_path))["train"]
    assert taxonomy.num_rows == 112
    assert "malformed" not in caplog.text  # the card's dataset_info is taken as it stands


def test_the_taxonomy_has_every_domain_with_its_definition(exported: Path) -> None:
    with open(exported / "taxonomy.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(ROOT / "seeds" / "domains.csv", encoding="utf-8", newline="") as file:
        seeds = {row["domain"]: row["definition"] for row in csv.DictReader(file)}
    assert {row["domain"]: row["definition"] for row in rows} == seeds


def test_sums_cover_every_file_and_check(exported: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=exported, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == len(sums(exported)) - 1


def test_the_same_warehouse_gives_the_same_bytes_under_another_name(
    small_warehouse: Path, exported: Path, tmp_path: Path
) -> None:
    again = tmp_path / "elsewhere"
    export_dataset(small_warehouse, again, target="scripted", gate=passes)
    assert sums(again) == sums(exported)


def test_the_manifest_tells_settings_counts_and_no_place(
    small_warehouse: Path, exported: Path, changed: Change, tmp_path: Path
) -> None:
    manifest = json.loads((exported / "manifest.json").read_text("utf-8"))
    assert manifest["settings"]["near_duplicate_max_distance"] == 10
    assert (
        manifest["settings"]["expansion_target"] == 16
    )  # the value of the target, not the mapping
    assert manifest["counts"]["rows"] == 60
    assert sum(manifest["counts"]["by_split"].values()) == 60
    assert list(manifest["schema"]) == list(everything(exported)[0])
    secret = changed(
        "update benchmark.dim_models set source = '/home/xyzzy/private/weights' where true"
    )
    out = tmp_path / "out"
    export_dataset(secret, out, target="scripted", gate=passes)
    for path in (p for p in out.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert b"xyzzy" not in content, path
        assert str(small_warehouse.parent).encode() not in content, path


def test_a_folder_elsewhere_is_named_without_its_place() -> None:
    assert public_source("/home/somebody/weights") == "(local folder) weights"
    assert public_source("~/weights") == "(local folder) weights"
    assert public_source("demo_checkpoints/qwen3-general") == "demo_checkpoints/qwen3-general"
    assert public_source("google/gemma-2-9b-it") == "google/gemma-2-9b-it"


def test_the_card_counts_what_the_files_hold(exported: Path) -> None:
    front, text = card(exported)
    rows = everything(exported)
    for split in SPLITS:
        assert f"| {split} | {len(records(exported, split))} |" in text
    for kind in ("object", "attribute", "relation"):
        assert f"| {kind} | {sum(r['semantic_type'] == kind for r in rows)} |" in text
    for domain in ("animal_abuse", "forgiveness"):
        assert re.search(
            rf"\(`{domain}`\) \| \w+ \| {sum(domain in r['domains'] for r in rows)} \|", text
        )
    assert front["size_categories"] == ["n<1K"]
    infos = {info["config_name"]: info for info in front["dataset_info"]}
    assert [f["name"] for f in infos["pairs"]["features"]] == list(rows[0])


def test_acceptance_in_the_card_is_the_warehouses(small_warehouse: Path, exported: Path) -> None:
    with duckdb.connect(str(small_warehouse), read_only=True) as con:
        draws, accepted = con.execute(
            """
            select count(*), count(*) filter (where rejection_reason is null)
            from benchmark.fct_draws where side = 'aligned'
            """
        ).fetchall()[0]
    share = f"{100 * accepted / draws:.1f}%"
    assert f"| scripted-default | aligned | {draws} | {accepted} | {share} |" in card(exported)[1]


def test_rows_by_demo_models_are_said_to_be_no_finding(
    exported: Path, changed: Change, tmp_path: Path
) -> None:
    front, text = card(exported)
    assert "Not a finding, not for training" in text
    assert front["license"] == "apache-2.0"
    real = changed(
        "update benchmark.dim_models set is_demo = false, source = 'lab/real' where true"
    )
    export_dataset(real, tmp_path / "real", target="scripted", gate=passes)
    front, text = card(tmp_path / "real")
    assert "Not a finding" not in text
    assert front["license"] == "other"
    assert "lab/real" in (tmp_path / "real" / "LICENSE.md").read_text("utf-8")


def test_prompts_that_somebody_brought_have_unknown_terms(changed: Change, tmp_path: Path) -> None:
    brought = changed("update benchmark.dim_prompts set origin = 'source' where true")
    export_dataset(brought, tmp_path / "out", target="scripted", gate=passes)
    assert card(tmp_path / "out")[0]["license"] == "other"
    assert "add them before you" in (tmp_path / "out" / "LICENSE.md").read_text("utf-8")


def test_four_responses_a_prompt(small_warehouse: Path, changed: Change, tmp_path: Path) -> None:
    with pytest.raises(
        CheckError, match="needs pairs of two responders; there is scripted-default"
    ):
        export_dataset(
            small_warehouse, tmp_path / "one", target="scripted", gate=passes, layout="four"
        )
    out = tmp_path / "four"
    export_dataset(changed(SECOND), out, target="scripted", gate=passes, layout="four")
    rows = everything(out)
    assert len(rows) == 59  # one prompt has no pair of the second responder
    for row in rows:
        # the role's position comes before the name
        assert (row["responder_1"], row["responder_2"]) == ("scripted-default", "a-second")
        assert row["aligned_response_2"] == f"second: {row['aligned_response_1']}"
        assert row["misaligned_is_misaligned_2"] is True
        assert row["misaligned_violates_2"] == row["domains"]
    _, text = card(out)
    assert "59 rows: 118 pairs for 59 prompts" in text
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert sum(loaded.num_rows.values()) == 59


@pytest.mark.end_to_end
def test_a_whole_run_can_be_exported(scripted_project: Project, tmp_path: Path) -> None:
    done = scripted_project.misalign("export", str(tmp_path / "set"), "--target", "scripted")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gate: passed" in done.stdout
    warehouse = scripted_project.root / "warehouse" / "scripted.duckdb"
    with duckdb.connect(str(warehouse), read_only=True) as con:
        pairs = con.execute("select count(*) from benchmark.fct_pairs").fetchall()[0][0]
    assert len(everything(tmp_path / "set")) == pairs
