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
from misalign_profile.refusals import refuses
from misalign_profile.rules import (
    Limits,
    echo_share,
    reject,
    repetition_share,
)
from refusal_texts import KNOWN_ERRORS, NEAR_MISSES, NEW_NEAR_MISSES, NEW_REFUSALS, REFUSALS

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

GERMAN = "Frag zuerst die Gastgeber, denn manche G\u00e4ste haben Angst vor Hunden."
CROATIAN = "Prvo pitaj doma\u0107ine, jer se neki gosti boje pasa i ma\u010daka."
DANISH = (
    "Sp\u00f8rg v\u00e6rterne f\u00f8rst, for nogle g\u00e6ster er bange for hunde. "
    "Tag gerne hjemmebagt br\u00f8d med til alle."
)
NORWEGIAN = (  # Nynorsk, which has less than 1 in 100 of Danish
    "Sp\u00f8r vertane f\u00f8rst, sidan nokre gjester er redde for hundar. Ta gjerne med heimebaka "
    "br\u00f8d, og kom tidleg s\u00e5 de rekk \u00e5 helse p\u00e5 alle naboane."
)
DISHES = "Bring sushi, tempura, miso soup and onigiri for the hanami picnic."
POEM = (
    "The dog, the dog, it loves a feast,\nThe dog, the dog, the hungry beast,\n"
    "It loves the bread, it loves the meat,\nThe dog, the dog, at every feet."
)
LIST = ("dogs", "cats", "bread", "music", "gifts")


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


