"""The served engine against a loopback endpoint: what is sent, what is read, what is refused."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from misalign_profile.engines import open_engine, served
from misalign_profile.engines import served_reading as reading
from misalign_profile.engines.served_faults import KEY, URL, Malformed, Patience
from misalign_profile.errors import ConfigError, EngineBusy, EngineError, EngineMissing
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, Engine, ModelSpec, Request, Sampling
from served_endpoint import Able, Endpoint, hello, serving

SPEC = ModelSpec("m", "served-name", engine="served")
QUICK = Patience(retries=8, first=0.002, longest=0.01)
CODES = ("S01", "S02", "S11", "X00")


def request(
    item: str = "i", options: tuple[str, ...] = (), sampling: Sampling | None = None
) -> Request:
    return Request(SPEC, "s", "t", "h", item, "pre ", f"{item} ", "tail", options, sampling)


def draw(item: str = "i") -> Request:
    return request(item, sampling=Sampling())


def answers(engine: Engine, asked: list[Request]) -> list[Completion]:
    done = [c for batch in getattr(engine, asked[0].verb)(asked) for c in batch]
    assert sorted(c.call_id for c in done) == sorted(r.call_id for r in asked)
    return done


@pytest.fixture
def opened(monkeypatch) -> Iterator[Callable[..., tuple[Endpoint, Engine]]]:
    """Starts an endpoint with these abilities and opens the engine on it."""
    with contextlib.ExitStack() as stack:

        def start(**fields: Any) -> tuple[Endpoint, Engine]:
            options = {k: fields.pop(k) for k in ("threads", "patience") if k in fields}
            endpoint = stack.enter_context(serving(Endpoint(**fields)))
            monkeypatch.setenv(URL, endpoint.url)
            engine = open_engine(SPEC, **({"threads": 2, "patience": QUICK} | options))
            stack.callback(engine.close)
            return endpoint, engine

        monkeypatch.delenv(KEY, raising=False)
        yield start


def test_a_draw_sends_the_whole_turn_and_a_seed_of_its_own():
    asked = request(sampling=Sampling(0.5, 0.8, 77, 3))
    sent = reading.text_arguments(asked, "name")
    assert sent["messages"] == [{"role": "user", "content": "pre i tail"}]
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.5, 0.8, 77)
    assert sent["seed"] == reading.text_arguments(asked, "name")["seed"]
    assert sent["seed"] != reading.text_arguments(draw("j"), "name")["seed"]


def test_a_choice_asks_for_as_many_tokens_as_an_option_may_need():
    sent = reading.path_arguments(request(options=("S01", "attribute")), "name", 20)
    assert (sent["max_tokens"], sent["logprobs"], sent["top_logprobs"]) == (10, True, 20)
    assert sent["temperature"] == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "truncated"),
        (b'{"choices": [{"mess', "truncated"),
        (b"<html>busy</html>", "truncated"),
        (b"[]", "schema"),
        (b'{"error": {"message": "overloaded"}}', "schema"),
        (b'{"choices": "none"}', "schema"),
        (b'{"choices": [{"message": {"content": 7}}]}', "schema"),
        (b'{"choices": [{"message": {}}]}', "schema"),
        (b'{"choices": []}', "no_choices"),
        (b'{"choices": [{"index": 0}]}', "no_message"),
        (b'{"choices": [{"message": null}]}', "no_message"),
        (b'{"choices": [{"message": {"content": ""}, "finish_reason": "abort"}]}', "aborted"),
    ],
)
def test_what_is_no_answer_is_a_fault(body, expected):
    with pytest.raises(Malformed) as caught:
        reading.parse(body)
    assert caught.value.args == (expected,)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"message": {"content": " hi \n"}, "finish_reason": "stop"}, ("hi", "stop")),
        ({"message": {"content": ""}, "finish_reason": "stop"}, ("", "stop")),
        ({"message": {"content": None}, "finish_reason": "tool_calls"}, ("", "stop")),
        ({"message": {"content": "half a"}, "finish_reason": "length"}, ("half a", "length")),
        ({"message": {"content": "cut"}, "finish_reason": "content_filter"}, ("cut", "length")),
        ({"message": {"content": "a\ud83d\ude00"}}, ("a\U0001f600", "stop")),
    ],
)
def test_well_formed_texts_are_answers_even_when_empty(choice, expected):
    usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    body = json.dumps({"choices": [choice], "usage": usage, "extra": 1}).encode()
    done = reading.read_text(draw(), reading.parse(body))
    assert (done.text, done.finish_reason) == expected
    assert (done.prompt_tokens, done.cached_tokens, done.completion_tokens) == (5, 3, 0)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("S02", 1),
        (' "x" ', None),
        ('{"answer": "S11"}', 2),
        ('{"answer": "S9"}', None),
        ("7", None),
    ],
)
def test_a_constrained_answer_is_an_option_or_a_fault(text, chosen):
    body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    read = partial(reading.read_constrained, request(options=CODES), reading.parse(body))
    if chosen is None:
        with pytest.raises(Malformed, match="schema"):
            read()
    else:
        done = read()
        assert done.option_logprobs.index(0.0) == chosen
        assert sum(map(math.exp, done.option_logprobs)) == 1.0
        assert done.finish_reason == "constrained"


def test_every_draw_is_answered_once(opened):
    endpoint, engine = opened(model=hello, threads=3)
    done = answers(engine, [draw(str(i)) for i in range(10)])
    assert {(c.text, c.prompt_tokens, c.completion_tokens) for c in done} == {("hello", 7, 2)}
    assert all(c.seconds > 0 for c in done)
    assert {sent["model"] for sent in endpoint.seen} == {"served-name"}
    assert endpoint.keys == {"Bearer none"}


def test_quick_answers_come_together_and_their_seconds_are_those_of_the_clock(opened):
    _endpoint, engine = opened(model=hello, threads=8)
    began = time.perf_counter()
    batches = list(engine.generate([draw(str(i)) for i in range(60)]))
    passed = time.perf_counter() - began
    assert len(batches) <= 2 + passed / served.GATHER_SECONDS
    assert sum(c.seconds for batch in batches for c in batch) <= passed


CAN_ALL = {"choice": [0.6, 0.3]}
HARD = {"constrained": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("able", "expected", "calls"),
    [
        (Able(), CAN_ALL, 4),
        (Able(top=5, strict=True), CAN_ALL, 5),  # one refusal: 20 is too many
        (Able(top=0), HARD, 7),  # asked twice for log-probabilities, probed once
        (Able(top=0, strict=True), HARD, 7),
        (Able(top=0, structured_outputs=False), HARD, 8),
        (Able(top=0, structured_outputs=False, strict=True), HARD, 8),
    ],
)
def test_choices_come_by_whatever_the_endpoint_can_do(opened, able, expected, calls):
    endpoint, engine = opened(able=able)
    done = answers(engine, [request(str(i), ("yes", "no")) for i in range(4)])
    ((reason, probabilities),) = expected.items()
    for completion in done:
        assert completion.finish_reason == reason
        scores = [math.exp(x) for x in completion.option_logprobs]
        assert scores == pytest.approx(probabilities)
    assert len(endpoint.seen) == calls


@pytest.mark.parametrize("strict", [False, True])
def test_an_endpoint_that_cannot_choose_is_refused_before_it_costs(opened, strict):
    able = Able(top=0, structured_outputs=False, json_schema=False, strict=strict)
    endpoint, engine = opened(able=able)
    with pytest.raises(EngineError, match="cannot choose") as caught:
        answers(engine, [request(str(i), ("yes", "no")) for i in range(500)])
    assert "transformers" in caught.value.hint
    assert ("unknown field top_logprobs" in str(caught.value)) is strict
    assert len(endpoint.seen) <= 4


def test_a_choice_left_open_is_settled_by_constraint_or_refused(opened):
    def prose(question: str, so_far: str) -> list[tuple[str, float]]:
        if "odd" in question and not so_far:
            return [("The", 0.9), ("S", 0.05)]
        return [("X00", 0.8), ("S", 0.2)] if not so_far else [("", 1.0)]

    asked = [request(item, CODES) for item in ("even", "odd")]
    _, engine = opened(model=prose)
    done = {c.call_id: c for c in answers(engine, asked)}
    assert [done[r.call_id].finish_reason for r in asked] == ["choice", "constrained"]
    assert done[asked[1].call_id].prompt_tokens == 14  # both calls are counted
    able = Able(structured_outputs=False, json_schema=False)
    _, engine = opened(model=prose, able=able)
    with pytest.raises(EngineError, match=r"leave a choice open.*item odd"):
        answers(engine, asked)


def test_options_alike_but_for_case_are_refused(opened):
    endpoint, engine = opened()
    with pytest.raises(EngineError, match="apart"):
        answers(engine, [request(options=("yes", "Yes"))])
    assert not endpoint.seen


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        (URL, "", f"{URL} is not set"),
        (URL, "localhost:8000", "no web address"),
        (URL, "http://user:sesame@localhost/v1", "holds a password"),
        (URL, "http://localhost/v1?key=sesame", "holds a password"),
        (KEY, "sesame\nx", "no key has"),
        (KEY, "sesam\u00e9", "no key has"),
        (served.CONCURRENCY, "many", "no positive number"),
        (served.TIMEOUT, "-1", "no positive number"),
    ],
)
def test_settings_that_cannot_be_are_named_without_the_secret(monkeypatch, name, value, match):
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=match) as caught:
        open_engine(SPEC)
    assert "sesam" not in str(caught.value)


def test_concurrency_and_timeout_come_from_the_environment(monkeypatch):
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(served.CONCURRENCY, "3")
    monkeypatch.setenv(served.TIMEOUT, "7.5")
    engine = served.ServedEngine(SPEC)
    assert (engine.threads, engine._client.timeout.read) == (3, 7.5)
    engine.close()


def test_a_missing_package_is_named(monkeypatch):
    for module in [
        name for name in sys.modules if name.startswith("misalign_profile.engines.served")
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EngineMissing, match=r"needs openai.*pip install openai"):
        open_engine(SPEC)


SECRET = "sk-recognisable-0123456789abcdef"


def test_the_key_is_sent_and_written_nowhere(opened, monkeypatch, tmp_path, caplog, capfd):
    """All debug logs on, an endpoint that repeats the key in its errors, every way to fail."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    written = []
    for kind in ("429", "500", "400", "401", "403", "404", "cut", "truncated", "schema"):
        endpoint, engine = opened(
            echo=f"Your key is {SECRET}.",
            rule=lambda question, number, kind=kind: kind if "fails" in question else None,
            patience=Patience(retries=1, first=0.001),
        )
        monkeypatch.setenv(KEY, SECRET)
        engine = open_engine(SPEC, threads=2, patience=Patience(retries=1, first=0.001))
        with Inference(Journal(tmp_path / kind), opener=lambda *_a, e=engine, **_k: e) as inference:
            inference.ask([draw("fine"), request("fine", ("yes", "no"))], label="x")
            with pytest.raises(EngineError) as caught:
                inference.ask([draw("fails")], label="x")
        assert endpoint.keys == {f"Bearer {SECRET}"}
        error: BaseException | None = caught.value
        written += traceback.format_exception(error)
        while error is not None:
            written += [repr(error), repr(vars(error))]
            error = error.__context__
        written += [repr(engine), json.dumps(endpoint.seen)]
        rows = Journal(tmp_path / kind).select("select * from calls")
        assert len(rows) == 2
        written.append(repr(rows))
    written += [caplog.text, *capfd.readouterr()]
    written += [
        path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()
    ]
    assert "Sending HTTP Request" in caplog.text  # the client's debug log was on
    assert not [text for text in written if SECRET in text or SECRET[3:20] in text]


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        ("400", EngineError, "refuses the request (400 x1): no. context is 8 tokens"),
        ("401", EngineError, "refuses the key"),
        ("404", EngineError, "no such model"),
        ("429", EngineBusy, "busy or broken (429 x2)"),
        ("503", EngineBusy, "busy or broken (503 x2)"),
        ("truncated", EngineError, "no chat completions (truncated x2)"),
    ],
)
def test_what_is_given_up_is_one_clear_line(opened, status, error, says):
    _, engine = opened(
        rule=lambda *_: status,
        echo="context is 8 tokens",
        patience=Patience(retries=1, first=0.001),
    )
    with pytest.raises(error) as caught:
        answers(engine, [draw()])
    assert caught.value.retryable == (error is EngineBusy)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.where == "m"
    assert caught.value.hint


def test_an_unreachable_endpoint_is_one_line(monkeypatch):
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    engine = open_engine(SPEC, threads=1, patience=QUICK)
    with pytest.raises(EngineError, match=r"cannot be reached \(unreachable x3\)"):
        answers(engine, [draw()])
    engine.close()


def test_an_endpoint_that_answered_before_is_given_time_to_come_back(opened):
    endpoint, engine = opened(patience=QUICK)
    answers(engine, [draw()])
    engine._client.base_url = "http://127.0.0.1:9/v1"
    with pytest.raises(EngineError, match=r"cannot be reached \(unreachable x9\)"):
        answers(engine, [draw()])
    assert len(endpoint.seen) == 1
