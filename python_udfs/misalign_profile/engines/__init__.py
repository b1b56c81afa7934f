"""Engines: what answers a request. One file each; heavy imports happen when an engine is opened.

``transformers`` and ``vllm`` run checkpoints, here or in a process of their own (``worker``),
``scripted`` answers by rule (tests, dry runs), ``served`` asks an OpenAI-compatible endpoint. Knows
nothing about templates, journals or dbt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from misalign_profile.errors import ConfigError, EngineMissing
from misalign_profile.types import Engine, ModelSpec

ENGINES = ("transformers", "scripted", "served", "vllm")
INSTALL = {
    "transformers": "pip install torch transformers",
    "served": "pip install openai",
    "vllm": "pip install 'misalign-profile[vllm]' into an environment of its own: it pins torch",
}
LARGE = ("transformers", "vllm")  # hold a model in memory


def open_engine(
    spec: ModelSpec,
    *,
    batch_tokens: int = 16384,
    threads: int | None = None,
    own_process: bool = False,
    **kw: Any,
) -> Engine:
    """Open the engine that ``spec.engine`` names; the caller closes it.

    ``batch_tokens`` bounds the tokens (rows times length) of one forward pass, ``threads`` the CPU
    threads (transformers) or the concurrent calls (served). With ``own_process`` a model that lies
    in memory gets a process of its own. Raises ``ConfigError`` for an unknown engine,
    ``EngineMissing`` for one whose package is absent, ``ModelNotFound`` for a bad source.
    """
    if own_process and spec.engine in LARGE:
        from misalign_profile.engines.worker import WorkerEngine

        worker = WorkerEngine(spec, batch_tokens=batch_tokens, threads=threads, **kw)
        worker.start()
        return worker
    try:
        make = _engine(spec)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "misalign_profile":
            raise
        raise EngineMissing(
            f"the {spec.engine} engine needs {package}",
            where=spec.model,
            hint=INSTALL.get(spec.engine, ""),
        ) from None
    if spec.engine == "transformers":
        return make(spec, batch_tokens=batch_tokens, threads=threads, **kw)
    if spec.engine == "served":
        return make(spec, threads=threads, **kw)
    return make(spec, **kw)


def _engine(spec: ModelSpec) -> Callable[..., Engine]:
    if spec.engine == "transformers":
        from misalign_profile.engines.transformers_engine import TransformersEngine

        return TransformersEngine
    if spec.engine == "scripted":
        from misalign_profile.engines.scripted import ScriptedEngine

        return ScriptedEngine
    if spec.engine == "served":
        from misalign_profile.engines.served import ServedEngine

        return ServedEngine
    if spec.engine == "vllm":
        from misalign_profile.engines.vllm_engine import VllmEngine

        return VllmEngine
    raise ConfigError(
        f"unknown engine {spec.engine!r}",
        where=spec.model,
        hint=f"engine is one of {', '.join(ENGINES)}",
    )


def positive_number(name: str, default: float, where: str) -> float:
    """A number from the environment variable ``name``. Raises ``ConfigError`` unless above 0."""
    text = os.environ.get(name, "").strip() or str(default)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigError(f"{name} is no positive number: {text}", where=where)
    return number
