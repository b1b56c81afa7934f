"""Ask a model that somebody else serves, over the OpenAI chat protocol.

``MISALIGN_SERVED_URL`` is the base URL, ``MISALIGN_SERVED_KEY`` the key; neither is stored or
logged. Translation (``chat_arguments``, ``read_text``, ``read_choice``) is apart from transport.
A choice is that of the options' first tokens; options that begin alike are refused.
Knows nothing about templates, journals or dbt.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any

from misalign_profile.errors import ConfigError, EngineBusy, EngineError, EngineMissing
from misalign_profile.types import Completion, ModelSpec, Request

URL, KEY = "MISALIGN_SERVED_URL", "MISALIGN_SERVED_KEY"
TOP_LOGPROBS = 20  # the most that the protocol allows


class ServedEngine:
    """A bounded number of concurrent calls to one OpenAI-compatible endpoint.

    ``threads``: calls in flight; ``timeout``: seconds per call. The client itself retries
    connection errors, 408, 409, 429 and 5xx with backoff, ``max_retries`` times.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        threads: int | None = None,
        timeout: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        try:
            import openai
        except ModuleNotFoundError:
            raise EngineMissing(
                "the served engine needs openai", where=spec.model, hint="pip install openai"
            ) from None
        url = os.environ.get(URL, "")
        if not url:
            raise ConfigError(
                f"{URL} is not set", where=spec.model, hint=f"export {URL}=http://host:8000/v1"
            )
        self.spec = spec
        self.threads = threads or 16
        self._openai = openai
        key = os.environ.get(KEY) or "none"
        self._client = openai.OpenAI(
            base_url=url, api_key=key, timeout=timeout, max_retries=max_retries
        )

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with log-probabilities read from the first token of the answer."""
        for options in {request.options for request in requests}:
            refuse_ambiguous(options, self.spec.model)
        return self._ask_all(requests, read_choice)

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with the served model's text; the seed is sent, honoured or not."""
        return self._ask_all(requests, read_text)

    def close(self) -> None:
        self._client.close()

    def _ask_all(
        self, requests: Sequence[Request], read: Callable[[Request, Any], Completion]
    ) -> Iterator[list[Completion]]:
        """Yield what is ready, as soon as it is; the first failure ends the run."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="served")
        waiting = iter(requests)
        flying: set[Future[Completion]] = set()
        try:
            while True:
                for request in islice(waiting, 2 * self.threads - len(flying)):
                    flying.add(pool.submit(self._ask, request, read))
                if not flying:
                    return
                ready, flying = wait(flying, return_when=FIRST_COMPLETED)
                good = [future.result() for future in ready if future.exception() is None]
                if good:
                    yield good
                for future in ready:
                    future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, request: Request, read: Callable[[Request, Any], Completion]) -> Completion:
        api, began = self._openai, time.perf_counter()
        try:
            create = self._client.chat.completions.with_raw_response.create
            raw = create(**chat_arguments(request, self.spec.source))
            answer = raw.parse()
        except (api.RateLimitError, api.APITimeoutError, api.InternalServerError) as error:
            raise EngineBusy(
                f"the endpoint refused for now: {type(error).__name__}",
                where=self.spec.model,
                hint="run again; what was answered is in the journal",
            ) from None
        except api.APIConnectionError:
            raise EngineError(
                "the endpoint cannot be reached", where=self.spec.model, hint=f"check {URL}"
            ) from None
        except api.APIError as error:
            raise EngineError(
                f"the endpoint refused the request: {type(error).__name__}",
                where=self.spec.model,
                hint="check the model's source (its served name), the key and the context length",
            ) from None
        seconds = time.perf_counter() - began
        return replace(read(request, answer), seconds=seconds, retries=raw.retries_taken)


def chat_arguments(request: Request, source: str) -> dict[str, Any]:
    """The arguments of ``chat.completions.create`` for a request."""
    content = request.prefix + request.body + request.tail
    out: dict[str, Any] = {"model": source, "messages": [{"role": "user", "content": content}]}
    if request.sampling is None:
        one = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return out | one
    s = request.sampling
    return out | {
        "temperature": s.temperature,
        "top_p": s.top_p,
        "max_tokens": s.max_new_tokens,
        "seed": int(request.call_id, 16) & 0x7FFFFFFF,
    }


def refuse_ambiguous(options: Sequence[str], where: str) -> None:
    """Raise ``EngineError`` if no first token can tell the options apart (equal first letters)."""
    firsts = {option.strip()[:1].lower() for option in options}
    if len(firsts) < len(options):
        raise EngineError(
            f"a served model cannot score options that begin alike ({', '.join(options[:3])})",
            where=where,
            hint="use engine 'transformers' for this role: it scores whole options exactly",
        )


def read_text(request: Request, answer: Any) -> Completion:
    """Turn a chat completion into a completion."""
    choice = answer.choices[0]
    return _counted(
        request,
        answer,
        text=(choice.message.content or "").strip(),
        finish_reason="length" if choice.finish_reason == "length" else "stop",
    )


def read_choice(request: Request, answer: Any) -> Completion:
    """Add up the first tokens that begin exactly one option; an option never seen gets a bound.

    The bound is half of the least probability listed. Raises ``EngineError`` without
    log-probabilities or if no listed token begins an option.
    """
    listed = answer.choices[0].logprobs
    top = listed.content[0].top_logprobs if listed and listed.content else []
    if not top:
        raise EngineError(
            "the endpoint returned no log-probabilities",
            where=request.model.model,
            hint="start the server with logprobs, or use engine 'transformers' for this role",
        )
    sums = [0.0] * len(request.options)
    for entry in top:
        token = entry.token.strip().lower()
        hits = [i for i, o in enumerate(request.options) if token and o.lower().startswith(token)]
        if len(hits) == 1:
            sums[hits[0]] += math.exp(entry.logprob)
    if not any(sums):
        raise EngineError(
            f"none of the {len(top)} likeliest first tokens begins an option",
            where=f"{request.model.model}, item {request.item}",
            hint="check template and model",
        )
    bound = min(entry.logprob for entry in top) - math.log(2)
    logprobs = tuple(math.log(min(p, 1.0)) if p > 0 else bound for p in sums)
    return _counted(request, answer, option_logprobs=logprobs, finish_reason="choice")


def _counted(request: Request, answer: Any, **fields: Any) -> Completion:
    usage = answer.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return Completion(
        call_id=request.call_id,
        prompt_tokens=int(getattr(usage, "prompt_tokens", 0) or 0),
        cached_tokens=int(getattr(details, "cached_tokens", 0) or 0),
        completion_tokens=int(getattr(usage, "completion_tokens", 0) or 0),
        **fields,
    )
