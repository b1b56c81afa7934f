"""Translation between requests and the OpenAI chat protocol; nothing here opens a connection.

Written after the sources or documents of vLLM 0.33, SGLang, llama.cpp and Ollama. All take
``logprobs`` with ``top_logprobs`` (Ollama since 0.12.11) and ``response_format`` with a JSON
schema; ``structured_outputs`` is vLLM's, which now ignores its former ``guided_choice``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pydantic

from misalign_profile.engines.served_choice import Place, fold, score_path, tokens_needed
from misalign_profile.engines.served_faults import Malformed
from misalign_profile.errors import EngineError
from misalign_profile.types import Completion, Request

TOP_LOGPROBS = (20, 5)  # the most that the protocol allows; what some hosted endpoints allow
FLOOR = -100.0  # log-probability of the options not taken in a hard choice; exp of it adds nothing
_CUT_SHORT = ("length", "content_filter")


class Token(pydantic.BaseModel):
    """A token's text and natural log-probability."""

    token: str
    logprob: float


class Listed(Token):
    """A token of the answer and the likeliest ones at its place."""

    top_logprobs: list[Token] | None = None


class Logprobs(pydantic.BaseModel):
    """Log-probabilities of the answer's tokens."""

    content: list[Listed] | None = None


class Message(pydantic.BaseModel):
    """What the model wrote; null is an empty text, a missing ``content`` is a fault."""

    content: str | None


class Choice(pydantic.BaseModel):
    """One answer."""

    message: Message | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Details(pydantic.BaseModel):
    """Tokens that the server did not compute again."""

    cached_tokens: int | None = None


class Usage(pydantic.BaseModel):
    """Tokens read and written."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None


class Answer(pydantic.BaseModel):
    """What is used of a chat completion; other fields may say what they like."""

    choices: list[Choice]
    usage: Usage | None = None

    @property
    def choice(self) -> Choice:
        return self.choices[0]

    @property
    def text(self) -> str:
        message = self.choice.message
        return ((message.content if message else None) or "").strip()


Constraint = Callable[[Sequence[str]], dict[str, Any]]
Reader = Callable[[Request, Answer], Completion]


def parse(body: bytes) -> Answer:
    """Read a response body. Raises ``Malformed`` with the kind of fault."""
    try:
        answer = Answer.model_validate_json(body)
    except pydantic.ValidationError as error:
        invalid = error.errors(include_url=False)[0]["type"] == "json_invalid"
        raise Malformed("truncated" if invalid else "schema") from None
    if not answer.choices:
        raise Malformed("no_choices")
    if answer.choice.message is None:
        raise Malformed("no_message")
    if answer.choice.finish_reason in ("abort", "error"):
        raise Malformed("aborted")
    return answer


def text_arguments(request: Request, source: str) -> dict[str, Any]:
    """What to send for a draw. The seed depends on the request alone, not on its batch."""
    s = request.sampling
    if s is None:
        raise EngineError("generate needs a request with sampling", where=request.item)
    return _turn(request, source) | {
        "temperature": s.temperature,
        "top_p": s.top_p,
        "max_tokens": s.max_new_tokens,
        "seed": int(request.call_id, 16) & 0x7FFFFFFF,
    }


def path_arguments(request: Request, source: str, top: int) -> dict[str, Any]:
    """What to send for a choice by log-probabilities, ``top`` of them a token."""
    return _turn(request, source) | {
        "temperature": 0.0,
        "max_tokens": tokens_needed(request.options),
        "logprobs": True,
        "top_logprobs": top,
    }


def constrained_arguments(request: Request, source: str, constraint: Constraint) -> dict[str, Any]:
    """What to send for a hard choice: the answer may be nothing but an option."""
    limit = {"temperature": 0.0, "max_tokens": 32 + tokens_needed(request.options)}
    return _turn(request, source) | limit | constraint(request.options)


def structured_outputs(options: Sequence[str]) -> dict[str, Any]:
    """vLLM's own field: the answer is one of the options, word for word."""
    return {"extra_body": {"structured_outputs": {"choice": list(options)}}}


def json_schema(options: Sequence[str]) -> dict[str, Any]:
    """The protocol's own way: a JSON object whose ``answer`` is one of the options."""
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(options)}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    wrapped = {"name": "choice", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": wrapped}}


CONSTRAINTS: tuple[Constraint, ...] = (structured_outputs, json_schema)


def read_text(request: Request, answer: Answer) -> Completion:
    """A draw. Empty text is an answer; text cut short by a filter ends like text over the limit."""
    cut = answer.choice.finish_reason in _CUT_SHORT
    return _counted(request, answer, text=answer.text, finish_reason="length" if cut else "stop")


def read_path(request: Request, answer: Answer) -> Completion:
    """A choice by log-probabilities; no ``option_logprobs`` at all if they leave it open.

    Raises ``Malformed`` without log-probabilities.
    """
    logprobs = answer.choice.logprobs
    content = logprobs.content if logprobs else None
    if not content or not content[0].top_logprobs:
        raise Malformed("no_logprobs")
    places = [
        Place(t.token, t.logprob, tuple((o.token, o.logprob) for o in t.top_logprobs or ()))
        for t in content
    ]
    scores = score_path(request.options, places)
    return _counted(request, answer, option_logprobs=scores or (), finish_reason="choice")


def read_constrained(request: Request, answer: Answer) -> Completion:
    """A hard choice: 0 for the option taken, ``FLOOR`` for the others.

    Raises ``Malformed`` for anything but an option.
    """
    try:
        named = json.loads(answer.text)["answer"]
    except (ValueError, TypeError, KeyError):
        named = answer.text
    if named not in request.options:
        raise Malformed("schema")
    scores = tuple(0.0 if option == named else FLOOR for option in request.options)
    return _counted(request, answer, option_logprobs=scores, finish_reason="constrained")


def read_probe(request: Request, answer: Answer) -> Completion:
    """Like ``read_constrained``, for a question that no model answers so of its own accord."""
    try:
        return read_constrained(request, answer)
    except Malformed:
        raise Malformed("unconstrained") from None


def refuse_alike(options: Sequence[str], where: str) -> None:
    """Raise ``EngineError`` for options that are spelled alike but for case and leading space."""
    if len({fold(option) for option in options}) < len(options) or not all(map(fold, options)):
        raise EngineError(
            f"a served model cannot tell options apart by case or space ({', '.join(options[:3])})",
            where=where,
            hint="use engine 'transformers' for this role: it scores whole options exactly",
        )


def _turn(request: Request, source: str) -> dict[str, Any]:
    content = request.prefix + request.body + request.tail
    return {"model": source, "messages": [{"role": "user", "content": content}]}


def _counted(request: Request, answer: Answer, **fields: Any) -> Completion:
    usage = answer.usage or Usage()
    details = usage.prompt_tokens_details or Details()
    return Completion(
        call_id=request.call_id,
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=details.cached_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        **fields,
    )
