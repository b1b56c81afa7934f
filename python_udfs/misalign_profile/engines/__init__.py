"""Engines: what answers a request. One file each; heavy imports happen when an engine is opened.

``transformers`` runs checkpoints in this process, ``scripted`` answers by rule (tests, dry runs),
``served`` asks an OpenAI-compatible endpoint. Knows nothing about templates, journals or dbt.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.errors import ConfigError, EngineMissing
from misalign_profile.types import Engine, ModelSpec

ENGINES = ("transformers", "scripted", "served", "vllm")


def open_engine(
    spec: ModelSpec, *, batch_tokens: int = 16384, threads: int | None = None, **kw: Any
) -> Engine:
    """Open the engine that ``spec.engine`` names; the caller closes it.

    ``batch_tokens`` bounds the tokens (rows times length) of one forward pass, ``threads`` the CPU
    threads (transformers) or the concurrent calls (served). Raises ``ConfigError`` for an unknown
    engine, ``EngineMissing`` for one whose package is absent, ``ModelNotFound`` for a bad source.
    """
    if spec.engine == "transformers":
        try:
            from misalign_profile.engines.transformers_engine import TransformersEngine
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("misalign_profile"):
                raise
            raise EngineMissing(
                f"the transformers engine needs {error.name}",
                hint="pip install torch transformers",
            ) from None
        return TransformersEngine(spec, batch_tokens=batch_tokens, threads=threads, **kw)
    if spec.engine == "scripted":
        from misalign_profile.engines.scripted import ScriptedEngine

        return ScriptedEngine(spec, **kw)
    if spec.engine == "served":
        from misalign_profile.engines.served import ServedEngine

        return ServedEngine(spec, threads=threads, **kw)
    if spec.engine == "vllm":
        raise EngineMissing(
            "the in-process vllm engine is not written yet",
            where=spec.model,
            hint="start `vllm serve` and use engine 'served', or use engine 'transformers'",
        )
    raise ConfigError(
        f"unknown engine {spec.engine!r}",
        where=spec.model,
        hint=f"engine is one of {', '.join(ENGINES)}",
    )
