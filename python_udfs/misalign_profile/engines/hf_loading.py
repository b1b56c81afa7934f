"""Load a checkpoint and its tokenizer, or say in one line why that cannot be done.

Safetensors only, no remote code. Knows nothing about requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from misalign_profile.engines import hf_attention
from misalign_profile.errors import ConfigError, EngineError, ModelNotFound
from misalign_profile.types import ModelSpec

END_OF_TURN = ("<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|eom_id|>")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(slots=True)
class Loaded:
    """A model ready to be asked.

    ``windows`` maps each kind of attention layer to its sliding window in tokens (None: all);
    ``stop_ids`` end a turn; ``max_positions`` is the longest sequence that the model was built for;
    ``segmented``: the model's attention takes keys that lie in several places.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    windows: dict[str, int | None]
    stop_ids: tuple[int, ...]
    max_positions: int
    vocabulary: int
    segmented: bool


def load(spec: ModelSpec, device: str | None = None) -> Loaded:
    """Load ``spec.source``. Raises ``ModelNotFound``, ``EngineError`` or ``ConfigError``."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = _dtype(spec, where)
    refuse_missing_folder(spec)
    common: dict[str, Any] = {"trust_remote_code": False, "revision": spec.revision or None}
    source = str(Path(spec.source).expanduser()) if spec.source.startswith("~") else spec.source
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, **common
        )
        if where.type == "cpu" and model._can_set_experts_implementation():
            model.set_experts_implementation("grouped_mm")
    except torch.cuda.OutOfMemoryError:
        raise EngineError("the model does not fit into memory", where=spec.source) from None
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelNotFound(
            f"cannot load the model: {_first_line(error)}",
            where=spec.source,
            hint="give a folder with config.json, tokenizer and safetensors files, or a hub id "
            "that this machine can reach or has cached",
        ) from None
    return ready(model.to(where), tokenizer, spec)


def ready(model: Any, tokenizer: Any, spec: ModelSpec) -> Loaded:
    """A model that lies on its device already, as something that can be asked."""
    model.requires_grad_(False).eval()
    segmented = bool(model._supports_attention_backend)
    if segmented:
        model.set_attn_implementation(hf_attention.NAME)
    config = model.config.get_text_config()
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=model.device,
        dtype=model.dtype,
        windows=_windows(config, spec),
        stop_ids=_stop_ids(model, tokenizer),
        max_positions=int(getattr(config, "max_position_embeddings", 0) or 1 << 30),
        vocabulary=int(config.vocab_size),
        segmented=segmented,
    )


def _dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    """``auto``: float32 on CPU (half precision is many times slower there), bfloat16 on CUDA."""
    if spec.dtype in ("auto", ""):
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if spec.dtype not in DTYPES:
        raise ConfigError(
            f"unknown dtype {spec.dtype!r}",
            where=spec.model,
            hint=f"dtype is auto or one of {', '.join(DTYPES)}",
        )
    return DTYPES[spec.dtype]


def refuse_missing_folder(spec: ModelSpec) -> None:
    """A source that reads like a folder (./x, /x, ~/x, a/b/c, or x/y where x is a folder) is never
    looked up on the hub."""
    source, path = spec.source, Path(spec.source).expanduser()
    parts = Path(source).parts
    local = (
        source.startswith((".", "/", "~"))
        or len(parts) > 2
        or path.exists()
        or (len(parts) == 2 and Path(parts[0]).is_dir())
    )
    if not source or (local and not (path / "config.json").is_file()):
        empty = bool(source) and path.is_dir()
        raise ModelNotFound(
            "the model folder has no config.json" if empty else "no such model folder",
            where=source or spec.model,
            hint="a path is relative to the project root; a hub id reads owner/name",
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _windows(config: Any, spec: ModelSpec) -> dict[str, int | None]:
    """Which kinds of attention layer the model has, and the window of each."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = ["full_attention" if window is None else "sliding_attention"]
    known = {"full_attention": None, "sliding_attention": window}
    unknown = sorted(set(kinds) - set(known))
    if unknown:
        raise EngineError(
            f"the transformers engine cannot share prefixes over {unknown[0]} layers",
            where=spec.source,
            hint="serve this model and use engine 'served'",
        )
    return {kind: known[kind] for kind in sorted(set(kinds))}


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a turn: of the generation config, the tokenizer and the usual chat markers."""
    ids: set[int] = set()
    for source in (model.generation_config, model.config):
        eos = getattr(source, "eos_token_id", None)
        if eos is not None:
            ids.update([eos] if isinstance(eos, int) else eos)
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
    ids.update(added[mark] for mark in END_OF_TURN if mark in added)
    return tuple(sorted(ids))
