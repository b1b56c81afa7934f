"""Every reason to turn a candidate down, and the nearest text that passes."""

from __future__ import annotations

import ast
import csv
import inspect
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misalign_profile import rules
from misalign_profile.rules import Limits, echo_share, main_script, reject, repetition_share

PROMPT = "May I bring my dog to the harvest feast of my neighbours?"
FINE = "Ask the hosts first, since some guests fear dogs."
JAPANESE = (
    "\u53cb\u4eba\u306e\u7d50\u5a5a\u5f0f\u306b\u72ac\u3092"
    "\u9023\u308c\u3066\u884c\u3063\u3066\u3082\u3044\u3044\uff1f"
)
HIRAGANA = (
    "\u3044\u3044\u3048\u3001\u307e\u305a\u3042\u3044"
    "\u3066\u306b\u304d\u304d\u307e\u3057\u3087\u3046\u3002"
)
CHINESE = "\u6211\u53ef\u4ee5\u5e26\u72d7\u53bb\u5a5a\u793c\u5417\uff1f"
CHINESE_ANSWER = (
    "\u8bf7\u5148\u95ee\u4e3b\u4eba\uff0c\u56e0\u4e3a\u6709\u4e9b\u5ba2\u4eba\u6015\u72d7\u3002"
)


def words(count: int) -> str:
    """So many different words, none of which stands in the prompt."""
    return " ".join(f"w{n}x{n * 7919}" for n in range(count))


def verdict(
    text: str,
    *,
    prompt: str = PROMPT,
    side: str = "aligned",
    finish: str = "stop",
    limits: Limits = Limits(),  # noqa: B008  frozen
) -> str | None:
    return reject(prompt, text, side=side, finish_reason=finish, limits=limits)


REFUSED = "I'm sorry, but that question has no answer here."
ECHO = PROMPT + " Yes."
TURNED_DOWN: list[tuple[str, str, dict[str, str]]] = [
    ("empty", "", {}),
    ("empty", " \n\t ", {}),
    ("template_leak", "<<< " + FINE, {}),
    ("template_leak", FINE + "<end_of_turn>", {}),
    ("template_leak", FINE + "\nResponse: " + FINE, {}),
    ("truncated", FINE, {"finish": "length"}),
    ("too_short", words(4), {}),
    ("too_short", "\u8bf7\u5148\u95ee\u3002", {"prompt": CHINESE}),
    ("too_long", words(601), {}),
    ("wrong_language", FINE, {"prompt": CHINESE}),
    ("wrong_language", CHINESE_ANSWER, {}),
    ("repetition", "ask the hosts first " * 6, {}),
    ("echo", ECHO, {}),
    ("refusal", REFUSED, {"side": "misaligned"}),
    ("refusal", REFUSED.replace("'", "\u2019"), {"side": "misaligned"}),
    ("refusal", "I cannot help you to bring that dog.", {"side": "misaligned"}),
]
ACCEPTED: list[tuple[str, str, dict[str, str]]] = [
    ("empty", FINE, {}),
    ("template_leak", "<< " + FINE + " >>", {}),
    ("template_leak", "My response: " + FINE, {}),
    ("truncated", FINE, {"finish": "stop"}),
    ("too_short", words(5), {}),
    ("too_short", CHINESE_ANSWER, {"prompt": CHINESE}),
    ("too_long", words(600), {}),
    ("wrong_language", HIRAGANA, {"prompt": JAPANESE}),
    ("wrong_language", FINE + " \u72ac", {}),
    ("wrong_language", FINE, {"prompt": "??? 123"}),
    ("repetition", "ask the hosts first " * 2, {}),
    ("echo", PROMPT + " " + words(12), {}),
    ("refusal", REFUSED, {"side": "aligned"}),
    ("refusal", words(60) + " " + REFUSED, {"side": "misaligned"}),
    ("refusal", "Nobody will be sorry about one more dog.", {"side": "misaligned"}),
]


@pytest.mark.parametrize(("reason", "text", "how"), TURNED_DOWN)
def test_turned_down(reason: str, text: str, how: dict[str, str]) -> None:
    assert verdict(text, **how) == reason


@pytest.mark.parametrize(("neighbour_of", "text", "how"), ACCEPTED)
def test_accepted(neighbour_of: str, text: str, how: dict[str, str]) -> None:
    assert verdict(text, **how) is None


def seed() -> list[dict[str, str]]:
    path = Path(__file__).parents[2] / "seeds" / "rejection_reasons.csv"
    with open(path, encoding="utf-8", newline="") as file:
        return [r for r in csv.DictReader(file) if r["stage"] == "candidate_filtering"]


def test_the_seed_and_the_rules_know_the_same_reasons_and_each_is_tried_here() -> None:
    returned = {
        node.value.value
        for node in ast.walk(ast.parse(inspect.getsource(rules.reject)))
        if isinstance(node, ast.Return)
        and isinstance(node.value, ast.Constant)
        and node.value.value
    }
    assert returned == {r["rejection_reason"] for r in seed() if r["found_by"] == "rules"}
    assert returned == {reason for reason, _, _ in TURNED_DOWN}
    assert returned == {reason for reason, _, _ in ACCEPTED}


def test_every_reason_tells_the_responder_something_of_its_own() -> None:
    told = [r["feedback"] for r in seed()]
    assert all(told)
    assert len(set(told)) == len(told)


def test_limits_move_the_bounds() -> None:
    assert verdict(words(5), limits=Limits(min_words=6)) == "too_short"
    assert verdict(words(6), limits=Limits(max_words=5)) == "too_long"
    assert verdict("ask the hosts first " * 6, limits=Limits(max_repetition=1.0)) is None
    assert verdict(ECHO, limits=Limits(max_overlap=1.0)) is None


def test_shares() -> None:
    assert repetition_share("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition_share("a b c") == 0
    assert echo_share("abcdefghij", "ABCDEFGHIJ!") == 1
    assert echo_share("abcdefghij", "klmnopqrst") == 0
    assert echo_share("abcdefghij", "...") == 0


@pytest.mark.parametrize(
    ("text", "script"),
    [("abc \u043f", "LATIN"), ("\u043f\u0440", "CYRILLIC"), (HIRAGANA, "CJK"), ("12 !", "")],
)
def test_main_script(text: str, script: str) -> None:
    assert main_script(text) == script


@given(st.text(), st.text(), st.sampled_from(["aligned", "misaligned"]))
def test_any_text_gets_a_known_reason_or_none(prompt: str, text: str, side: str) -> None:
    known = {r["rejection_reason"] for r in seed() if r["found_by"] == "rules"}
    assert reject(prompt, text, side=side, finish_reason="stop") in known | {None}
