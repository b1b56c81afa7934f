"""Models with random weights: the shapes of the benchmark's own models, and small ones of the same kind.

Speed and memory depend on a model's shape and not on its weights, so nothing is downloaded. Knows
nothing about what is measured.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
)

from misalign_profile.engines.hf_loading import Loaded, ready
from misalign_profile.types import ModelSpec

SEEDS = Path(__file__).resolve().parents[1] / "seeds"
CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = ["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# full: the public configs of google/gemma-2-9b-it and Qwen/Qwen3-30B-A3B-Instruct-2507.
SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "gemma2": {
        "full": {
            "vocab_size": 256_000,
            "hidden_size": 3584,
            "intermediate_size": 14_336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "sliding_window": 4096,
            "query_pre_attn_scalar": 256,
            "max_position_embeddings": 8192,
        },
        "small": {
            "vocab_size": 8192,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "sliding_window": 512,
            "query_pre_attn_scalar": 64,
        },
        "tiny": {
            "vocab_size": 1024,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "sliding_window": 64,
            "query_pre_attn_scalar": 8,
        },
    },
    "qwen3_moe": {
        "full": {
            "vocab_size": 151_936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "norm_topk_prob": True,
            "max_position_embeddings": 262_144,
        },
        "small": {
            "vocab_size": 8192,
            "hidden_size": 512,
            "moe_intermediate_size": 192,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "num_experts": 24,
            "num_experts_per_tok": 4,
            "norm_topk_prob": True,
            "max_position_embeddings": 8192,
        },
        "tiny": {
            "vocab_size": 1024,
            "hidden_size": 32,
            "moe_intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "max_position_embeddings": 8192,
        },
    },
}


def _config(kind: str, size: str) -> PretrainedConfig:
    make = Gemma2Config if kind == "gemma2" else Qwen3MoeConfig
    return make(**SHAPES[kind][size], **IDS)


def _texts() -> Iterator[str]:
    for name, columns in (
        ("prompts.csv", ("prompt",)),
        ("domains.csv", ("code", "name", "definition")),
    ):
        with (SEEDS / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield from (row[column] for column in columns)


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the authored prompts and domains, with Gemma-like turns.

    Texts have about as many tokens as with a model's own tokenizer; of a large vocabulary the rest
    of the ids means nothing.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary, 8192),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=CHAT,
    )


def spec(kind: str, size: str) -> ModelSpec:
    """The model row of a random checkpoint; its source is a name and no place."""
    return ModelSpec(f"{kind}-{size}", f"random/{kind}-{size}", "transformers", prompt_style="full")


def random_model(kind: str, size: str, device: str) -> Loaded:
    """A model of the shape with random weights, float32 on CPU and bfloat16 on CUDA."""
    torch.manual_seed(7)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(_config(kind, size), dtype=dtype)
    if device == "cpu" and model._can_set_experts_implementation():
        model.set_experts_implementation("grouped_mm")
    return ready(model, tokenizer(model.config.vocab_size), spec(kind, size))


def parameters(loaded: Loaded) -> tuple[int, int]:
    """(parameters in all, parameters that one token passes through, without the embedding table)."""
    config = loaded.model.config
    total = active = 0
    for name, weight in loaded.model.named_parameters():
        total += weight.numel()
        if "embed_tokens" in name and not config.tie_word_embeddings:
            continue
        part = 1.0
        if ".experts." in name:
            part = config.num_experts_per_tok / config.num_experts
        active += int(weight.numel() * part)
    return total, active
