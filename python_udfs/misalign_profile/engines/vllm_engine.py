"""Run a checkpoint in this process with vLLM: for GPUs, where many draws are wanted.

Written against the source of vLLM 0.33.0 and tested with a stand-in for its ``LLM``: vLLM itself
was never run with it. Three things are vLLM's to keep:

- a draw does not depend on its batch: each has a seed of its own, but half-precision rounding may
  differ unless ``VLLM_BATCH_INVARIANT=1`` is set
- log-probabilities are those of the unchanged logits (``raw_logprobs``)
- a prefix that many requests share is computed once (its prefix cache)

Knows nothing about templates, journals or dbt.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import vllm
from transformers import AutoConfig, AutoTokenizer

from misalign_profile.engines import positive_number
from misalign_profile.engines import vllm_reading as reading
from misalign_profile.engines.hf_loading import END_OF_TURN, refuse_missing_folder
from misalign_profile.engines.hf_rendering import Renderer
from misalign_profile.engines.vllm_reading import Ids
from misalign_profile.errors import EngineError, ModelNotFound
from misalign_profile.types import Completion, ModelSpec, Request

MEMORY = "MISALIGN_VLLM_MEMORY"  # share of the GPU that one engine takes
AT_ONCE = 256  # requests between two records in the journal
POSITIONS = 8192  # vLLM sets memory aside for one request of this length; prompts here are shorter


class VllmEngine:
    """``choose`` and ``generate`` with a checkpoint loaded by vLLM.

    ``MISALIGN_VLLM_MEMORY``: share of the GPU's memory, 0.9 by default; less where two engines are
    open at once. Raises ``ModelNotFound`` or ``EngineError`` when the model cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, *, max_body_tokens: int = 4096) -> None:
        refuse_missing_folder(spec)
        self.spec = spec
        source = str(Path(spec.source).expanduser()) if spec.source.startswith("~") else spec.source
        revision = spec.revision or None
        try:
            config = AutoConfig.from_pretrained(source, revision=revision)
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        except (OSError, ValueError) as error:
            raise ModelNotFound(_line(error), where=spec.source) from None
        positions = getattr(config.get_text_config(), "max_position_embeddings", 0) or POSITIONS
        self.limit = min(positions, POSITIONS)
        self.renderer = Renderer(tokenizer, max_body_tokens)
        added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
        self.stop_ids = sorted({added[mark] for mark in END_OF_TURN if mark in added})
        try:
            self._llm: Any = vllm.LLM(
                model=source,
                revision=revision,
                tokenizer_revision=revision,
                dtype="bfloat16" if spec.dtype in ("auto", "") else spec.dtype,
                max_model_len=self.limit,
                gpu_memory_utilization=positive_number(MEMORY, 0.9, spec.model),
                logprobs_mode="raw_logprobs",
                enable_prefix_caching=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(
                f"vllm cannot load the model: {_line(error)}",
                where=spec.source,
                hint=f"see the lines above; {MEMORY} sets its share of the GPU's memory",
            ) from None

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with exact log-probabilities of whole options, not renormalised.

        One question to vLLM for each inner node of the options' token trie, for the scores of just
        the tokens that follow it. The roots go first: the other nodes then find the prompt in the
        prefix cache.
        """
        for some, prompts in self._windows(requests):
            began = time.perf_counter()
            options = [self.renderer.options(request.options) for request in some]
            tries = [reading.next_tokens(each) for each in options]
            scores: list[dict[Ids, dict[int, float]]] = [{} for _ in some]
            cached = [0] * len(some)
            for root in (True, False):
                nodes = [(i, node) for i, trie in enumerate(tries) for node in trie]
                nodes = [(i, node) for i, node in nodes if (node == ()) is root]
                outputs = self._ask(
                    [prompts[i] + node for i, node in nodes],
                    [reading.score_fields(tries[i][node]) for i, node in nodes],
                )
                for (i, node), output in zip(nodes, outputs, strict=True):
                    scores[i][node] = reading.read_scores(output, tries[i][node], self.spec.model)
                    if root:
                        cached[i] = int(output.num_cached_tokens or 0)
            share = (time.perf_counter() - began) / len(some)
            yield [
                Completion(
                    call_id=request.call_id,
                    option_logprobs=reading.option_scores(options[i], scores[i]),
                    finish_reason="choice",
                    prompt_tokens=len(prompts[i]),
                    cached_tokens=cached[i],
                    seconds=share,
                )
                for i, request in enumerate(some)
            ]

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with drawn text, a batch at a time."""
        for some, prompts in self._windows(requests):
            began = time.perf_counter()
            fields = [reading.draw_fields(request, self.stop_ids) for request in some]
            outputs = self._ask(prompts, fields)
            share = (time.perf_counter() - began) / len(some)
            yield [
                reading.read_draw(request, prompt, output, share)
                for request, prompt, output in zip(some, prompts, outputs, strict=True)
            ]

    def close(self) -> None:
        """Give the GPU's memory back. Closing twice is fine."""
        if self._llm is not None:
            self._llm.llm_engine.shutdown()
            self._llm = None
            gc.collect()

    def _windows(
        self, requests: Sequence[Request]
    ) -> Iterator[tuple[Sequence[Request], list[Ids]]]:
        for start in range(0, len(requests), AT_ONCE):
            some = requests[start : start + AT_ONCE]
            yield some, list(reading.prompt_ids(self.renderer, some, self.limit))

    def _ask(self, prompts: Sequence[Ids], fields: Sequence[dict[str, Any]]) -> list[Any]:
        """One output a prompt, in order."""
        if self._llm is None:
            raise EngineError("the engine is closed", where=self.spec.model)
        if not prompts:
            return []
        outputs: list[Any] = self._llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            [vllm.SamplingParams(**each) for each in fields],
            use_tqdm=False,
        )
        return outputs


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
