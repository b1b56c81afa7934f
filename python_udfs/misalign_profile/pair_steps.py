"""The stages of an import: pairs that somebody published stand where draws would.

Each is a function from relations to an Arrow table, as those of ``steps`` are. Knows nothing about
models, templates or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from misalign_profile.config import stage_config
from misalign_profile.draws import DRAW
from misalign_profile.meta_text import names_side
from misalign_profile.refusals import refuses
from misalign_profile.rules import count_words
from misalign_profile.source_pairs import IMPORTED, read_pairs
from misalign_profile.steps import domain_names, sample_responses, stage

JUDGE = "published-labels"  # stands where a judge would, in SQL as well


@stage
def read_source_pairs(meta: Mapping[str, Any], domains: Any, aliases: Any) -> pa.Table:
    """The published pairs with labels and skip reasons; no rows when no source is named."""
    config = stage_config(meta)
    taxonomy = domains.to_arrow_table().to_pylist()
    return read_pairs(
        config.pairs_source,
        columns=config.pairs_columns,
        max_characters=config.prompt_max_characters,
        dimension_of={row["domain"]: row["dimension"] for row in taxonomy},
        domains=domain_names(domains, aliases),
        unknown_labels=config.unknown_labels,
        limit=config.prompts_limit,
    )


@stage
def sample_or_import(meta: Mapping[str, Any], pairs: Any, prompts: Any, *others: Any) -> pa.Table:
    """The draws of ``steps.sample_responses``; where pairs are imported, these, and no model is asked.

    An imported response is an accepted draw without a call. Its verdicts say 1 for a violated label
    and 0 for any other: a label, no probability.
    """
    if not stage_config(meta).pairs_source:
        return sample_responses(meta, prompts, *others)
    asked = {row["prompt"]: row for row in prompts.to_arrow_table().to_pylist()}
    rows = [
        _draw(pair, side, asked[pair["prompt"]])
        for pair in pairs.to_arrow_table().to_pylist()
        if pair["skip_reason"] is None and pair["prompt"] in asked
        for side in ("aligned", "misaligned")
    ]
    return pa.Table.from_pylist(rows, DRAW)


def _draw(pair: Mapping[str, Any], side: str, prompt: Mapping[str, Any]) -> dict[str, Any]:
    violated = pair["violates"] if side == "misaligned" else []
    verdicts = [
        {
            "dimension": dimension,
            "domain": domain,
            "p_violates": float(domain in violated),
            "call_id": "",
            "by_order": [],
        }
        for dimension, domain in zip(prompt["dimensions"], prompt["domains"], strict=True)
    ]
    return {
        "response_id": pair[f"{side}_response_id"],
        "prompt_id": prompt["prompt_id"],
        "responder": pair["responder"],
        "side": side,
        "round": 0,
        "candidate": 0,
        "response": pair[f"{side}_response"],
        "finish_reason": IMPORTED,
        "completion_tokens": 0,
        "words": count_words(pair[f"{side}_response"]),
        "has_refusal": refuses(pair[f"{side}_response"]),
        "names_side": names_side(prompt["prompt"], pair[f"{side}_response"]),
        "call_id": "",
        "feedback": [],
        "judge_margin": 1.0,
        "verdicts": verdicts,
        "quality": [],
        "judge": JUDGE,
        "judge_is_responder": False,
    }