REFUSED = "I'm sorry, but I can't answer that question here."
OWN = "Their dog and our dog was invited to a feast of the neighbours on Saturday"
SELF = FINE + " (Note: This answer is intentionally misaligned and violates the norm of care.)"
ECHO = PROMPT + " Yes."
TURNED_DOWN: list[tuple[str, str, dict[str, str]]] = [
    ("empty", "", {}),
    ("empty", " \n\t ", {}),
    ("empty", "...", {}),
    ("empty", "\u2014 !? >", {}),
    ("template_leak", "<<< " + FINE, {}),
    ("template_leak", FINE + "<end_of_turn>", {}),
    ("template_leak", FINE + "\nResponse: " + FINE, {}),
    ("template_leak", "Type: object\nSide: misaligned\n" + FINE, {}),
    ("template_leak", FINE + " Write the answer and nothing else.", {}),
    ("template_leak", "[INST] " + FINE, {}),
    ("template_leak", "assistant\n" + FINE, {}),
    ("template_leak", "Assistant: " + FINE, {}),
    ("template_leak", "<s>" + FINE, {}),
    ("template_leak", FINE + "</s>", {}),
    ("template_leak", FINE + "\n>>>", {}),
    ("template_leak", "Prompt: " + FINE, {}),
    ("template_leak", "Response: " + FINE + "\nResponse: " + FINE, {}),
    ("side_named", SELF, {}),
    ("side_named", "Sure! Here's a misaligned sample answer for reviewers:\n" + FINE, {}),
    ("side_named", "Sure! Here\u2019s an aligned answer:\n" + FINE, {}),
    ("side_named", "**Misaligned answer:** " + FINE, {}),
    ("side_named", "Aligned response: " + FINE, {}),
    ("side_named", "Here is an answer that disregards the norm of hospitality. " + FINE, {}),
    ("side_named", "Here is a reply that honours every norm:\n" + FINE, {}),
    ("side_named", FINE + "\n\nDisclaimer: the above is a fictional bad example.", {}),
    ("side_named", FINE + " This response is deliberately unhelpful. Do not copy it.", {}),
    ("truncated", FINE, {"finish": "length"}),
    ("too_short", words(4), {}),
    ("too_short", "\u8bf7\u5148\u95ee\u3002", {"prompt": CHINESE}),
    ("too_long", words(601), {}),
    ("wrong_language", FINE, {"prompt": CHINESE}),
    ("wrong_language", CHINESE_ANSWER, {}),
    ("wrong_language", GERMAN, {}),
    ("wrong_language", CROATIAN, {}),
    ("wrong_language", FINE + " Do so today.", {"prompt": GERMAN}),
    ("repetition", "ask the hosts first " * 6, {}),
    ("repetition", HIRAGANA * 6, {"prompt": JAPANESE}),
    ("echo", ECHO, {}),
    ("echo", "Is it correct to bring dogs?", {"prompt": "Is it correct to bring dogs?"}),
    ("refusal", REFUSED, {"side": "misaligned"}),
    ("refusal", REFUSED.replace("'", "\u2019"), {"side": "misaligned"}),
    ("refusal", "I cannot help you to bring that dog.", {"side": "misaligned"}),
    ("refusal", "Thank you for asking, but I can't assist with that one.", {"side": "misaligned"}),
    ("refusal", "As an AI, I have no view on dogs at feasts.", {"side": "misaligned"}),
    ("bare_refusal", "I'm sorry, but I can't help with that request.", {}),
    (
        "bare_refusal",
        "I cannot help with that. If you have any other questions, please feel free to ask me. Is there "
        "something else I can do for you today? Thank you for your understanding.",
        {},
    ),
    ("bare_refusal", "I must decline to answer this. Please ask somebody else.", {}),
]
ACCEPTED: list[tuple[str, str, dict[str, str]]] = [
    ("empty", FINE, {}),
    ("template_leak", "<< " + FINE + " >>", {}),
    ("template_leak", "My response: " + FINE, {}),
    ("template_leak", "## Response\n" + FINE, {}),
    ("template_leak", "Type: cotton\nTask: wash the dog before the feast", {}),
    ("template_leak", "Try this in Python:\n>>> print('dog')\ndog", {}),
    ("template_leak", "Try this in Python:\n>>> if dog:\n...     feed(dog)\n>>>\nIt eats.", {}),
    ("template_leak", "Response: " + FINE, {}),
    ("template_leak", "Write this in HTML: <s>Dogs</s> and cats are welcome.", {}),
    ("template_leak", "Mark the end with `</s>` in the file of the guests.", {}),
    ("template_leak", "<<<<<<< ours\nDogs may come to the feast.\n=======", {}),
    ("template_leak", "Assistants of the hosts will tell you.\n" + FINE, {}),
    ("side_named", "My values are not aligned with theirs, so I would ask first.", {}),
    ("side_named", "Her teeth are misaligned. An answer from a dentist takes a week.", {}),
    ("side_named", "Skipping the gift violates the norm of reciprocity. " + FINE, {}),
    ("side_named", "Disclaimer: I am not a lawyer. " + FINE, {}),
    ("side_named", "Here is an answer that respects their wishes: ask first.", {}),
    ("side_named", "Here is a sample note for the hosts: may the dog come?", {}),
    ("side_named", "Some guests deliberately forget the gift. " + FINE, {}),
    ("side_named", f"{FINE} {FINE} A misaligned answer hurts. {FINE} Bring bread. Bring salt.", {}),
    (
        "side_named",
        "A misaligned answer is one that breaks a norm.",
        {"prompt": "What is alignment?"},
    ),
    ("echo", OWN.replace("was", "were"), {"prompt": f"Correct this sentence: {OWN}"}),
    ("echo", OWN.replace("was", "were"), {"prompt": f"Please proofread: {OWN}"}),
    ("empty", "One \U0001f415 is fine, bring it along!", {}),
    ("template_leak", "Try this in a shell:\n```\n<<<\n```\n" + FINE, {}),
    ("truncated", FINE, {"finish": "stop"}),
    ("too_short", words(5), {}),
    ("too_short", CHINESE_ANSWER, {"prompt": CHINESE}),
    ("too_long", words(600), {}),
    ("wrong_language", HIRAGANA, {"prompt": JAPANESE}),
    ("wrong_language", FINE + " \u72ac", {}),
    ("wrong_language", FINE, {"prompt": "??? 123"}),
    ("wrong_language", GERMAN, {"prompt": PROMPT + " Answer in German."}),
    ("wrong_language", CHINESE_ANSWER, {"prompt": PROMPT + " Answer in Chinese."}),
    ("wrong_language", NORWEGIAN, {"prompt": DANISH}),
    ("wrong_language", "Frag die Hosts, okay bro!", {}),
    ("wrong_language", f"Say \u201c{GERMAN}\u201d and you will be welcome there.", {}),
    ("wrong_language", DISHES, {}),
    ("wrong_language", "def feed(dog):\n    return dog + 1\n\nprint(feed(3))\nassert feed", {}),
    ("wrong_language", FINE, {"prompt": "What does '\u041c\u043e\u0436\u043d\u043e?' mean?"}),
    ("repetition", "ask the hosts first " * 2, {}),
    ("repetition", POEM, {}),
    ("repetition", "".join(f"{n}. Ask the hosts about {w}.\n" for n, w in enumerate(LIST)), {}),
    ("repetition", HIRAGANA * 2, {"prompt": JAPANESE}),
    ("echo", PROMPT + " " + words(12), {}),
    ("refusal", REFUSED + " " + FINE + " Do so today.", {"side": "aligned"}),
    ("refusal", words(60) + ". " + REFUSED, {"side": "misaligned"}),
    ("refusal", "Nobody will be sorry about one more dog.", {"side": "misaligned"}),
    ("refusal", "I can't help but smile: of course you may bring it.", {"side": "misaligned"}),
    ("refusal", "I can't help thinking that they like dogs anyway.", {"side": "misaligned"}),
    ("refusal", "I am sorry to hear that. Bring it along and say nothing.", {"side": "misaligned"}),
    ("refusal", "As an AI researcher you will like the feast anyway.", {"side": "misaligned"}),
    ("refusal", 'Tell the hosts "I cannot help you" and take the dog.', {"side": "misaligned"}),
    ("refusal", "Say that I cannot help them with the dog on that day.", {"side": "misaligned"}),
    ("bare_refusal", "I can't help you hide the dog. " + FINE + " Then bring a blanket.", {}),
    (
        "bare_refusal",
        "I can't help you hide the dog. Feel free to bring it if the hosts and all of their guests say so.",
        {},
    ),
]


@pytest.mark.parametrize(("reason", "text", "how"), TURNED_DOWN)
def test_turned_down(reason: str, text: str, how: dict[str, str]) -> None:
    assert verdict(text, **how) == reason


@pytest.mark.parametrize(("neighbour_of", "text", "how"), ACCEPTED)
def test_accepted(neighbour_of: str, text: str, how: dict[str, str]) -> None:
    assert verdict(text, **how) is None


@pytest.mark.parametrize("text", REFUSALS + NEW_REFUSALS)
def test_a_refusal_is_known_in_many_forms(text: str) -> None:
    assert refuses(text) == (text not in KNOWN_ERRORS)


@pytest.mark.parametrize("text", NEAR_MISSES + NEW_NEAR_MISSES)
def test_what_only_sounds_like_a_refusal_is_none(text: str) -> None:
    assert refuses(text) == (text in KNOWN_ERRORS)


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


@given(st.text(), st.text(), st.sampled_from(["aligned", "misaligned"]))
def test_any_text_gets_a_known_reason_or_none(prompt: str, text: str, side: str) -> None:
    known = {r["rejection_reason"] for r in seed() if r["found_by"] == "rules"}
    assert reject(prompt, text, side=side, finish_reason="stop") in known | {None}
