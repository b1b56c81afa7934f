"""What a model's recorded calls took: tokens and seconds a call, by stage.

Reads a journal; knows nothing about stages' order, dbt or prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from misalign_profile.journal import Journal
from misalign_profile.machine import machine
from misalign_profile.types import ModelSpec

_MODEL = "source, revision, engine, dtype, prompt_style"  # as ModelSpec.identity
_TOKENS = f"""
    select {_MODEL}, stage, avg(prompt_tokens), avg(cached_tokens), avg(completion_tokens),
        sum(prompt_tokens) / nullif(sum(length(prefix) + length(body) + length(tail)), 0)
    from calls group by {_MODEL}, stage
"""
# An engine with many calls in flight may report each call's own time, which adds up to more than the
# clock showed. The clock alone would count other models' turns between two batches. The lesser holds,
# but for the first batch, whose beginning no clock has seen.
_SECONDS = f"""
    , batches as (
        select {_MODEL}, stage, run_id, asked_at, count(*) as calls, sum(seconds) as seconds
        from calls where machine = (select machine from here)
        group by {_MODEL}, stage, run_id, asked_at
    ), runs as (
        select {_MODEL}, stage, sum(calls) as calls, sum(seconds) as seconds,
            arg_min(seconds, asked_at) as first_batch,
            date_diff('microsecond', min(asked_at), max(asked_at)) / 1e6 as clock
        from batches group by {_MODEL}, stage, run_id
    )
    select {_MODEL}, stage, sum(first_batch + least(seconds - first_batch, clock)) / sum(calls)
    from runs group by {_MODEL}, stage having sum(seconds) > 0
"""


@dataclass(frozen=True, slots=True)
class Took:
    """Means over the recorded calls of one model in one stage.

    ``seconds`` a call on this kind of machine, None where none was measured here.
    """

    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float
    tokens_per_character: float | None
    seconds: float | None = None


class Measured:
    """What a journal says of each (model, stage). Raises ``JournalError`` as ``Journal.select``."""

    def __init__(self, journal: Journal) -> None:
        here = pa.table({"machine": [machine()]})
        speeds = {tuple(row[:6]): row[6] for row in journal.select(_SECONDS, here=here)}
        self._took = {
            tuple(row[:6]): Took(prompt, cached, completion, density, speeds.get(tuple(row[:6])))
            for *row, prompt, cached, completion, density in journal.select(_TOKENS)
        }

    def of(self, model: ModelSpec, stage: str) -> Took | None:
        """The means, or None when no call of the model in the stage is recorded."""
        return self._took.get((*model.identity(), stage))
