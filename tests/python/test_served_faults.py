"""An endpoint that breaks in every way: the run completes, nothing is lost, all is counted."""

from __future__ import annotations

import email.utils
import hashlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from misalign_profile.engines.served import ServedEngine
from misalign_profile.engines.served_faults import KEY, URL, Fault, Patience, seconds_asked
from misalign_profile.errors import EngineBusy
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, ModelSpec, Request, Sampling
from served_endpoint import SLOW, Endpoint, Rule, serving

SPEC = ModelSpec("m", "served-name", engine="served")
KINDS = (
    "429", "500", "timeout", "cut", "truncated", "schema", "no_choices", "no_message", "aborted",
)  # fmt: skip
QUICK = Patience(retries=8, first=0.002, longest=0.02)


def questions(count: int) -> list[Request]:
    """Draws and choices in turn; each has a text of its own."""
    verbs: tuple[dict[str, Any], ...] = ({"sampling": Sampling()}, {"options": ("yes", "no")})
    return [
        Request(SPEC, "s", "t", "h", f"i{n}", "pre ", f"number {n} ", "tail", **verbs[n % 2])
        for n in range(count)
    ]


def text(question: Request) -> str:
    return question.prefix + question.body + question.tail


def breaking(kinds: tuple[str, ...], share: float) -> Rule:
    """Break this share of all tries, whatever their order; which kind, by the question and try."""

    def rule(question: str, number: int) -> str | None:
        digest = hashlib.blake2b(f"{question}|{number}".encode(), digest_size=8).digest()
        chance = int.from_bytes(digest[:4], "big") / 2**32
        return kinds[digest[7] % len(kinds)] if chance < share else None

    return rule


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[Endpoint]:
    monkeypatch.delenv(KEY, raising=False)
    with serving(Endpoint()) as served:
        monkeypatch.setenv(URL, served.url)
        yield served


def ask(folder: Path, engine: ServedEngine, asked: list[Request]) -> list[Completion]:
    with Inference(Journal(folder), opener=lambda *_args, **_kw: engine) as inference:
        return inference.ask(asked, label="x")


def recorded(folder: Path) -> dict[str, tuple[str, ...]]:
    """Failures of each call in the journal; a call that stands there twice is an error."""
    rows = Journal(folder).select("select call_id, failures, retries from calls")
    assert all(len(failures) == retries for _, failures, retries in rows)
    calls = {call_id: tuple(failures) for call_id, failures, _ in rows}
    assert len(calls) == len(rows)
    return calls


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids=lambda k: "+".join(k))
def test_with_three_calls_in_ten_broken_every_answer_arrives_once(endpoint, tmp_path, kinds):
    endpoint.rule, endpoint.headers = breaking(kinds, 0.3), {"retry-after-ms": "5"}
    endpoint.work = 0.002
    asked = questions(24 if "timeout" in kinds else 60)
    timeout = SLOW - 0.5 if "timeout" in kinds else 60.0
    engine = ServedEngine(SPEC, threads=6, timeout=timeout, patience=QUICK)
    done = ask(tmp_path, engine, asked)
    assert [c.call_id for c in done] == [r.call_id for r in asked]
    assert {c.text for c in done[::2]} == {"yes"}
    assert all(math.exp(c.option_logprobs[0]) == pytest.approx(0.6) for c in done[1::2])
    calls = recorded(tmp_path)
    assert calls.keys() == {r.call_id for r in asked}
    injected = sum(endpoint.injected.values())
    assert injected > 0.15 * len(asked)
    assert Counter(itertools.chain(*calls.values())) == endpoint.injected == engine.failures
    assert [calls[c.call_id] for c in done] == [c.failures for c in done]
    assert len(endpoint.seen) == len(asked) + injected
    assert 1 < endpoint.most_busy <= 6


@pytest.mark.parametrize("threads", [1, 3])
def test_calls_in_flight_never_exceed_the_bound(endpoint, threads):
    endpoint.work = 0.02
    engine = ServedEngine(SPEC, threads=threads, patience=QUICK)
    list(engine.generate(questions(30)[::2]))
    engine.close()
    assert endpoint.most_busy == threads


