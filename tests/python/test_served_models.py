"""The served engine with real models: a server process, and a demo checkpoint's own numbers."""

from __future__ import annotations

import csv
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from misalign_profile.engines import open_engine
from misalign_profile.engines.served_faults import KEY, URL
from misalign_profile.errors import EngineError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO, ask
from misalign_profile.types import DIMENSIONS, ModelSpec, Request, Sampling
from served_endpoint import END, Endpoint, serving

ROOT = Path(__file__).resolve().parents[2]
SERVER_SETTINGS = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
SERVE = "from transformers.cli.transformers import main; main()"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Threads of tiny models only get into each other's way."""
    torch.set_num_threads(1)


def rows(seed: str) -> list[dict[str, str]]:
    with open(ROOT / "seeds" / seed, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def spec(checkpoint: str, engine: str) -> ModelSpec:
    source = str(ROOT / "demo_checkpoints" / checkpoint)
    return ModelSpec(checkpoint, source, engine=engine, dtype="float32", prompt_style="compact")


def prompts(count: int) -> list[str]:
    authored = [row["prompt"] for row in rows("prompts.csv")]
    return authored[:: len(authored) // count][:count]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """``transformers serve`` with a demo checkpoint, in a process of its own, offline."""
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command = [sys.executable, "-c", SERVE, "serve", spec("qwen3-general", "").source, *options]
    with open(log, "wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, env=os.environ | SERVER_SETTINGS
        )
    try:
        for _ in range(600):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_server_process_draws_what_the_same_checkpoint_draws_here(server, tmp_path, monkeypatch):
    """At temperature 0, through the journal; at others a seed gives a text and no other one."""
    monkeypatch.setenv(URL, server)
    monkeypatch.delenv(KEY, raising=False)
    model = spec("qwen3-general", "served")
    fields = {"dimension": "overall", "response": "Feed it and call a vet."}

    def draw(prompt: str, temperature: float) -> Request:
        sampling = Sampling(temperature=temperature, max_new_tokens=24)
        return ask(model, "s", "verdict", prompt, sampling=sampling, prompt=prompt, **fields)

    asked = [draw(prompt, t) for prompt in prompts(3) for t in (0.0, 0.7)]
    with Inference(Journal(tmp_path)) as inference:
        done = inference.ask(asked, label="x")
        assert inference.ask(asked, label="x") == done
    assert len(Journal(tmp_path).select("select * from calls")) == len(asked)
    assert all(c.prompt_tokens > 10 and c.completion_tokens > 0 for c in done)
    assert not any(c.failures for c in done)
    here = open_engine(spec("qwen3-general", "transformers"))
    expected = [c for batch in here.generate(asked[::2]) for c in batch]
    here.close()
    texts = {c.call_id: c.text for c in expected}
    assert [c.text for c in done[::2]] == [texts[r.call_id] for r in asked[::2]]


def test_a_server_without_log_probabilities_is_refused_for_choices(server, tmp_path, monkeypatch):
    """``transformers serve`` takes the fields of both ways and ignores them in silence."""
    monkeypatch.setenv(URL, server)
    model = spec("qwen3-general", "served")
    asked = [
        ask(model, "s", "semantic_type", p, options=TYPE_OPTIONS, prompt=p) for p in prompts(9)
    ]
    with (
        Inference(Journal(tmp_path)) as inference,
        pytest.raises(EngineError, match="gives no log-probabilities, and it cannot be held"),
    ):
        inference.ask(asked, label="x")
    assert not Journal(tmp_path).segments()


class Checkpoint:
    """A demo checkpoint as the endpoint's model: the likeliest next tokens as texts."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.texts = [
            self.tokenizer.decode([i], skip_special_tokens=True) for i in range(len(self.tokenizer))
        ]

    @torch.inference_mode()
    def __call__(self, question: str, so_far: str) -> list[tuple[str, float]]:
        turn = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(turn + so_far, add_special_tokens=False, return_tensors="pt")
        chances = self.model(**ids).logits[0, -1].softmax(-1).double()
        values, tokens = chances.topk(25)
        entries = zip(tokens.tolist(), values.tolist(), strict=True)
        return [(self.texts[i] or END, p) for i, p in entries]


def test_choices_by_log_probabilities_are_those_of_exact_scoring(monkeypatch):
    """57 codes and 20 listed tokens: the likeliest option is exact, and its share of the options'
    sum is exact but for the bounds of codes that were never listed."""
    codes: dict[str, list[str]] = {}
    for row in rows("domains.csv"):
        codes.setdefault(row["dimension"], []).append(row["code"])
    here = spec("gemma2-classifier", "transformers")
    asked = [
        ask(here, "s", "classify", p, options=(*codes[d], NONE_CODE), prompt=p, dimension=d)
        for p in prompts(6)
        for d in DIMENSIONS
    ] + [ask(here, "s", "semantic_type", p, options=TYPE_OPTIONS, prompt=p) for p in prompts(6)]
    engine = open_engine(here)
    exact = {c.call_id: c.option_logprobs for batch in engine.choose(asked) for c in batch}
    engine.close()
    with serving(Endpoint(model=Checkpoint(here.source))) as endpoint:
        monkeypatch.setenv(URL, endpoint.url)
        far = open_engine(spec("gemma2-classifier", "served"), threads=2)
        done = [c for batch in far.choose(asked) for c in batch]
        far.close()
    assert {c.finish_reason for c in done} == {"choice"}
    assert len(done) == len(asked) == 24
    for completion in done:
        mine = [math.exp(x) for x in completion.option_logprobs]
        true = [math.exp(x) for x in exact[completion.call_id]]
        assert math.fsum(mine) <= 1 + 1e-9
        assert max(mine) == pytest.approx(max(true), rel=1e-4)
        assert mine.index(max(mine)) == true.index(max(true))
        unlisted = math.fsum(
            p for p, q in zip(mine, true, strict=True) if p != pytest.approx(q, rel=1e-3)
        )
        share, total = max(true) / math.fsum(true), math.fsum(mine)
        assert max(mine) / total - 1e-4 <= share <= max(mine) / (total - unlisted) + 1e-4


def test_yes_and_no_are_scored_like_here(monkeypatch):
    here = spec("gemma2-judge", "transformers")
    fields = {"dimension": "safety", "response": "Hurt it until it stops."}
    asked = [ask(here, "s", "verdict", p, options=YES_NO, prompt=p, **fields) for p in prompts(8)]
    engine = open_engine(here)
    exact = {c.call_id: c.option_logprobs for batch in engine.choose(asked) for c in batch}
    engine.close()
    with serving(Endpoint(model=Checkpoint(here.source))) as endpoint:
        monkeypatch.setenv(URL, endpoint.url)
        far = open_engine(spec("gemma2-judge", "served"), threads=2)
        for completion in (c for batch in far.choose(asked) for c in batch):
            assert completion.option_logprobs == pytest.approx(exact[completion.call_id], abs=0.05)
        far.close()
