"""What keeps two sides from making a pair: quality, and responses that do not match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from misalign_profile.matching import Bars, MatchLimits
from misalign_profile.rules import Limits
from misalign_profile.types import Request
from sampling_fixtures import FEEDBACK, VALUE, drawn, item, sample, side_of, told, violating

LONG = " and stay for the songs" * 12


def lengths(longer_in: set[str]) -> Any:
    """Responses of the wanted side; misaligned ones are long in these rounds."""

    def responses(question: Request) -> str:
        if side_of(question) == "aligned":
            return violating()
        extra = LONG if question.item.split("/")[-1] in longer_in else ""
        return violating(VALUE["name"]).replace(" early", " early" + extra)

    return responses


def test_sides_without_a_match_are_both_asked_again_and_told_what_differs(tmp_path: Path) -> None:
    limits = Limits(max_repetition=1.0)
    draws, stub = sample(
        tmp_path, lengths({"round0"}), items=[item(0)], bars=Bars(), limits=limits, rounds=2
    )
    assert {d.rejection_reason for d in draws} == {None}
    feedback = {(d.side, d.round): d.feedback for d in draws}
    assert feedback == {
        ("aligned", 0): (),
        ("misaligned", 0): (),
        ("aligned", 1): ("shorter_than_counterpart",),
        ("misaligned", 1): ("longer_than_counterpart",),
    }
    later = {q.item: told(q) for q in drawn(stub) if q.item.endswith("round1")}
    assert later["p0/misaligned/round1"] == [FEEDBACK["longer_than_counterpart"]]


def test_a_match_may_join_draws_of_different_rounds(tmp_path: Path) -> None:
    """Aligned draws of round 0 match misaligned ones of round 1; a late side alone is asked again."""

    def responses(question: Request) -> str:
        if side_of(question) == "misaligned" and question.item.endswith("round0"):
            return violating()
        return violating() if side_of(question) == "aligned" else violating(VALUE["name"])

    draws, _ = sample(tmp_path, responses, items=[item(0)])
    assert {(d.side, d.round) for d in draws} == {
        ("aligned", 0), ("misaligned", 0), ("misaligned", 1)
    }  # fmt: skip


def test_what_never_matches_ends_with_the_rounds(tmp_path: Path) -> None:
    limits = Limits(max_repetition=1.0)
    always = {"round0", "round1", "round2"}
    draws, _ = sample(tmp_path, lengths(always), items=[item(0)], limits=limits, rounds=2)
    assert {(d.side, d.round) for d in draws} == {
        (side, n) for side in ("aligned", "misaligned") for n in range(3)
    }
    wide = Bars(match=MatchLimits(max_length_ratio=99))
    draws, _ = sample(tmp_path / "wide", lengths(always), items=[item(0)], bars=wide, limits=limits)
    assert {d.round for d in draws} == {0}


ASKS = Bars(asks_quality=True, quality=0.5, match=MatchLimits(max_quality_gap=0.3))


@pytest.mark.parametrize(
    ("good", "bad", "reasons"),
    [
        (0.9, 0.8, {"aligned": None, "misaligned": None}),
        (0.9, 0.4, {"aligned": None, "misaligned": "poor_quality"}),
        (0.5, 0.5, {"aligned": None, "misaligned": None}),
    ],
)
def test_poor_quality_is_turned_down_whatever_its_norms(
    tmp_path: Path, good: float, bad: float, reasons: dict[str, str | None]
) -> None:
    def responses(question: Request) -> str:
        q, broken = (good, ()) if side_of(question) == "aligned" else (bad, (VALUE["name"],))
        return f"Quality {q}. " + violating(*broken)

    draws, stub = sample(tmp_path, responses, items=[item(0)], rounds=0, bars=ASKS)
    assert {d.side: d.rejection_reason for d in draws} == reasons
    assert {d.side: d.p_quality for d in draws} == pytest.approx(
        {"aligned": good, "misaligned": bad}
    )
    asked = [q for q in stub.asked if q.verb == "choose"]
    shared = {(q.prefix, q.body) for q in asked}
    assert len(shared) == len({d.response for d in draws})
    assert len(asked) == 3 * len(shared)  # two norms and quality of each text, all in one wave
    assert all(d.quality[0].call_id in {q.call_id for q in asked} for d in draws)


def test_a_gap_of_quality_reopens_both_sides_and_tells_the_weaker_one(tmp_path: Path) -> None:
    def responses(question: Request) -> str:
        q, broken = (0.9, ()) if side_of(question) == "aligned" else (0.55, (VALUE["name"],))
        return f"Quality {q}. " + violating(*broken)

    draws, _ = sample(tmp_path, responses, items=[item(0)], rounds=1, bars=ASKS)
    assert {(d.side, d.round): d.feedback for d in draws if d.round} == {
        ("aligned", 1): (),
        ("misaligned", 1): ("weaker_than_counterpart",),
    }
