"""The vllm engine without vllm: its translation, and the engine on a stand-in for ``vllm.LLM``.

The stand-in computes what vLLM 0.33 says it returns, with a tiny random checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import engine_fixtures as fx
from misalign_profile.engines import open_engine
from misalign_profile.engines import vllm_reading as reading
from misalign_profile.errors import ConfigError, EngineError, EngineMissing, ModelNotFound
from misalign_profile.types import ModelSpec

MEMORY = "MISALIGN_VLLM_MEMORY"


@dataclass
class SamplingParams:
    """The fields in use, with vLLM's defaults; any other is an error, as in vLLM."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 16
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    logprob_token_ids: list[int] | None = None
    detokenize: bool = True


class LLM:
    """Answers with one token a place and the raw log-probabilities of the tokens asked for."""

    made: list[LLM] = []  # noqa: RUF012  the test looks at the last one

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.model = AutoModelForCausalLM.from_pretrained(arguments["model"])
        self.calls: list[list[tuple[tuple[int, ...], SamplingParams]]] = []
        self.closed = 0
        self.llm_engine = SimpleNamespace(shutdown=self.shutdown)
        self.reason = "stop"
        self.drop = 0
        LLM.made.append(self)

    def shutdown(self) -> None:
        self.closed += 1

    @torch.inference_mode()
    def generate(self, prompts: Any, params: Any, *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        assert len(prompts) == len(params)
        pairs = [(tuple(p["prompt_token_ids"]), q) for p, q in zip(prompts, params, strict=True)]
        self.calls.append(pairs)
        return [self.one(ids, wanted) for ids, wanted in pairs]

    def one(self, ids: tuple[int, ...], wanted: SamplingParams) -> Any:
        logprobs = self.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        drawn = int(logprobs.argmax())
        asked = (wanted.logprob_token_ids or [])[self.drop :]
        listed = {t: SimpleNamespace(logprob=float(logprobs[t])) for t in [drawn, *asked]}
        output = SimpleNamespace(
            text=f" seed {wanted.seed} ",
            token_ids=[drawn],
            finish_reason=self.reason,
            logprobs=[listed] if wanted.logprob_token_ids else None,
        )
        return SimpleNamespace(outputs=[output], num_cached_tokens=3)


@pytest.fixture
def fake(monkeypatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.delitem(sys.modules, "misalign_profile.engines.vllm_engine", raising=False)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> ModelSpec:
    torch.set_num_threads(1)
    return fx.checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def engine(fake, llama) -> Iterator[Any]:
    opened = open_engine(replace(llama, engine="vllm"))
    yield opened
    opened.close()


def test_the_trie_holds_every_inner_node_and_what_follows_it():
    options = [(5, 1, 2), (5, 1, 3), (5,), (7, 1)]
    nodes = {(): [5, 7], (5,): [1], (5, 1): [2, 3], (7,): [1]}
    assert reading.next_tokens(options) == nodes
    scores = {
        (): {5: -1.0, 7: -2.0},
        (5,): {1: -0.5},
        (5, 1): {2: -0.25, 3: -4.0},
        (7,): {1: -8.0},
    }
    assert reading.option_scores(options, scores) == (-1.75, -5.5, -1.0, -10.0)


def test_whole_options_are_scored_exactly(engine, llama):
    """Options of several tokens, one within another, against one plain forward pass for each."""
    asked = [fx.question(llama, body=body, options=fx.OPTIONS) for body in fx.BODIES]
    done = [c for batch in engine.choose(asked) for c in batch]
    assert [c.call_id for c in done] == [r.call_id for r in asked]
    exact = open_engine(llama)
    for request, completion in zip(asked, done, strict=True):
        expected = fx.brute_force(exact, request)
        assert completion.option_logprobs == pytest.approx(expected, abs=1e-4)
        assert (completion.finish_reason, completion.cached_tokens) == ("choice", 3)
    exact.close()
    roots, others = LLM.made[-1].calls
    assert len(roots) == len(asked)  # the prompts first: what follows finds them in the cache
    prompts = [ids for ids, _ in roots]
    assert all(any(ids[: len(p)] == p for p in prompts) for ids, _ in others)


def test_prompts_are_those_of_the_transformers_engine(engine, llama):
    asked = [fx.question(llama, body=body, tail=tail) for body in fx.BODIES for tail in fx.TAILS]
    asked.append(fx.question(llama, body="which domain does the prompt touch? " * 99))
    there = open_engine(llama)
    expected = [row.head + row.body + row.foot for row in there._rows(asked)]
    there.close()
    assert list(reading.prompt_ids(engine.renderer, asked, engine.limit)) == expected
    assert len(expected[-1]) <= engine.limit == 512


def test_draws_have_seeds_of_their_own_whatever_their_batch(engine, llama):
    asked = [fx.draw(llama, item, temperature=0.5, top_p=0.8) for item in "abcd"]
    done = {c.call_id: c for batch in engine.generate(asked) for c in batch}
    alone = {c.call_id: c for r in asked[::-1] for batch in engine.generate([r]) for c in batch}
    assert {i: c.text for i, c in done.items()} == {i: c.text for i, c in alone.items()}
    assert len({c.text for c in done.values()}) == 4
    sent = LLM.made[-1].calls[0][0][1]
    assert (sent.temperature, sent.top_p, sent.max_tokens) == (0.5, 0.8, 24)
    assert sent.seed is not None
    assert 0 <= sent.seed < 2**63
    assert sent.stop_token_ids == [4]  # <end_of_turn>
    completion = done[asked[0].call_id]
    assert completion.text == f"seed {sent.seed}"
    assert (completion.prompt_tokens, completion.completion_tokens) == (
        len(LLM.made[-1].calls[0][0][0]),
        1,
    )


def test_what_the_engine_asks_of_vllm(engine, llama):
    sent = LLM.made[-1].arguments
    assert (sent["model"], sent["dtype"], sent["trust_remote_code"]) == (
        llama.source,
        "bfloat16",
        False,
    )
    assert (sent["logprobs_mode"], sent["max_model_len"]) == ("raw_logprobs", 512)
    assert sent["gpu_memory_utilization"] == 0.9


def test_answers_that_are_none_are_errors(engine, llama):
    LLM.made[-1].reason = "abort"
    with pytest.raises(EngineError, match=r"gave up a request: abort.*item i"):
        list(engine.generate([fx.draw(llama, "i")]))
    LLM.made[-1].drop = 1
    with pytest.raises(EngineError, match="left out"):
        list(engine.choose([fx.question(llama, options=("S01", "V12", "yes"))]))
    with pytest.raises(EngineError, match="128 tokens at one place"):
        reading.score_fields(range(129))
    with pytest.raises(EngineError, match="does not fit"):
        list(engine.generate([fx.draw(llama, "i", tokens=600)]))


def test_a_closed_engine_says_so(engine, llama):
    engine.close()
    engine.close()
    assert LLM.made[-1].closed == 1
    with pytest.raises(EngineError, match="closed"):
        list(engine.choose([fx.question(llama, options=("yes",))]))


def test_models_that_cannot_be_loaded_are_one_line(fake, llama, monkeypatch):
    spec = replace(llama, engine="vllm")
    with pytest.raises(ModelNotFound, match="no such model folder"):
        open_engine(replace(spec, source="demo_checkpoints/none"))
    monkeypatch.setenv(MEMORY, "much")
    with pytest.raises(ConfigError, match=f"{MEMORY} is no positive number"):
        open_engine(spec)
    monkeypatch.delenv(MEMORY)

    def full(_self: Any, **_arguments: Any) -> None:
        raise ValueError("No available memory for the cache blocks.\nmore")

    monkeypatch.setattr(LLM, "__init__", full)
    with pytest.raises(EngineError, match=r"No available memory.*MISALIGN_VLLM_MEMORY") as caught:
        open_engine(spec)
    assert "\n" not in str(caught.value)


def test_without_vllm_the_install_command_is_named(llama, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "misalign_profile.engines.vllm_engine", raising=False)
    with pytest.raises(EngineMissing, match=r"needs vllm.*pip install 'misalign-profile\[vllm\]'"):
        open_engine(replace(llama, engine="vllm"))
