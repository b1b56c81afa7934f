"""The two forms of an exported row, as Arrow schemas, and how pairs become them.

``pairs``: one row per pair. ``four``: one row per prompt with the pairs of two responders, four
responses in all. Knows nothing about files, DuckDB or what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from misalign_profile.errors import CheckError

Row = dict[str, Any]
LAYOUTS = ("pairs", "four")
SPLITS = ("train", "validation", "test")
NOTE = (
    "misaligned responses are wrong on purpose: data for measuring, not advice, not for imitation"
)

_STRINGS = pa.list_(pa.string())
_PROMPT = (
    ("prompt_id", pa.string()),
    ("cluster_id", pa.string()),
    ("split", pa.string()),
    ("prompt", pa.string()),
    ("origin", pa.string()),
    ("domains", _STRINGS),
    ("safety", pa.string()),
    ("value", pa.string()),
    ("cultural", pa.string()),
    ("semantic_type", pa.string()),
    ("content_note", pa.string()),
)
_PAIR = (
    ("pair_id", pa.string()),
    ("responder", pa.string()),
    ("judge", pa.string()),
    ("aligned_response_id", pa.string()),
    ("misaligned_response_id", pa.string()),
    ("aligned_response", pa.string()),
    ("misaligned_response", pa.string()),
    ("aligned_is_misaligned", pa.bool_()),
    ("misaligned_is_misaligned", pa.bool_()),
    ("aligned_violates", _STRINGS),
    ("misaligned_violates", _STRINGS),
    ("aligned_p_violates", pa.list_(pa.float64())),
    ("misaligned_p_violates", pa.list_(pa.float64())),
    ("aligned_margin", pa.float64()),
    ("misaligned_margin", pa.float64()),
    ("aligned_round", pa.int32()),
    ("misaligned_round", pa.int32()),
)
DESCRIPTIONS = {
    "prompt_id": "hash of the prompt's text",
    "cluster_id": "near-duplicates share it, and expansions with the prompt after which they were written; "
    "no cluster is in two splits",
    "split": "train, validation or test",
    "prompt": "what somebody asks",
    "origin": "seed (the project's authors), source (brought by whoever built this) or expansion (a model)",
    "domains": "labels of the prompt, slugs of `taxonomy.csv`, ordered by dimension",
    "safety": "the label of that dimension, or null",
    "value": "the label of that dimension, or null",
    "cultural": "the label of that dimension, or null",
    "semantic_type": "object, attribute or relation",
    "content_note": "the same warning in every row",
    "pair_id": "hash of the two response ids",
    "responder": "the model that wrote both responses",
    "judge": "the model that judged both",
    "aligned_response_id": "id of the aligned response",
    "misaligned_response_id": "id of the misaligned response",
    "aligned_response": "the response that honours the labelled norms, as the judge says",
    "misaligned_response": "the response that violates at least one of them, as the judge says",
    "aligned_is_misaligned": "always false",
    "misaligned_is_misaligned": "always true: the flag to filter by",
    "aligned_violates": "labelled domains that the aligned response violates; none",
    "misaligned_violates": "labelled domains that the misaligned response violates",
    "aligned_p_violates": "the judge's probability of a violation, in the order of `domains`",
    "misaligned_p_violates": "the judge's probability of a violation, in the order of `domains`",
    "aligned_margin": "how sure the judge is, from 0 to 1",
    "misaligned_margin": "how sure the judge is, from 0 to 1",
    "aligned_round": "0: accepted among the first candidates; more: after feedback",
    "misaligned_round": "0: accepted among the first candidates; more: after feedback",
}

# Where pairs were imported: nobody drew or judged, so these columns say or hold something else.
_TOLD = "the labels of the imported dataset stand where a judge's would; no model judged"
_NO_JUDGE = "null: the pairs were imported, no judge gave a probability"
IMPORTED = {
    "origin": "source: brought with the imported dataset",
    "domains": "labels of the imported dataset, one a dimension at most, slugs of `taxonomy.csv`",
    "semantic_type": "object, attribute or relation; the imported dataset's, else the classifier's",
    "responder": "who wrote both responses, as the imported dataset says; imported where it does not",
    "judge": f"`published-labels`: {_TOLD}",
    "aligned_response": "the response that the imported dataset gives as aligned",
    "misaligned_response": "the response that the imported dataset gives as misaligned",
    "misaligned_violates": (
        "labelled domains that it violates; where the imported dataset does not say, all of its row"
    ),
    "aligned_p_violates": _NO_JUDGE,
    "misaligned_p_violates": _NO_JUDGE,
    "aligned_margin": _NO_JUDGE,
    "misaligned_margin": _NO_JUDGE,
    "aligned_round": "null: the pairs were imported, nothing was drawn",
    "misaligned_round": "null: the pairs were imported, nothing was drawn",
}


def schema(layout: str) -> pa.Schema:
    """The columns of a layout, in their order."""
    if layout == "pairs":
        return pa.schema([_PAIR[0], *_PROMPT, *_PAIR[1:]])
    numbered = [(f"{name}_{n}", kind) for n in (1, 2) for name, kind in _PAIR]
    return pa.schema([*_PROMPT, *numbered])


def describe(column: str, *, imported: bool = False) -> str:
    """What a column of either layout holds, as Markdown."""
    name = column if column in DESCRIPTIONS else column.removesuffix("_1").removesuffix("_2")
    return (IMPORTED.get(name) if imported else None) or DESCRIPTIONS[name]


def first_two(pairs: Sequence[Row], positions: Mapping[str, int], where: str) -> tuple[str, str]:
    """The responders of layout ``four``: the first two by position, then by name."""
    found = sorted({p["responder"] for p in pairs}, key=lambda r: (positions.get(r, 1 << 30), r))
    if len(found) < 2:
        raise CheckError(
            f"layout four needs pairs of two responders; there is {found[0]} alone",
            where=where,
            hint="add a responder to seeds/roles.csv, or export --layout pairs",
        )
    return found[0], found[1]


def as_pairs(pairs: Sequence[Row]) -> Iterator[Row]:
    """Rows of layout ``pairs``."""
    for pair in pairs:
        yield {**_prompt(pair), **_pair(pair)}


def as_four(pairs: Sequence[Row], responders: tuple[str, str]) -> Iterator[Row]:
    """Rows of layout ``four``: prompts that both responders have a pair for, ordered by prompt."""
    by_prompt: dict[str, dict[str, Row]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair["prompt_id"], {})[pair["responder"]] = pair
    for _, of in sorted(by_prompt.items()):
        if all(responder in of for responder in responders):
            row = _prompt(of[responders[0]])
            for n, responder in enumerate(responders, 1):
                row |= {f"{name}_{n}": value for name, value in _pair(of[responder]).items()}
            yield row


def _prompt(pair: Row) -> Row:
    by_dimension = dict(zip(pair["dimensions"], pair["domains"], strict=True))
    labels = {d: by_dimension.get(d) for d in ("safety", "value", "cultural")}
    return {name: pair.get(name) for name, _ in _PROMPT} | labels | {"content_note": NOTE}


def _pair(pair: Row) -> Row:
    flags = {"aligned_is_misaligned": False, "misaligned_is_misaligned": True}
    return {name: pair.get(name) for name, _ in _PAIR} | flags
