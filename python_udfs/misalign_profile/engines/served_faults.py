"""What can go wrong with one call to an endpoint, and whether and when to ask again: decided here.

Kinds of fault, as they are counted and recorded:

- an HTTP status such as ``429`` or ``503``
- ``timeout``: no answer in time; ``unreachable``: no connection; ``cut``: the connection ended
  before the answer did
- ``truncated``: the body is not whole JSON; ``schema``: JSON, but no chat completion or not the
  one asked for; ``no_choices``, ``no_message``: what they say; ``aborted``: the server gave up
- ``no_logprobs``, ``unconstrained``: the endpoint lacks what a choice needs

Knows nothing about requests, options or threads.
"""

from __future__ import annotations

import email.utils
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai

from misalign_profile.errors import EngineBusy, EngineError

URL, KEY = "MISALIGN_SERVED_URL", "MISALIGN_SERVED_KEY"
BUSY_STATUSES = (408, 409, 425, 429)
NOT_IMPLEMENTED = 501
FINAL_KINDS = ("no_logprobs", "unconstrained")
MALFORMED = ("truncated", "schema", "no_choices", "no_message")
_NO_CONNECTION = ("ConnectError", "ProxyError", "UnsupportedProtocol")
_DETAIL_CHARACTERS = 200


class Malformed(Exception):
    """An answer that is none; the only argument is the kind of fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed try. ``after``: seconds that the endpoint asks to wait; ``detail``: its words."""

    kind: str
    again: bool = True
    after: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that was given up: its last fault, and the kinds of all its tries in order."""

    fault: Fault
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and when to ask again; all times in seconds.

    Waits grow from ``first`` by doubling up to ``longest``, half of each at random, on top of what
    the endpoint asks for. An endpoint that asks for more than ``at_most`` is left alone. An address
    where nothing has ever answered is tried ``strangers`` more times only: it is likely wrong.
    """

    retries: int = 8
    strangers: int = 2
    first: float = 0.5
    longest: float = 30.0
    at_most: float = 120.0

    def wait(self, fault: Fault, failed: int, chance: float, *, met: bool = True) -> float | None:
        """Seconds to wait after the ``failed``-th failure (from 1), or None to give up.

        ``chance`` is uniform in [0, 1); ``met``: the endpoint has answered before.
        """
        retries = self.retries if met else min(self.retries, self.strangers)
        if not fault.again or failed > retries or fault.after > self.at_most:
            return None
        backoff = min(self.longest, self.first * 2.0 ** min(failed - 1, 60))
        return fault.after + backoff * (0.5 + chance / 2)


def fault_of(error: Exception, secret: str, now: float) -> Fault:
    """The fault behind a ``Malformed`` or an ``APIError`` of the client.

    ``secret`` is kept out of the endpoint's words; ``now``: seconds since 1970, for dates.
    """
    if isinstance(error, Malformed):
        kind = str(error.args[0])
        return Fault(kind, again=kind not in FINAL_KINDS)
    if isinstance(error, openai.APITimeoutError):
        return Fault("timeout")
    if isinstance(error, openai.APIConnectionError):
        lost = type(error.__cause__).__name__ in _NO_CONNECTION
        return Fault("unreachable" if lost else "cut")
    if isinstance(error, openai.APIStatusError):
        headers, status = error.response.headers, error.status_code
        asked = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
        busy = status in BUSY_STATUSES or (status >= 500 and status != NOT_IMPLEMENTED)
        spent = error.code == "insufficient_quota"
        return Fault(
            str(status),
            again=(busy if asked is None else asked) and not spent,
            after=seconds_asked(headers, now),
            detail=_words(error.body, secret),
        )
    return Fault("schema")


def seconds_asked(headers: Mapping[str, str], now: float) -> float:
    """``retry-after-ms`` or ``Retry-After`` (seconds or a date) as seconds from now; else 0."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
            except (ValueError, OverflowError):
                continue
        if not math.isnan(seconds):
            return max(0.0, seconds)
    return 0.0


def _words(body: Any, secret: str) -> str:
    """The start of the endpoint's message, without the secret."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        inner = inner.get("message") or inner.get("detail")
    text = " ".join(str(inner or "").split())
    return (text.replace(secret, "***") if secret else text)[:_DETAIL_CHARACTERS]


def error_of(failure: Failure, where: str) -> EngineError:
    """One line for the user: what happened last, how often it was tried, what to do."""
    fault = failure.fault
    counts = ", ".join(f"{kind} x{n}" for kind, n in Counter(failure.kinds).items())
    tried = f" ({counts})"
    if fault.kind in ("401", "403"):  # such answers like to repeat a part of the key
        return EngineError(f"the endpoint refuses the key{tried}", where=where, hint=f"check {KEY}")
    if fault.kind == "404":
        return EngineError(
            f"the endpoint knows no such model or path{tried}",
            where=where,
            hint=f"the model's source is its name at the endpoint; {URL} mostly ends in /v1",
        )
    if fault.kind == "unreachable":
        return EngineError(
            f"the endpoint cannot be reached{tried}", where=where, hint=f"check {URL}"
        )
    if fault.kind in MALFORMED:
        return EngineError(
            f"the endpoint's answers are no chat completions{tried}",
            where=where,
            hint=f"check that {URL} is an OpenAI-compatible address; run again to go on",
        )
    if fault.again:
        asks = f"; it asks to wait {fault.after:.0f} s" if fault.after else ""
        return EngineBusy(
            f"the endpoint is busy or broken{tried}{asks}",
            where=where,
            hint="run again; what was answered is in the journal",
        )
    says = f": {fault.detail}" if fault.detail else ""
    what = "refuses the request" if fault.kind.isdigit() else "no longer gives what a choice needs"
    return EngineError(
        f"the endpoint {what}{tried}{says}",
        where=where,
        hint="check the model's source (its served name), its context length and the quota",
    )
