"""Tiny random checkpoints of several architectures, and the slow exact way to ask them.

Built in the test session: nothing is downloaded. Every sliding window is far shorter than the test
prefix, because that is where prefix sharing goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3MoeConfig,
)

from misalign_profile.types import ModelSpec, Request, Sampling

CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LINES = [
    "Task: judge the answer. Which domain does the prompt touch, S01 or V12 or C40?",
    "the quick brown fox asks an assistant about gifts, weddings and medicine",
    "yes no object attribute relation Prompt: Response: Domain of safety",
]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
ARCHITECTURES = ("gemma2", "qwen3_moe", "llama", "mistral", "qwen3")
PREFIX = "Task: judge. " + "the quick brown fox asks about medicine; " * 3
BODIES = [
    "Prompt: gifts",
    "Prompt: which domain does the prompt touch? " * 3,
    "",
    "Prompt: \u00e9\u6f22\U0001f600 and weddings, no, yes",
    "Prompt: V12",
]
TAILS = ["Domain of safety:", "Is it an object, an attribute, or a relation?", "?"]
OPTIONS = ("S01", "S0", "S", "V12", "yes", "no", "relation", "an object")


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 320 tokens with Gemma-like turns."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
    core.train_from_iterator(
        LINES,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=CHAT,
    )


def config(architecture: str, **changes: Any) -> Any:
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    common = SMALL | ids | {"vocab_size": 320} | changes
    if architecture == "gemma2":
        soft = {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 4.0}
        return Gemma2Config(sliding_window=7, query_pre_attn_scalar=8, **soft, **common)
    if architecture == "qwen3_moe":
        experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        return Qwen3MoeConfig(**experts, **common)
    if architecture == "mistral":
        return MistralConfig(sliding_window=7, **common)
    if architecture == "qwen3":
        sliding = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2}
        return Qwen3Config(**sliding, **common)
    return LlamaConfig(**common)


def checkpoint(folder: Path, architecture: str, **changes: Any) -> ModelSpec:
    """Write a random checkpoint and return its model row."""
    target = folder / architecture
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config(architecture, **changes))
    model.save_pretrained(target)
    tokenizer().save_pretrained(target)
    return ModelSpec(model=architecture, source=str(target))


def question(spec: ModelSpec, **fields: Any) -> Request:
    """A request with defaults for what a test does not care about."""
    base: dict[str, Any] = {
        "model": replace(spec, source=spec.model),  # not a temporary path: it keys the draws
        "stage": "test",
        "template": "t",
        "template_hash": "h",
        "item": "i",
        "prefix": PREFIX,
        "body": "Prompt: gifts",
        "tail": "Domain:",
    }
    return Request(**(base | fields))


def draw(spec: ModelSpec, item: str, tokens: int = 24, **fields: Any) -> Request:
    sampling = Sampling(
        temperature=fields.pop("temperature", 0.9),
        top_p=fields.pop("top_p", 0.9),
        max_new_tokens=tokens,
    )
    return question(spec, item=item, sampling=sampling, **fields)


@contextmanager
def plain(model: Any) -> Iterator[Any]:
    """The model with the attention of its own authors in place of the engine's."""
    ours = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield model
    finally:
        model.set_attn_implementation(ours)


@torch.inference_mode()
def brute_force(engine: Any, request: Request) -> list[float]:
    """One plain forward pass per option: no cache, no padding, no sharing, default masks."""
    renderer = engine.renderer
    prompt = [
        *renderer.head(request.prefix),
        *renderer.bodies([request.body])[request.body],
        *renderer.foot(request.tail),
    ]
    out = []
    for option in renderer.options(request.options):
        with plain(engine.loaded.model) as model:
            ids = torch.tensor([prompt + list(option)])
            logits = model(input_ids=ids, use_cache=False).logits[0]
        logprobs = logits.float().log_softmax(-1)
        at = range(len(prompt) - 1, len(prompt) + len(option) - 1)
        out.append(sum(float(logprobs[i, t]) for i, t in zip(at, option, strict=True)))
    return out