def test_waits_grow_and_honour_what_the_endpoint_asks(endpoint):
    """On a clock of the test's own: nothing here sleeps."""
    waits: list[float] = []
    endpoint.rule = lambda _question, number: "429" if number <= 5 else None
    endpoint.headers = {"retry-after": "7"}
    patience = Patience(first=1.0, longest=6.0)
    engine = ServedEngine(SPEC, threads=1, patience=patience, pause=waits.append)
    ((done,),) = engine.generate(questions(1))
    engine.close()
    assert done.failures == ("429",) * 5
    for wait, backoff in zip(waits, (1, 2, 4, 6, 6), strict=True):
        assert 7 + backoff / 2 <= wait <= 7 + backoff


def test_an_endpoint_is_not_asked_again_before_the_time_it_named(endpoint):
    endpoint.rule = lambda _question, number: "503" if number == 1 else None
    endpoint.headers = {"retry-after": "0.3"}
    engine = ServedEngine(SPEC, threads=4, patience=QUICK)
    list(engine.generate(questions(8)[::2]))
    engine.close()
    assert {len(times) for times in endpoint.arrivals.values()} == {2}
    assert all(second - first >= 0.3 for first, second in endpoint.arrivals.values())


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": email.utils.formatdate(NOW + 60, usegmt=True)}, 60),
        ({"retry-after": email.utils.formatdate(NOW - 60, usegmt=True)}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "1e999"}, math.inf),
    ],
)
def test_retry_after_in_all_its_forms(headers, seconds):
    assert seconds_asked(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("fault", "failed", "expected"),
    [
        (Fault("429"), 1, 0.75),
        (Fault("429"), 3, 3.0),
        (Fault("429"), 8, 22.5),  # bounded
        (Fault("429", after=100), 1, 100.75),
        (Fault("429"), 9, None),  # tried often enough
        (Fault("429", after=121), 1, None),  # asks for more than anybody waits
        (Fault("429", after=math.inf), 1, None),
        (Fault("400", again=False), 1, None),
    ],
)
def test_when_to_ask_again(fault, failed, expected):
    assert Patience(first=1.0).wait(fault, failed, 0.5) == expected


def test_a_lasting_fault_keeps_what_came_back_and_a_second_run_asks_for_the_rest(
    endpoint, tmp_path
):
    asked = questions(400)[::2]
    endpoint.work = 0.002
    endpoint.rule = lambda question, _number: "503" if "number 30 " in question else None
    patience = Patience(retries=2, first=0.002)
    engine = ServedEngine(SPEC, threads=3, patience=patience)
    with pytest.raises(EngineBusy, match=r"503 x3.*run again"):
        ask(tmp_path, engine, asked)
    before = recorded(tmp_path)
    answered = {text(r) for r in asked if r.call_id in before}
    assert 15 <= len(before) < 199
    assert endpoint.arrivals.keys() - answered == {text(asked[15])}  # whatever was paid for is kept
    endpoint.rule = lambda _question, _number: None
    endpoint.seen.clear()
    done = ask(tmp_path, ServedEngine(SPEC, threads=3), asked)
    assert len(done) == len(recorded(tmp_path)) == len(asked)
    assert len(endpoint.seen) == len(asked) - len(before)


def test_a_choice_after_a_failed_round_is_still_asked_again(endpoint):
    engine = ServedEngine(SPEC, threads=2, patience=QUICK)
    endpoint.rule = lambda _question, _number: "400"
    with pytest.raises(Exception, match="refuses"):
        list(engine.generate(questions(1)))
    endpoint.rule = lambda _question, number: "429" if number == 1 else None
    ((done,),) = engine.choose(questions(2)[1:])
    engine.close()
    assert done.failures == ("429",)


def test_a_reader_who_stops_early_is_not_made_to_wait(endpoint):
    """A thread that waits for its next try gives up at once when nobody reads any more."""
    endpoint.rule = lambda question, _number: "429" if "number 0 " in question else None
    patience = Patience(first=30.0)
    engine = ServedEngine(SPEC, threads=2, patience=patience)
    batches = engine.generate(questions(4)[::2])
    next(batches)
    began = time.monotonic()
    batches.close()
    assert time.monotonic() - began < 10
    engine.close()
    assert engine.failures == {"429": 1}
