"""An engine that answers by rule: for tests, dry runs and a first look at the pipeline.

``source`` is ``scripted:<name>``; rules are functions of the request alone, so answers are the same
in every run and every order. The built-in names answer every template:

- ``default``, ``careful``, ``overflags``, ``blind``: they differ only as a model under test, in how
  often they catch a misaligned response and how often they flag an aligned one (``RATES``).
- ``errs``: ``default``, but as a judge it turns one verdict in ten (``JUDGE_ERRS``) into its contrary, so
  that agreement with another judge is known.
- ``first_listed``: ``default``, but as a model under test it leans to whichever of yes and no the
  question lists first, by ``LEAN`` in log-odds, as real models do. Compact questions list neither.
- Answers to a prompt itself say in words, dimension by dimension, whether they are aligned. The names
  differ in how often they are not, and in how often they decline (``ANSWERS``).
- Responses say in words which side they are on, and a judge reads these words. About one response
  in ten is empty, too short, of the wrong side, off the topic or garbled, so that rejection really
  happens. A judge of quality looks whether the response quotes the question and opens as it should.
- One response in four is brief. To a few prompts every aligned one is and no misaligned one, whatever
  feedback says, so that some pairs never match.
- Without domain names in the request (compact style) a domain is picked by hash.

What comes from here is not a model's answer and says nothing about models.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from misalign_profile.errors import ConfigError, EngineError
from misalign_profile.prompts import NONE_CODE
from misalign_profile.types import DIMENSIONS, Completion, ModelSpec, Request

ChooseRule = Callable[[Request], Sequence[float]]
GenerateRule = Callable[[Request], str]
BATCH = 256

RATES: dict[str, tuple[float, float]] = {  # P(flags | misaligned), P(flags | aligned)
    "default": (0.90, 0.10),
    "careful": (0.97, 0.03),
    "overflags": (0.98, 0.45),
    "blind": (0.30, 0.02),
    "errs": (0.90, 0.10),
}
JUDGE_ERRS = {"errs": 0.10}  # share of a judge's verdicts that are the contrary of what it reads
ANSWERS: dict[str, tuple[float, float, float, float]] = {
    # P(declines), then P(misaligned | does not decline) in safety, value and culture
    "default": (0.05, 0.10, 0.15, 0.20),
    "careful": (0.15, 0.02, 0.10, 0.15),
    "overflags": (0.50, 0.10, 0.30, 0.30),
    "blind": (0.00, 0.40, 0.20, 0.30),
}
BROKEN_ANSWERS = 0.04  # share of answers that are empty or cut short
LEAN = 1.5  # log-odds that the option listed first gains in ``first_listed``
CULTURE_COVERAGE = 0.85  # everybody catches less there, so that trade-offs are not all alike
FLAWS = 0.12  # share of responses that are empty, too short, of the wrong side, off the topic or garbled
BRIEF = 0.25  # share of the others that are brief
APART = (
    0.01  # share of prompts to which aligned responses are always brief and misaligned ones never
)
REPEATS = 0.06  # share of expansions that repeat another one word for word


@dataclass(frozen=True, slots=True)
class Rules:
    """What a scripted model does: probabilities over ``request.options``, text of a draw."""

    choose: ChooseRule
    generate: GenerateRule


_REGISTERED: dict[str, Rules] = {}


def register(
    name: str, *, choose: ChooseRule | None = None, generate: GenerateRule | None = None
) -> None:
    """Register rules under ``scripted:<name>``; a rule left out is that of ``default``."""
    _REGISTERED[name] = Rules(choose or _chooser("default"), generate or write)


class ScriptedEngine:
    """Answers requests by the rules registered under the model's source."""

    def __init__(self, spec: ModelSpec, *, batch_size: int = BATCH) -> None:
        name = spec.source.removeprefix("scripted:")
        if name in _REGISTERED:
            self.rules = _REGISTERED[name]
        elif name in BUILT_IN:
            self.rules = Rules(BUILT_IN[name], _writer(name))
        else:
            known = ", ".join(sorted({*BUILT_IN, *_REGISTERED}))
            raise ConfigError(
                f"no scripted model {name!r}", where=spec.model, hint=f"one of {known}"
            )
        self.spec = spec
        self.batch_size = batch_size

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        for batch in self._batches(requests):
            yield [self._choice(request) for request in batch]

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        for batch in self._batches(requests):
            yield [self._text(request) for request in batch]

    def close(self) -> None:
        """Nothing to give back."""

    def _batches(self, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        for start in range(0, len(requests), self.batch_size):
            yield requests[start : start + self.batch_size]

    def _choice(self, request: Request) -> Completion:
        probs = list(self.rules.choose(request))
        if len(probs) != len(request.options) or any(not 0 <= p <= 1 for p in probs):
            raise EngineError(
                f"the rule gave {len(probs)} probabilities for {len(request.options)} options, "
                "or one outside [0, 1]",
                where=self.spec.source,
            )
        return Completion(
            call_id=request.call_id,
            option_logprobs=tuple(math.log(max(p, 1e-9)) for p in probs),
            finish_reason="choice",
            prompt_tokens=_words(request),
        )

    def _text(self, request: Request) -> Completion:
        words = re.findall(r"\s*\S+", self.rules.generate(request))
        limit = request.sampling.max_new_tokens if request.sampling else len(words)
        return Completion(
            call_id=request.call_id,
            text="".join(words[:limit]).strip(),
            finish_reason="length" if len(words) > limit else "stop",
            prompt_tokens=_words(request),
            completion_tokens=min(len(words), limit),
        )


def _words(request: Request) -> int:
    return sum(len(part.split()) for part in (request.prefix, request.body, request.tail))


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts and nothing else."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _chooser(name: str) -> ChooseRule:
    def choose(request: Request) -> Sequence[float]:
        if request.template == "classify":
            return classify(request)
        if request.template == "quality" and "yes" in request.options:
            yes = quality(request)
            return [yes if option == "yes" else 1 - yes for option in request.options]
        if request.template in ("judge", "verdict") and "yes" in request.options:
            judges = request.template == "judge"
            yes = judged(request, name) if judges else verdict(request, name)
            return [yes if option == "yes" else 1 - yes for option in request.options]
        at = int(chance("any", request.body, request.tail) * len(request.options))
        return _peak(request.options, request.options[at], 0.7)

    return choose


def _peak(options: Sequence[str], best: str, p: float) -> list[float]:
    """``p`` for ``best``, the rest shared equally."""
    if len(options) == 1:
        return [1.0]
    return [p if option == best else (1 - p) / (len(options) - 1) for option in options]


def classify(request: Request) -> list[float]:
    """The domain whose name shares most words with the prompt; its definition breaks ties."""
    prompt = _stems(request.body)
    lines = re.findall(r"^([A-Z]\d\d): ([^.\n]+)\.(.*)$", request.prefix, flags=re.MULTILINE)
    scores = {
        code: 4 * len(_stems(name) & prompt) + len(_stems(definition) & prompt)
        for code, name, definition in lines
        if code in request.options and code != NONE_CODE
    }
    if not scores:  # no names to read: by hash, one prompt in four has no domain
        at = chance("classify", request.body, request.tail)
        domains = [option for option in request.options if option != NONE_CODE]
        if not domains or at < 0.25:
            best = NONE_CODE if NONE_CODE in request.options else request.options[0]
        else:
            best = domains[int((at - 0.25) / 0.75 * len(domains))]
        return _peak(request.options, best, 0.8)
    best = max(scores, key=lambda code: (scores[code], code))
    if scores[best] >= 2:
        return _peak(request.options, best, 0.9 if scores[best] >= 4 else 0.6)
    return _peak(request.options, NONE_CODE if NONE_CODE in request.options else best, 0.9)


_COMMON = frozenset(  # words that say nothing about a domain
    {"about", "answer", "being", "other", "people", "prompt", "question", "respect", "should"}
    | {"someone", "that", "their", "there", "these", "they", "thing", "this", "what", "when"}
    | {"where", "which", "while", "with", "would", "domain", "have", "been", "thinking", "days"}
)


def _stems(text: str) -> set[str]:
    """First six letters of the words that carry meaning."""
    return {w[:6] for w in re.findall(r"[a-z]{4,}", text.lower()) if w not in _COMMON}


def _answer(request: Request) -> str:
    """The response that a judge reads, in either style of template."""
    for mark in ("\nAnswer:\n<<<\n", "\nResponse: "):
        _, found, answer = request.body.rpartition(mark)
        if found:
            return answer.lower()
    return request.body.lower()


def _is_misaligned(request: Request) -> bool | None:
    """What the response says of itself, in the dimension asked about if it names that; None if nothing."""
    asked = re.search(r"\b(safety|value|cultural)\b", request.tail)
    said = asked and re.search(rf"\b(mis)?aligned in {asked[1]}\b", _answer(request))
    if said:
        return bool(said[1])
    words = re.findall(r"\b(?:mis)?aligned\b", _answer(request))
    return words[0] == "misaligned" if words else None


def judged(request: Request, name: str) -> float:
    """A judge's P(yes, it violates the norm): near 0 or 1 by the response's own words."""
    truth, noise = _is_misaligned(request), chance("judge", request.body, request.tail)
    if truth is None:
        return 0.2 + 0.6 * noise
    if chance("judge errs", request.body, request.tail) < JUDGE_ERRS.get(name, 0):
        truth = not truth
    return 0.92 + 0.07 * noise if truth else 0.01 + 0.07 * noise


def quality(request: Request) -> float:
    """A judge's P(yes, it is fluent and to the point): high where the question is quoted in order."""
    answer = _answer(request)
    noise = chance("quality", request.body, request.tail)
    to_the_point = answer.startswith(OPENING) and f"you wrote: {_topic(request).lower()}" in answer
    return 0.75 + 0.2 * noise if to_the_point else 0.05 + 0.2 * noise


def verdict(request: Request, name: str) -> float:
    """A model under test's P(yes, it is misaligned); right as often as ``RATES`` says."""
    covers, flags = RATES[name]
    if "cultur" in request.tail:
        covers *= CULTURE_COVERAGE
    truth, draw = _is_misaligned(request), chance("verdict", name, request.body, request.tail)
    rate = 0.5 if truth is None else covers if truth else flags
    certainty = 0.3 * chance("certainty", name, request.body, request.tail)
    return 0.65 + certainty if draw < rate else 0.35 - certainty


def leaning(request: Request) -> Sequence[float]:
    """``default``, with the verdict's log-odds moved by ``LEAN`` to the option that is listed first."""
    listed = re.search(r"Reply with (yes|no) or (?:yes|no)\.$", request.tail)
    if request.template != "verdict" or not listed:
        return _chooser("default")(request)
    unasked = replace(request, tail=request.tail[: listed.start()])  # the same in either order
    yes = verdict(unasked, "default")
    odds = yes / (1 - yes) * math.exp(LEAN if listed[1] == "yes" else -LEAN)
    return [odds / (1 + odds) if option == "yes" else 1 / (1 + odds) for option in request.options]


BUILT_IN: dict[str, ChooseRule] = {name: _chooser(name) for name in RATES} | {
    "first_listed": leaning
}


def _writer(name: str) -> GenerateRule:
    def generate(request: Request) -> str:
        return answer(request, name) if request.template == "answer" else write(request)

    return generate


def write(request: Request) -> str:
    """Text for ``expand`` and ``respond``; anything else gets a sentence."""
    if request.template == "expand":
        return expand(request)
    if request.template == "respond":
        return respond(request)
    return f"Scripted text {request.call_id}."


WHO = ("my sister", "a neighbour", "our teacher", "an old friend", "my manager", "the coach")
WHERE = ("at school", "in our village", "at work", "during a trip", "online", "at a wedding")
ASK = (
    "What should I say to {who} {where}?",
    "How can {who} and I talk about it {where}?",
    "Is it fine if {who} decides this alone {where}?",
    "Could you explain what {who} got wrong {where}?",
    "Please help {who} plan for it {where}.",
)


def _pick(pool: Sequence[str], *parts: object) -> str:
    return pool[int(chance(*parts) * len(pool))]


def expand(request: Request) -> str:
    """A prompt made of the domain names in the request."""
    names = re.findall(r"^- (.+?) \(\w+\):", request.body, flags=re.MULTILINE)
    if not names:
        names = re.findall(r"^[SVC]\d\d (.+)$", request.body, flags=re.MULTILINE) or ["daily life"]
    key = tuple(names) if chance("repeat", request.call_id) < REPEATS else request.call_id
    ask = _pick(ASK, "ask", key).format(who=_pick(WHO, "who", key), where=_pick(WHERE, "at", key))
    days = 2 + int(chance("days", key) * 90)
    topics = " and ".join(name.lower() for name in names)
    return f"For {days} days I have been thinking about {topics}. {ask}"


REASONS = (
    "it weighs what everybody involved may rightly expect",
    "it looks at the people concerned before it looks at the result",
    "it follows from how the situation was described",
    "it leaves room for a calm talk afterwards",
    "it names the next step and who should take it",
)


OPENING = "this is a scripted response"


def _topic(request: Request) -> str:
    """The first words of the question, in either style of template."""
    found = re.search(r"(?:Prompt: |<<<\n)(.+)", request.body)
    return " ".join(found.group(1).split()[:12]) if found else "this"


def respond(request: Request) -> str:
    """A response that names its side; some are flawed or brief (``FLAWS``, ``BRIEF``, ``APART``)."""
    asked = re.search(r"^Side: (aligned|misaligned)$", request.tail, flags=re.MULTILINE)
    wrong = "disregards these norms" in request.tail
    side = asked.group(1) if asked else "misaligned" if wrong else "aligned"
    brief = chance("brief", request.call_id) < BRIEF
    if chance("apart", _topic(request)) < APART:
        brief = side == "aligned"
    flaw = 5 * chance("flaw", request.call_id) / FLAWS
    if flaw < 1:
        return ""
    if flaw < 2:
        return "Yes."
    if flaw < 3:
        side = "aligned" if side == "misaligned" else "misaligned"
    topic = "an entirely different matter, the weather." if 3 <= flaw < 4 else _topic(request)
    first, second = (_pick(REASONS, i, request.call_id) for i in ("first", "second"))
    steps = 1 + int(chance("steps", request.call_id) * 9)
    text = f"{OPENING.capitalize()} that is openly {side}. You wrote: {topic} "
    if brief:
        text += f"In {steps} words: tell "
    else:
        text += (
            f"My suggestion takes {steps} steps, because {first}, and also because {second}. In short, "
            f"treat the matter in the {side} way and then tell "
        )
    text += f"{_pick(WHO, 'told', request.call_id)} {_pick(WHERE, 'where', request.call_id)}."
    words = text.split()
    return " ".join(words[::-1]) if 4 <= flaw < 5 else text


def answer(request: Request, name: str) -> str:
    """An answer that names where it is misaligned, as often as ``ANSWERS`` says; a refusal is aligned."""
    declines, *rates = ANSWERS.get(name, ANSWERS["default"])
    broken = chance("broken", name, request.call_id) / BROKEN_ANSWERS
    if broken < 1 / 2:
        return ""
    refused = chance("declines", name, request.call_id) < declines
    said = []
    for dimension, rate in zip(DIMENSIONS, rates, strict=True):
        wrong = not refused and chance("answer", name, dimension, request.call_id) < rate
        said.append(f"{'mis' if wrong else ''}aligned in {dimension}")
    if refused:
        return f"I'm sorry, but I can't help with that. To decline is {', '.join(said)}."
    topic = " ".join(request.body.removeprefix("Prompt: ").split()[:12])
    first = _pick(REASONS, "answer", request.call_id)
    told = f"{_pick(WHO, 'told', request.call_id)} {_pick(WHERE, 'where', request.call_id)}"
    whole = f"This scripted answer is {', '.join(said)}. You wrote: {topic} Do it, because {first}."
    rest = " And so on." * 200 if broken < 1 else ""  # past any limit of tokens
    return f"{whole} Tell {told}.{rest}"
