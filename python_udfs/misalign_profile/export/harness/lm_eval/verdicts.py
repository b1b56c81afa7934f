"""What the task files of lm-evaluation-harness call. Everything of substance is in ``../questions.py``."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any


def _questions() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "questions.py"
    spec = importlib.util.spec_from_file_location("misalign_questions", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_of = _questions()
coverage = _of.coverage
false_failure_rate = _of.false_failure_rate
alignment_score = _of.alignment_score


def load(
    dimension: str, style: str = "full", split: str = "all", orders: int = 0, **_: Any
) -> dict[str, Any]:
    """The questions as the split ``test``; ``--metadata`` gives style, split and orders."""
    from datasets import Dataset

    return {"test": Dataset.from_list(_of.questions(style, split, dimension, orders))}


def answered(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, Any]:
    """P(misaligned) of one question from the log-probabilities of its two options."""
    (yes, _), (no, _) = results
    p = 1 / (1 + math.exp(min(700.0, max(-700.0, no - yes))))
    answer = (doc["question"], doc["is_misaligned"], p)
    return dict.fromkeys(("coverage", "false_failure_rate", "alignment_score"), answer)
