"""The demo checkpoints: architecture, sizes, tasks, training data and stopping rule of each.

The models under test differ by what they were trained on and for how long, by nothing else.
Knows nothing about how training works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from misalign_profile.demo.tokenizer import VOCAB_SIZE
from misalign_profile.types import DIMENSIONS

MAX_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Recipe:
    """One checkpoint.

    ``tasks``: share of examples per task. ``stop_at``: training ends (with a decay of the learning
    rate) once the held-out score ``stop_on`` reaches it; ``max_steps`` is only a ceiling.
    ``flash_share``: share of short examples (a bare topic, one clause) that teach the words;
    ``card_pools``: how many of the first pools of examples hold nothing else; ``clauses``: how many
    clauses of every (domain, side, type) the checkpoint gets to see.
    The last five shape the verdict data: which questions are asked, with which weights, in which
    dimensions violations were annotated, how many responses are misaligned, and in which dimension
    every prompt must have a label.
    """

    name: str
    architecture: str
    dialect: str
    tasks: dict[str, float]
    stop_on: str
    stop_at: float
    max_steps: int
    config: Mapping[str, object] = field(default_factory=dict)
    category: str = ""
    seed_share: float = 0.3
    learning_rate: float = 2e-3
    muon_rate: float = 0.01
    flash_share: float = 0.4
    card_pools: int = 0
    clauses: int = 2
    decay_share: float = 0.3
    questions: dict[str, float] = field(default_factory=dict)
    annotated: tuple[str, ...] = DIMENSIONS
    p_misaligned: float = 0.5
    focus: str = ""


_BASE: dict[str, object] = {
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": MAX_LENGTH,
    "tie_word_embeddings": True,
    "num_hidden_layers": 4,
}
_LARGE = _BASE | {
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
_SMALL = _BASE | {
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
_GEMMA: dict[str, object] = {"sliding_window": 256, "query_pre_attn_scalar": 32}
_EVEN = {"overall": 1.0, "safety": 1.0, "value": 1.0, "cultural": 1.0}

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="gemma2-classifier",
        architecture="Gemma2ForCausalLM",
        dialect="gemma",
        tasks={"classify": 0.85, "semantic_type": 0.15},
        stop_on="classifier",
        stop_at=0.97,
        max_steps=14_000,
        config=_LARGE | _GEMMA | {"intermediate_size": 512},
        category="classifier",
        seed_share=0.35,
    ),
    Recipe(
        name="gemma2-judge",
        architecture="Gemma2ForCausalLM",
        dialect="gemma",
        tasks={"judge": 1.0},
        stop_on="verdict",
        stop_at=0.96,
        max_steps=9_000,
        config=_SMALL | _GEMMA,
        category="judge",
    ),
    Recipe(
        name="qwen3moe-expander-responder",
        architecture="Qwen3MoeForCausalLM",
        dialect="chatml",
        tasks={"expand": 0.35, "respond": 0.65},
        stop_on="writer",
        stop_at=0.97,
        max_steps=14_000,
        config=_LARGE
        | {
            "intermediate_size": 256,
            "moe_intermediate_size": 144,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
        },
        category="expander and responder",
        seed_share=0.25,
        flash_share=0.15,
        card_pools=4,
        clauses=1,
    ),
    Recipe(
        name="qwen3-general",
        architecture="Qwen3ForCausalLM",
        dialect="chatml",
        tasks={"verdict": 1.0},
        stop_on="verdict",
        stop_at=0.83,
        max_steps=9_000,
        config=_SMALL,
        category="general-purpose",
        questions=_EVEN,
    ),
    Recipe(
        name="llama-safety-tuned",
        architecture="LlamaForCausalLM",
        dialect="llama",
        tasks={"verdict": 1.0},
        stop_on="safety",
        stop_at=0.82,
        max_steps=7_000,
        config=_SMALL,
        category="fine-tuned",
        questions={"overall": 1.0, "safety": 2.0},
        annotated=("safety",),
        p_misaligned=0.85,
        focus="safety",
    ),
    Recipe(
        name="mistral-value-tuned",
        architecture="MistralForCausalLM",
        dialect="mistral",
        tasks={"verdict": 1.0},
        stop_on="value",
        stop_at=0.84,
        max_steps=9_000,
        config=_SMALL | {"sliding_window": None},
        category="fine-tuned",
        questions={"overall": 0.1, "safety": 0.1, "value": 1.0, "cultural": 0.1},
    ),
    Recipe(
        name="gemma2-culture-tuned",
        architecture="Gemma2ForCausalLM",
        dialect="gemma",
        tasks={"verdict": 1.0},
        stop_on="cultural",
        stop_at=0.82,
        max_steps=9_000,
        config=_SMALL | _GEMMA,
        category="fine-tuned",
        questions={"overall": 1.0, "cultural": 2.0},
        annotated=("cultural",),
        p_misaligned=0.7,
        focus="cultural",
    ),
    Recipe(
        name="qwen3-open-undertrained",
        architecture="Qwen3ForCausalLM",
        dialect="chatml",
        tasks={"verdict": 1.0},
        stop_on="verdict",
        stop_at=0.66,
        max_steps=6_000,
        config=_SMALL,
        category="open-weight",
        questions=_EVEN,
        decay_share=0.1,
    ),
)


def recipe(name: str) -> Recipe:
    """Return the recipe of that name. Raises ``KeyError`` with the known names."""
    for row in RECIPES:
        if row.name == name:
            return row
    raise KeyError(f"no demo checkpoint {name}; there are {', '.join(r.name for r in RECIPES)}")
