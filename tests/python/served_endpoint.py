"""An OpenAI-compatible endpoint for tests, on loopback: honest, unable or broken as told.

What it would answer comes from a ``Model``: text so far -> likeliest next tokens. What it can do
comes from ``Able``, what goes wrong from a rule that is told the question and which try it is.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from misalign_profile.engines.served_choice import Place

SLOW = 2.0  # seconds that a slow answer takes
Model = Callable[
    [str, str], list[tuple[str, float]]
]  # question, answer so far -> token, probability
Rule = Callable[[str, int], str | None]  # question, try from 1 -> kind of fault or none
END = ""


def greedy(model: Model, question: str, limit: int, top: int) -> list[Place]:
    """The likeliest answer with the ``top`` likeliest tokens at each place, as servers give it."""
    places: list[Place] = []
    text = ""
    while len(places) < limit:
        ranked = sorted(model(question, text), key=lambda entry: -entry[1])
        listed = tuple((token, math.log(p)) for token, p in ranked if p > 0)[:top]
        places.append(Place(*listed[0], listed))
        if listed[0][0] == END:
            break
        text += listed[0][0]
    return places


def hello(_question: str, so_far: str) -> list[tuple[str, float]]:
    """Says hello, and yes rather than no."""
    return [(END, 1.0)] if so_far else [("hello", 0.5), ("yes", 0.3), ("no", 0.2)]


def yes(_question: str, so_far: str) -> list[tuple[str, float]]:
    return [(END, 1.0)] if so_far else [("yes", 0.6), ("no", 0.3), ("maybe", 0.1)]


@dataclass(frozen=True, slots=True)
class Able:
    """What the endpoint can do. ``top``: alternatives a token; ``strict``: refuses the rest."""

    top: int = 20
    structured_outputs: bool = True
    json_schema: bool = True
    strict: bool = False


@dataclass
class Endpoint:
    """``seen``: bodies of all requests; ``arrivals``: their times; ``injected``: faults by kind."""

    model: Model = yes
    able: Able = Able()
    rule: Rule = lambda _question, _try: None
    headers: dict[str, str] = field(default_factory=dict)  # of 429
    echo: str = ""  # what an error's message repeats
    work: float = 0.0  # seconds
    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    arrivals: dict[str, list[float]] = field(default_factory=dict)
    injected: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    most_busy: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def arrive(self, body: dict[str, Any], key: str) -> str | None:
        """Note a request; returns the fault that it shall meet."""
        question = body["messages"][0]["content"]
        with self.lock:
            self.seen.append(body)
            self.keys.add(key)
            times = self.arrivals.setdefault(question, [])
            times.append(time.monotonic())
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            kind = self.rule(question, len(times))
            if kind:
                self.injected[kind] += 1
            return kind

    def leave(self) -> None:
        with self.lock:
            self.busy -= 1

    def unable(self, body: dict[str, Any]) -> str:
        """The field that a strict endpoint refuses."""
        fields = {
            "top_logprobs": body.get("top_logprobs", 0) <= self.able.top,
            "structured_outputs": self.able.structured_outputs,
            "response_format": self.able.json_schema,
        }
        return next((name for name, can in fields.items() if name in body and not can), "")

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """An honest answer."""
        question = body["messages"][0]["content"]
        places = greedy(self.model, question, body["max_tokens"], body.get("top_logprobs", 1))
        text = "".join(place.token for place in places)
        ended = places[-1].token == END
        if "structured_outputs" in body and self.able.structured_outputs:
            text = body["structured_outputs"]["choice"][-1]
        if "response_format" in body and self.able.json_schema:
            schema = body["response_format"]["json_schema"]["schema"]
            text = json.dumps({"answer": schema["properties"]["answer"]["enum"][-1]})
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if ended else "length",
        }
        if body.get("logprobs") and self.able.top >= body["top_logprobs"]:
            choice["logprobs"] = {"content": [_place(place) for place in places]}
        usage = {"prompt_tokens": 7, "completion_tokens": len(places), "total_tokens": 9}
        return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


def _place(place: Place) -> dict[str, Any]:
    top = [{"token": token, "logprob": logprob} for token, logprob in place.listed]
    return {"token": place.token, "logprob": place.logprob, "top_logprobs": top}


BODIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "schema": lambda answer: answer | {"choices": "none"},
    "no_choices": lambda answer: answer | {"choices": []},
    "no_message": lambda answer: answer | {"choices": [{"index": 0, "finish_reason": "stop"}]},
    "aborted": lambda answer: (
        answer | {"choices": [answer["choices"][0] | {"finish_reason": "abort"}]}
    ),
}


class Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind = self.endpoint.arrive(body, self.headers["authorization"])
        time.sleep(self.endpoint.work)
        self.endpoint.leave()  # before a slow answer: the client has long given it up
        try:
            self.answer(body, kind)
        except OSError:
            self.close_connection = True

    def answer(self, body: dict[str, Any], kind: str | None) -> None:
        refused = self.endpoint.able.strict and self.endpoint.unable(body)
        if refused:
            self.send(400, {"error": {"message": f"unknown field {refused}", "type": "t"}})
        elif kind and kind.isdigit():
            error = {"message": f"no. {self.endpoint.echo}", "type": "t"}
            self.send(int(kind), {"error": error}, self.endpoint.headers)
        else:
            if kind == "timeout":
                time.sleep(SLOW)
            honest = self.endpoint.complete(body)
            data = json.dumps(BODIES[kind](honest) if kind in BODIES else honest).encode()
            half = data[: len(data) // 2]
            if kind == "cut":
                self.head(200, len(data))
                self.wfile.write(half)
                self.wfile.flush()
                self.close_connection = True
            else:
                self.send(200, half if kind == "truncated" else data)

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, len(data), headers or {})
        self.wfile.write(data)

    def head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Serve until the block ends; the address is in ``endpoint.url``."""
    handler = type("BoundHandler", (Handler,), {"endpoint": endpoint})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.request_queue_size = 64
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
