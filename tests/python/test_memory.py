"""Memory that runs out for real, and memory that comes back: each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import engine_fixtures as fx
from conftest import ROOT

START = f"""
import gc, json, os, resource, sys
sys.path.insert(0, {str(ROOT / "tests/python")!r})
import torch
import engine_fixtures as fx
from misalign_profile.engines import open_engine, transformers_engine
from misalign_profile.types import ModelSpec

torch.set_num_threads(1)
spec = ModelSpec("llama", sys.argv[1])

def memory(what):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(what))
"""
# The limit is set when everything is loaded, so that only tensors of a batch can fail.
CRAMPED = """
transformers_engine.CPU_CHOOSE_TOKENS = 1 << 30
engine = open_engine(spec, batch_tokens=1 << 20)
body = "word " * 60
choices = [fx.question(spec, body=f"{body} {n}", options=("yes", "no")) for n in range(60)]
draws = [fx.draw(spec, str(n), 4 + n % 3, body=body) for n in range(60)]
answers, failed = {}, []

def counted(verb, real):
    def run(loaded, past, texts, *more, **named):
        try:
            found = real(loaded, past, texts, *more, **named)
            return found if verb == "choose" else iter(list(found))
        except RuntimeError:
            failed.append((verb, min(len(texts), named.get("at_once", len(texts)))))
            raise
    return run

transformers_engine.score = counted("choose", transformers_engine.score)
transformers_engine.continue_rows = counted("generate", transformers_engine.continue_rows)
for asked in (choices[:8], draws[:8]):
    list(getattr(engine, asked[0].verb)(asked))
if sys.argv[2] != "0":
    limit = memory("VmSize") + (int(sys.argv[2]) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for asked in (choices, draws, choices[::-1], draws[::-1]):
    for batch in getattr(engine, asked[0].verb)(asked):
        answers.update((c.call_id, [c.text, *c.option_logprobs]) for c in batch)
print(json.dumps({"answers": answers, "failed": failed}))
"""
RETURNED = """
own = sys.argv[2] == "own"
tiny = ModelSpec("llama", sys.argv[3])
def ask(spec, **options):
    engine = open_engine(spec, **options)
    list(engine.choose([fx.question(spec, body=f"b{n}", options=("yes", "no")) for n in range(4)]))
    return engine

ask(tiny).close()  # what torch itself takes
before = memory("VmRSS")
engine = ask(spec, own_process=own)
pid = getattr(engine, "pid", None)
during = memory("VmRSS")
engine.close()
left = bool(pid) and os.path.exists(f"/proc/{pid}")
print(json.dumps({"during": during - before, "after": memory("VmRSS") - before, "left": left}))
"""


def run(script: str, *arguments: object) -> tuple[Any, str]:
    """What a script printed, and what it wrote to standard error."""
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


def test_a_batch_that_the_allocator_refuses_is_halved_once_and_for_all(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 4096, "num_hidden_layers": 1}
    source = fx.checkpoint(tmp_path, "llama", **sizes).source
    free, said = run(CRAMPED, source, 0)
    assert free["failed"] == []
    assert "out of memory" not in said
    tight, said = run(CRAMPED, source, 100)
    for verb in ("choose", "generate"):
        failed = [rows for name, rows in tight["failed"] if name == verb]
        assert failed[0] == 60
        assert len(failed) > 1
        assert failed == [60 >> n for n in range(len(failed))]  # each size once, in two rounds
        line = (
            f"misalign: out of memory with 60 rows [llama, {verb}]: batches are halved from here on"
        )
        assert said.splitlines().count(line) == 1
    assert tight["answers"].keys() == free["answers"].keys()
    for call, (text, *logprobs) in tight["answers"].items():
        assert text == free["answers"][call][0]
        assert logprobs == pytest.approx(free["answers"][call][1:], abs=1e-4)


def test_a_model_in_a_process_of_its_own_leaves_no_memory_behind(tmp_path: Path) -> None:
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "head_dim": 64}
    source = fx.checkpoint(tmp_path, "llama", **sizes).source
    weights = (Path(source) / "model.safetensors").stat().st_size
    assert weights > 100 << 20
    tiny = fx.checkpoint(tmp_path, "gemma2").source
    here, _ = run(RETURNED, source, "here", tiny)
    own, _ = run(RETURNED, source, "own", tiny)
    assert here["during"] > 0.9 * weights  # so the measure means something
    assert max(own["during"], own["after"]) < 0.1 * weights
    assert not own["left"]
