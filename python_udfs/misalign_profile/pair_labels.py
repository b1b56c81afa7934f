"""Which labels of a prompt count, and which of its published pairs can then be used.

Labels belong to the prompt, at most one a dimension counts, and every pair of a prompt is judged by the
same ones. So a prompt's rows are decided together. Knows nothing about files, columns or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Pair = tuple[str, str, str]  # responder, aligned response, misaligned response


@dataclass(frozen=True, slots=True)
class Claim:
    """What one row says of a pair that has both texts; ``violates`` is None where it does not say."""

    pair: Pair
    labels: tuple[str, ...]
    violates: tuple[str, ...] | None = None

    @property
    def violated(self) -> tuple[str, ...]:
        """Labels of the row itself that its misaligned response violates; all where it does not say."""
        if self.violates is None:
            return self.labels
        return tuple(label for label in self.labels if label in self.violates)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a row. ``labels``: its own, and those of later rows with the same two texts."""

    reason: str | None
    labels: tuple[str, ...]
    chosen: tuple[str, ...]
    violates: tuple[str, ...]


def decide(claims: Sequence[Claim], dimension_of: Mapping[str, str]) -> list[Decision]:
    """One decision a claim, for all rows of one prompt in file order.

    In each dimension the first label counts that a pair in use violates, else the first that a row in
    use names. A row without labels takes those of its prompt. Rows with the same responder and the same
    two texts are one pair: their labels add up, and the later rows are ``repeated``.

    Reasons: ``repeated`` (the responder has a pair for the prompt), ``label_conflict`` (other labels
    count in the dimensions of all that the pair violates), ``no_violation`` (of a label that counts),
    ``no_label`` (neither the row nor its prompt has one).
    """
    merged = _merge(claims)
    taken: dict[str, str] = {}  # dimension -> the label that counts
    writers: set[str] = set()
    reasons: dict[Pair, str | None] = {}
    for pair, said in merged.items():
        fitting = [d for d in said.violated if taken.get(dimension_of[d], d) == d]
        if not said.violated:
            continue
        if pair[0] in writers:
            reasons[pair] = "repeated"
        elif not fitting:
            reasons[pair] = "label_conflict"
        else:
            reasons[pair] = None
            writers.add(pair[0])
            _fill(taken, fitting, dimension_of)
    for pair, said in merged.items():
        if reasons.get(pair, "") is None:
            _fill(taken, said.labels, dimension_of)
    for (
        pair,
        said,
    ) in merged.items():  # those that violate no label of their own: one of the prompt?
        if pair not in reasons:
            reasons[pair] = _reason(said, taken, pair[0] in writers)
            if reasons[pair] is None:
                writers.add(pair[0])
                _fill(taken, said.labels, dimension_of)
    chosen = tuple(taken[dimension] for dimension in sorted(taken))
    met: set[Pair] = set()
    decisions = []
    for claim in claims:
        again = claim.pair in met
        met.add(claim.pair)
        said = claim if again else merged[claim.pair]
        reason = reasons[claim.pair] or ("repeated" if again else None)
        decisions.append(Decision(reason, said.labels, chosen, _violates(said, chosen)))
    return decisions


def _fill(taken: dict[str, str], labels: Sequence[str], dimension_of: Mapping[str, str]) -> None:
    for label in labels:
        taken.setdefault(dimension_of[label], label)


def _merge(claims: Sequence[Claim]) -> dict[Pair, Claim]:
    """The claims by pair; of several about one pair the labels add up, and so do the violated ones."""
    merged: dict[Pair, Claim] = {}
    for claim in claims:
        before = merged.get(claim.pair)
        if before is None:
            merged[claim.pair] = claim
            continue
        labels = tuple(dict.fromkeys(before.labels + claim.labels))
        told = None
        if before.violates is not None or claim.violates is not None:
            told = tuple(
                v for c in (before, claim) for v in (c.labels if c.violates is None else c.violates)
            )
        merged[claim.pair] = Claim(claim.pair, labels, told)
    return merged


def _reason(said: Claim, taken: Mapping[str, str], has_pair: bool) -> str | None:
    if not said.labels and not taken:
        return "no_label"
    if said.violates is not None and not set(said.violates) & set(taken.values()):
        return "no_violation"
    return "repeated" if has_pair else None


def _violates(said: Claim, chosen: Sequence[str]) -> tuple[str, ...]:
    if said.violates is None:
        return tuple(d for d in chosen if d in said.labels or not said.labels)
    return tuple(d for d in chosen if d in said.violates)
