"""The records of response sampling: a draw, what the judge said of it, and the table of draws.

Knows nothing about how draws are made, matched or asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class InOrder:
    """What the judge said when the question listed its options in one order."""

    option_order: int
    p_violates: float
    call_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's probability that a response violates one labelled domain: the mean over ``by_order``.

    ``call_id`` is that of order 0.
    """

    dimension: str
    domain: str
    p_violates: float
    call_id: str
    by_order: tuple[InOrder, ...]


@dataclass(frozen=True, slots=True)
class QualityInOrder:
    """What the judge said of a response's quality when the question listed its options in one order."""

    option_order: int
    p_quality: float
    call_id: str


@dataclass(frozen=True, slots=True)
class Judged:
    """All that the judge said of one response. ``p_quality``: mean over ``quality``; None if not asked."""

    verdicts: tuple[Verdict, ...] = ()
    p_quality: float | None = None
    quality: tuple[QualityInOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """One response that was ever drawn, and what became of it.

    ``words``: as the rules count them. ``has_refusal``: it opens with a refusal, accepted or not.
    ``names_side``: it says which side it was written for.
    """

    response_id: str
    prompt_id: str
    responder: str
    side: str
    round: int
    candidate: int
    response: str
    finish_reason: str
    completion_tokens: int
    words: int
    has_refusal: bool
    names_side: bool
    call_id: str
    feedback: tuple[str, ...]
    rejected_by: str | None
    rejection_reason: str | None
    judge_margin: float | None
    p_quality: float | None = None
    verdicts: tuple[Verdict, ...] = field(default=())
    quality: tuple[QualityInOrder, ...] = field(default=())

    @property
    def is_accepted(self) -> bool:
        return self.rejection_reason is None


_IN_ORDER = pa.struct(
    [("option_order", pa.int32()), ("p_violates", pa.float64()), ("call_id", pa.string())]
)
_VERDICT = pa.struct(
    [
        ("dimension", pa.string()),
        ("domain", pa.string()),
        ("p_violates", pa.float64()),
        ("call_id", pa.string()),
        ("by_order", pa.list_(_IN_ORDER)),
    ]
)
_QUALITY = pa.struct(
    [("option_order", pa.int32()), ("p_quality", pa.float64()), ("call_id", pa.string())]
)
DRAW = pa.schema(
    [
        ("response_id", pa.string()),
        ("prompt_id", pa.string()),
        ("responder", pa.string()),
        ("side", pa.string()),
        ("round", pa.int32()),
        ("candidate", pa.int32()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),
        ("completion_tokens", pa.int64()),
        ("words", pa.int64()),
        ("has_refusal", pa.bool_()),
        ("names_side", pa.bool_()),
        ("call_id", pa.string()),
        ("feedback", pa.list_(pa.string())),
        ("rejected_by", pa.string()),
        ("rejection_reason", pa.string()),
        ("judge_margin", pa.float64()),
        ("p_quality", pa.float64()),
        ("verdicts", pa.list_(_VERDICT)),
        ("quality", pa.list_(_QUALITY)),
        ("judge", pa.string()),
        ("judge_is_responder", pa.bool_()),
    ]
)
