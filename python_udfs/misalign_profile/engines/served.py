"""Ask a model that somebody else serves, over the OpenAI chat protocol.

``MISALIGN_SERVED_URL`` is the base URL, ``MISALIGN_SERVED_KEY`` the key; neither is stored, logged
or named in an error. ``MISALIGN_SERVED_CONCURRENCY`` and ``MISALIGN_SERVED_TIMEOUT`` (seconds)
change the defaults. This file is the transport; ``served_reading`` translates, ``served_faults``
decides what is asked again. Knows nothing about templates, journals or dbt.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import openai

from misalign_profile.engines import positive_number
from misalign_profile.engines import served_reading as reading
from misalign_profile.engines.served_faults import (
    KEY,
    URL,
    Failure,
    Fault,
    Malformed,
    Patience,
    error_of,
    fault_of,
)
from misalign_profile.errors import ConfigError, EngineError
from misalign_profile.types import Completion, ModelSpec, Request

CONCURRENCY, TIMEOUT = "MISALIGN_SERVED_CONCURRENCY", "MISALIGN_SERVED_TIMEOUT"
UNABLE = ("no_logprobs", "unconstrained", "400", "422", "501")  # the endpoint cannot do it at all
GATHER_SECONDS = 0.25
PROBE = "Write one sentence about the sea."
PROBE_OPTIONS = ("QX7", "ZK4")


class ServedEngine:
    """A bounded number of concurrent calls to one OpenAI-compatible endpoint.

    ``threads``: calls in flight (16); ``timeout``: seconds without a byte (120); ``patience``: when
    to ask again; ``pause``: how a thread waits, in seconds. ``failures`` counts failed tries by
    kind, over the engine's life. Raises ``ConfigError`` for an unusable address or key.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        threads: int | None = None,
        timeout: float | None = None,
        patience: Patience | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.spec = spec
        self.threads = threads or max(1, int(positive_number(CONCURRENCY, 16, spec.model)))
        self.patience = patience or Patience()
        self.failures: Counter[str] = Counter()
        self._pause = pause
        self._met = False  # the endpoint has answered something
        self._stop = threading.Event()
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._top: int | None = None  # alternatives a token; 0: no log-probabilities; None: unknown
        self._constraints: list[reading.Constraint] | None = None
        self._key = _key(spec)
        seconds = timeout or positive_number(TIMEOUT, 120, spec.model)
        self._client = openai.OpenAI(
            base_url=_address(spec),
            api_key=self._key or "none",
            timeout=openai.Timeout(seconds, connect=min(seconds, 10.0)),
            max_retries=0,  # asking again is decided in one place, and counted
        )

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with log-probabilities over the options.

        By the top log-probabilities along the greedy answer (``served_choice.score_path``); where
        the endpoint gives none, or they leave a choice open, by an answer constrained to the
        options: 0 for the one taken, ``FLOOR`` for the others, ``finish_reason`` "constrained". An
        endpoint that can do neither is refused after the first request.
        """
        for options in {request.options for request in requests}:
            reading.refuse_alike(options, self.spec.model)
        return self._choose_all(requests)

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with the served model's text; the seed is sent, honoured or not."""
        return self._ask_all(requests, self._generate)

    def close(self) -> None:
        self._client.close()

    def _choose_all(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        if self._top is None and requests:
            self._stop = threading.Event()
            yield [self._probe(requests[0])]
            requests = requests[1:]
        yield from self._ask_all(requests, self._choose)

    def _ask_all(
        self, requests: Sequence[Request], ask: Callable[[Request], Completion]
    ) -> Iterator[list[Completion]]:
        """Yield what is ready, gathered for a moment since each yield becomes a journal segment.

        A completion's seconds are its share of the time that passed, however many were in flight.
        After the first failure nothing new is asked; what is under way is waited for and yielded,
        since it is paid for, then the failure is raised.
        """
        self._stop = stop = threading.Event()
        waiting = iter(requests)
        flying: set[Future[Completion]] = set()
        failure: BaseException | None = None
        gathered: list[Completion] = []
        began = time.perf_counter()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="served")
        try:
            while True:
                if failure is None:
                    for request in islice(waiting, 2 * self.threads - len(flying)):
                        flying.add(pool.submit(ask, request))
                passed = time.perf_counter() - began
                if gathered and (passed >= GATHER_SECONDS or not flying or failure is not None):
                    yield [replace(c, seconds=passed / len(gathered)) for c in gathered]
                    gathered, began = [], time.perf_counter()
                if not flying:
                    break
                patience = max(0.0, GATHER_SECONDS - passed) if gathered else None
                ready, flying = wait(flying, patience, return_when=FIRST_COMPLETED)
                gathered += [future.result() for future in ready if future.exception() is None]
                failure = failure or next((e for f in ready if (e := f.exception())), None)
                if failure is not None:
                    stop.set()
                    flying = {future for future in flying if not future.cancel()}
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        if failure is not None:
            raise failure

    def _generate(self, request: Request) -> Completion:
        arguments = reading.text_arguments(request, self.spec.source)
        return self._settled(self._call(request, arguments, reading.read_text))

    def _choose(self, request: Request) -> Completion:
        if not self._top:
            return self._constrained(request, "it gives no log-probabilities")
        return self._decided(request, self._by_path(request, self._top))

    def _probe(self, request: Request) -> Completion:
        """Answer the first request and learn what the endpoint can do. Raises ``EngineError``."""
        why = "it gives no log-probabilities"
        for top in reading.TOP_LOGPROBS:
            outcome = self._by_path(request, top)
            if isinstance(outcome, Completion) or outcome.fault.kind not in UNABLE:
                done = self._decided(request, outcome)
                self._top = top
                return done
            if outcome.fault.detail:
                why = f"asked for log-probabilities it says: {outcome.fault.detail}"
        done = self._constrained(request, why)
        self._top = 0
        return done

    def _by_path(self, request: Request, top: int) -> Completion | Failure:
        arguments = reading.path_arguments(request, self.spec.source, top)
        return self._call(request, arguments, reading.read_path)

    def _decided(self, request: Request, outcome: Completion | Failure) -> Completion:
        """The choice by log-probabilities, or a constrained one where they leave it open."""
        first = self._settled(outcome)
        if first.option_logprobs:
            return first
        second = self._constrained(request, "the likeliest tokens leave a choice open")
        return replace(
            second,
            prompt_tokens=first.prompt_tokens + second.prompt_tokens,
            cached_tokens=first.cached_tokens + second.cached_tokens,
            completion_tokens=first.completion_tokens + second.completion_tokens,
            seconds=first.seconds + second.seconds,
            retries=first.retries + second.retries,
            failures=first.failures + second.failures,
        )

    def _constrained(self, request: Request, why: str) -> Completion:
        constraint = self._constraint(request)
        if constraint is None:
            raise EngineError(
                f"the endpoint cannot choose: {why}, and it cannot be held to the options",
                where=f"{self.spec.model}, item {request.item}",
                hint="serve the model with vLLM, SGLang or llama.cpp (a reasoning model with "
                "thinking off), or use engine 'transformers' for this role",
            )
        arguments = reading.constrained_arguments(request, self.spec.source, constraint)
        return self._settled(self._call(request, arguments, reading.read_constrained))

    def _constraint(self, request: Request) -> reading.Constraint | None:
        """How this endpoint can be held to options; found once, with a question of no interest."""
        with self._lock:
            if self._constraints is None:
                probe = replace(request, prefix="", body=PROBE, tail="", options=PROBE_OPTIONS)
                able = []
                for constraint in reading.CONSTRAINTS:
                    arguments = reading.constrained_arguments(probe, self.spec.source, constraint)
                    outcome = self._call(probe, arguments, reading.read_probe)
                    if isinstance(outcome, Completion):
                        able.append(constraint)
                        break
                    if outcome.fault.kind not in UNABLE:
                        self._settled(outcome)
                self._constraints = able
        return next(iter(self._constraints), None)

    def _settled(self, outcome: Completion | Failure) -> Completion:
        if isinstance(outcome, Failure):
            raise error_of(outcome, self.spec.model)
        return outcome

    def _call(
        self, request: Request, arguments: dict[str, Any], read: reading.Reader
    ) -> Completion | Failure:
        """Ask until there is an answer or patience ends; count what went wrong."""
        kinds: tuple[str, ...] = ()
        while True:
            outcome = self._try(request, arguments, read)
            if isinstance(outcome, Completion):
                self._met = True
                return replace(outcome, retries=len(kinds), failures=kinds)
            kinds += (outcome.kind,)
            with self._counting:
                self.failures[outcome.kind] += 1
            self._met = self._met or outcome.kind != "unreachable"
            seconds = self.patience.wait(outcome, len(kinds), random.random(), met=self._met)
            if seconds is None or self._stop.is_set():
                return Failure(outcome, kinds)
            (self._pause or self._stop.wait)(seconds)
            if self._stop.is_set():
                return Failure(outcome, kinds)

    def _try(
        self, request: Request, arguments: dict[str, Any], read: reading.Reader
    ) -> Completion | Fault:
        """One call. What goes wrong comes back as a value: an exception would carry the key."""
        began = time.perf_counter()
        try:
            raw = self._client.chat.completions.with_raw_response.create(**arguments)
            done = read(request, reading.parse(raw.content))
        except (openai.APIError, Malformed) as error:
            return fault_of(error, self._key, time.time())
        return replace(done, seconds=time.perf_counter() - began)


def _address(spec: ModelSpec) -> str:
    url = os.environ.get(URL, "").strip()
    if not url:
        raise ConfigError(
            f"{URL} is not set", where=spec.model, hint=f"export {URL}=http://host:8000/v1"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{URL} is no web address", where=spec.model, hint=f"export {URL}=http://host:8000/v1"
        )
    if parts.query or "@" in parts.netloc:  # addresses are logged by the HTTP client
        raise ConfigError(
            f"{URL} holds a password or a query", where=spec.model, hint=f"put the key into {KEY}"
        )
    return url


def _key(spec: ModelSpec) -> str:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):  # the client would repeat it in its own error
        raise ConfigError(
            f"{KEY} holds characters that no key has", where=spec.model, hint="set it again"
        )
    return key
