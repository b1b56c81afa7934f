"""Translation between requests and vLLM's offline engine. Imports no vllm: it is tested without.

Knows nothing about loading, memory or batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from misalign_profile.engines.hf_rendering import Renderer
from misalign_profile.errors import EngineError
from misalign_profile.types import Completion, Request

Ids = tuple[int, ...]
CHOICE_ROOM = 16  # positions kept free for an option, as in the transformers engine
MOST_TOKENS = 128  # of ``logprob_token_ids``: vLLM's own bound


def prompt_ids(renderer: Renderer, requests: Sequence[Request], limit: int) -> Iterator[Ids]:
    """Token ids of each request's turn: the same as in the transformers engine.

    ``limit``: positions of the model. Bodies that do not fit lose their middle. Raises
    ``EngineError`` where even that does not help.
    """
    bodies = renderer.bodies(request.body for request in requests)
    for request in requests:
        head, foot = renderer.head(request.prefix), renderer.foot(request.tail)
        body = bodies[request.body]
        answer = request.sampling.max_new_tokens if request.sampling else CHOICE_ROOM
        room = limit - len(head) - len(foot) - answer
        if room < min(len(body), 16) or not (foot or body):
            raise EngineError(
                f"the question does not fit the model's {limit} positions, or is empty",
                where=f"{request.model.model}, item {request.item}",
                hint="shorten the template or lower max_new_tokens",
            )
        yield head + renderer.shorten(body, room) + foot


def draw_fields(request: Request, stop_ids: Sequence[int]) -> dict[str, Any]:
    """Fields of ``SamplingParams`` for a draw; the seed (63 bits) is the request's own."""
    s = request.sampling
    if s is None:
        raise EngineError("generate needs a request with sampling", where=request.item)
    return {
        "temperature": s.temperature,
        "top_p": s.top_p,
        "max_tokens": s.max_new_tokens,
        "seed": int(request.call_id, 16) >> 1,
        "stop_token_ids": list(stop_ids),
    }


def score_fields(tokens: Sequence[int]) -> dict[str, Any]:
    """Fields of ``SamplingParams`` that give the raw log-probabilities of ``tokens`` next.

    The one token that vLLM must draw is thrown away. ``allowed_token_ids`` is not used: some
    releases computed the scores after that mask, so over the allowed tokens only.
    """
    if len(tokens) > MOST_TOKENS:
        raise EngineError(
            f"vllm scores {MOST_TOKENS} tokens at one place, the options want {len(tokens)}",
            hint="use engine 'transformers' for this role",
        )
    return {
        "temperature": 0.0,
        "max_tokens": 1,
        "logprob_token_ids": list(tokens),
        "detokenize": False,
    }


def next_tokens(options: Sequence[Ids]) -> dict[Ids, list[int]]:
    """The options' token trie: each inner node (its path from the root) and its next tokens."""
    nodes: dict[Ids, set[int]] = defaultdict(set)
    for option in options:
        for n, token in enumerate(option):
            nodes[option[:n]].add(token)
    return {node: sorted(tokens) for node, tokens in nodes.items()}


def read_scores(output: Any, tokens: Sequence[int], where: str) -> dict[int, float]:
    """Natural-log probabilities of ``tokens`` in the output of a request with ``score_fields``."""
    places = output.outputs[0].logprobs
    listed = places[0] if places else {}
    lost = [token for token in tokens if token not in listed]
    if lost:
        raise EngineError(
            f"vllm left out {len(lost)} of {len(tokens)} log-probabilities",
            where=where,
            hint="this engine was written for vllm 0.33; upgrade vllm",
        )
    return {token: float(listed[token].logprob) for token in tokens}


def option_scores(
    options: Sequence[Ids], scores: Mapping[Ids, Mapping[int, float]]
) -> tuple[float, ...]:
    """Log-probability of each option: the sum over its tokens, each given those before."""
    return tuple(
        sum(scores[option[:n]][token] for n, token in enumerate(option)) for option in options
    )


def read_draw(request: Request, prompt: Ids, output: Any, seconds: float) -> Completion:
    """A draw from vLLM's output; ``seconds`` is its share of the batch."""
    drawn = output.outputs[0]
    if drawn.finish_reason not in ("stop", "length"):
        raise EngineError(
            f"vllm gave up a request: {drawn.finish_reason}",
            where=f"{request.model.model}, item {request.item}",
            hint="run again; what was answered is in the journal",
        )
    return Completion(
        call_id=request.call_id,
        text=drawn.text.strip(),
        finish_reason=drawn.finish_reason,
        prompt_tokens=len(prompt),
        cached_tokens=int(output.num_cached_tokens or 0),
        completion_tokens=len(drawn.token_ids),
        seconds=seconds,
    )
