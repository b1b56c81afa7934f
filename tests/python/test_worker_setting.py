"""The var ``engine_processes`` reaches the engines: a model in memory gets a process, others do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Relation
from misalign_profile import steps
from misalign_profile.config import Roles, stage_config
from misalign_profile.engines import open_engine
from misalign_profile.engines.worker import WorkerEngine
from misalign_profile.errors import ModelNotFound
from misalign_profile.inference import Inference
from misalign_profile.types import ModelSpec


@pytest.fixture
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerEngine, "start", lambda _: None)


@pytest.mark.usefixtures("not_started")
def test_only_engines_that_hold_a_model_get_a_process() -> None:
    for engine in ("transformers", "vllm"):
        model = ModelSpec("m", "owner/name", engine)
        assert isinstance(open_engine(model, own_process=True), WorkerEngine)
    scripted = ModelSpec("m", "scripted:default", "scripted")
    assert not isinstance(open_engine(scripted, own_process=True), WorkerEngine)


@pytest.mark.usefixtures("not_started")
@pytest.mark.parametrize("own_process", [True, False])
def test_a_stage_opens_engines_as_the_var_says(tmp_path: Path, own_process: bool) -> None:
    meta = {"target": "t", "journal": str(tmp_path), "engine_processes": str(own_process)}
    inference = steps.asking(stage_config(meta), Roles("t", [], []), Relation([]))
    assert isinstance(inference, Inference)
    model = ModelSpec("m", "./nowhere", "transformers")
    if own_process:
        assert isinstance(inference.opener(model, batch_tokens=64), WorkerEngine)
    else:
        with pytest.raises(ModelNotFound):
            inference.opener(model, batch_tokens=64)


def test_every_model_that_asks_is_told_what_its_target_says(tmp_path: Path) -> None:
    places = ["--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")]
    command = [sys.executable, "-m", "dbt.cli.main", "parse", "--target", "gpu", *places]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    manifest = json.loads((tmp_path / "target" / "manifest.json").read_text("utf-8"))
    metas = [node["config"].get("meta", {}) for node in manifest["nodes"].values()]
    asking = [meta for meta in metas if "journal" in meta]
    assert len(asking) >= 6
    for meta in asking:
        told = (str(meta["engines_resident"]), str(meta["engine_processes"]))
        assert told == ("1", "True"), meta
