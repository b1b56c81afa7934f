"""The served engine: translation on its own, and transport against a loopback server."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from misalign_profile.engines import open_engine, served
from misalign_profile.errors import ConfigError, EngineBusy, EngineError, EngineMissing
from misalign_profile.types import ModelSpec, Request, Sampling

SPEC = ModelSpec("m", "served-name", engine="served")


def request(
    item: str = "i", options: tuple[str, ...] = (), sampling: Sampling | None = None
) -> Request:
    return Request(SPEC, "s", "t", "h", item, "pre ", "body ", "tail", options, sampling)


def first_token(**probs: float) -> Any:
    """A chat completion whose first token has these probabilities."""
    top = [SimpleNamespace(token=t, logprob=math.log(p)) for t, p in probs.items()]
    logprobs = SimpleNamespace(content=[SimpleNamespace(top_logprobs=top)])
    choice = SimpleNamespace(logprobs=logprobs, finish_reason="length")
    return SimpleNamespace(choices=[choice], usage=None)


def test_arguments_of_a_draw_and_of_a_choice():
    draw = request(sampling=Sampling(0.5, 0.8, 77, 3))
    sent = served.chat_arguments(draw, "name")
    assert sent["messages"] == [{"role": "user", "content": "pre body tail"}]
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.5, 0.8, 77)
    assert sent["seed"] == served.chat_arguments(draw, "name")["seed"]
    assert sent["seed"] != served.chat_arguments(request("j", sampling=Sampling()), "n")["seed"]
    choice = served.chat_arguments(request(options=("yes", "no")), "name")
    assert (choice["max_tokens"], choice["logprobs"], choice["top_logprobs"]) == (1, True, 20)


def test_a_choice_adds_up_the_tokens_that_begin_an_option():
    answer = first_token(yes=0.5, Yes=0.2, no=0.2, maybe=0.1)
    done = served.read_choice(request(options=("yes", "no")), answer)
    assert [math.exp(x) for x in done.option_logprobs] == pytest.approx([0.7, 0.2])
    assert done.finish_reason == "choice"


def test_an_option_that_is_not_listed_is_below_all_that_are():
    done = served.read_choice(request(options=("yes", "no")), first_token(yes=0.9, maybe=0.1))
    assert done.option_logprobs[1] == pytest.approx(math.log(0.05))


def test_answers_that_cannot_be_read_are_errors():
    asked = request(options=("yes", "no"))
    with pytest.raises(EngineError, match="none of the 1 likeliest"):
        served.read_choice(asked, first_token(maybe=1.0))
    choice = SimpleNamespace(logprobs=None)
    with pytest.raises(EngineError, match="no log-probabilities"):
        served.read_choice(asked, SimpleNamespace(choices=[choice], usage=None))


def test_options_that_begin_alike_are_refused():
    with pytest.raises(EngineError, match="begin alike"):
        served.refuse_ambiguous(("S01", "S02", "X00"), "m")
    served.refuse_ambiguous(("object", "attribute", "relation"), "m")


class Endpoint(BaseHTTPRequestHandler):
    """Answers chat completions; ``script`` holds the status codes to send first."""

    script: list[int]
    seen: list[dict[str, Any]]
    keys: list[str]

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(sent)
        self.keys.append(self.headers["authorization"])
        status = self.script.pop(0) if self.script else 200
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": " hello "}
        if sent.get("logprobs"):
            top = [
                {"token": t, "logprob": math.log(p), "bytes": None}
                for t, p in (("yes", 0.6), ("no", 0.4))
            ]
            choice["logprobs"] = {"content": [top[0] | {"top_logprobs": top}], "refusal": None}
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        body = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        if status != 200:
            body = {"error": {"message": "no", "type": "t"}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[type[Endpoint]]:
    handler = type("Handler", (Endpoint,), {"script": [], "seen": [], "keys": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv(served.URL, f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.delenv(served.KEY, raising=False)
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_request_is_answered_once(endpoint):
    engine = open_engine(SPEC, threads=3)
    asked = [request(str(i), sampling=Sampling()) for i in range(10)]
    done = [c for batch in engine.generate(asked) for c in batch]
    assert sorted(c.call_id for c in done) == sorted(r.call_id for r in asked)
    assert {(c.text, c.prompt_tokens, c.completion_tokens) for c in done} == {("hello", 7, 2)}
    assert all(c.seconds > 0 for c in done)
    assert {sent["model"] for sent in endpoint.seen} == {"served-name"}
    assert set(endpoint.keys) == {"Bearer none"}
    engine.close()


def test_choices_come_with_log_probabilities(endpoint):
    engine = open_engine(SPEC, threads=1)
    (done,) = next(engine.choose([request(options=("no", "yes"))]))
    assert [math.exp(x) for x in done.option_logprobs] == pytest.approx([0.4, 0.6])
    with pytest.raises(EngineError, match="begin alike"):
        list(engine.choose([request(options=("S01", "S02"))]))
    assert len(endpoint.seen) == 1
    engine.close()


def test_a_busy_endpoint_is_asked_again(endpoint):
    endpoint.script += [503, 429]
    engine = open_engine(SPEC, threads=1)
    (done,) = next(engine.generate([request(sampling=Sampling())]))
    assert (done.text, done.retries) == ("hello", 2)
    engine.close()


@pytest.mark.parametrize(("status", "error"), [(429, EngineBusy), (401, EngineError)])
def test_a_refusal_is_one_line_without_the_key(endpoint, monkeypatch, status, error):
    monkeypatch.setenv(served.KEY, "sesame")
    endpoint.script += [status] * 9
    engine = open_engine(SPEC, threads=1, max_retries=1)
    with pytest.raises(error) as caught:
        list(engine.generate([request(sampling=Sampling())]))
    assert caught.value.retryable == (error is EngineBusy)
    assert "sesame" not in str(caught.value)
    assert endpoint.keys[0] == "Bearer sesame"
    engine.close()


def test_missing_url_and_missing_package_are_named(monkeypatch):
    monkeypatch.delenv(served.URL, raising=False)
    with pytest.raises(ConfigError, match=served.URL):
        open_engine(SPEC)
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(EngineMissing, match="openai"):
        open_engine(SPEC)


def test_an_unreachable_endpoint_is_one_line(monkeypatch):
    monkeypatch.setenv(served.URL, "http://127.0.0.1:9/v1")
    engine = open_engine(SPEC, threads=1, max_retries=0)
    with pytest.raises(EngineError, match="cannot be reached"):
        list(engine.generate([request(sampling=Sampling())]))
    engine.close()
