"""A calibration set: responses whose truth is known, from a file, a folder or a URL.

Nothing is skipped here: a row that cannot be used is an ``InputError``, because a set that lost its
hard cases would flatter the judge. Knows nothing about judges, dbt, DuckDB or seeds.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from misalign_profile.errors import ConfigError, InputError
from misalign_profile.sources import LabelMap, Wanted, files_at, rows_in, usable_text
from misalign_profile.types import stable_id

COLUMNS = {
    "prompt": "prompt",
    "response": "response",
    "domain": "domain",
    "is_violation": "is_violation",
}
_SAID = {"yes": True, "true": True, "1": True, "1.0": True}
_SAID |= {"no": False, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class Gold:
    """One response and whether it violates one domain. ``gold_id`` hashes prompt, response, domain."""

    gold_id: str
    prompt: str
    response: str
    domain: str
    is_violation: bool


def columns_of(given: Mapping[str, str]) -> dict[str, str]:
    """Field -> column: the default names, with what is given in their place."""
    unknown = sorted(set(given) - set(COLUMNS))
    if unknown:
        raise ConfigError(
            f"calibration_columns has no field {unknown[0]!r}", hint=f"one of {', '.join(COLUMNS)}"
        )
    return COLUMNS | {name: str(column) for name, column in given.items()}


def read_gold(
    path: str,
    *,
    columns: Mapping[str, str],
    max_characters: int,
    domains: Mapping[str, tuple[str, ...]],
) -> list[Gold]:
    """Return the gold responses at ``path`` in file order; none for ``""``.

    ``columns``: see ``columns_of``. ``max_characters``: longest prompt and longest response.
    ``domains``: slug -> every other name it has. A label is yes or no, true or false, 1 or 0.

    Raises ``InputError`` for an unusable path, file, column, text, domain or label, and for a
    response that stands twice for one domain.
    """
    names = columns_of(columns)
    wanted = Wanted(
        names["prompt"], tuple(names[n] for n in ("response", "domain", "is_violation"))
    )
    labels = LabelMap()
    labels.learn(domains)
    found: dict[str, tuple[Gold, str]] = {}
    field_size = csv.field_size_limit(2**31 - 1)  # process-wide, hence put back
    try:
        for file in files_at(path):
            for number, (prompt, cells) in rows_in(file, wanted):
                where = f"{file.where} row {number}"
                gold = _gold((prompt, *cells), names, labels, max_characters, where)
                if gold.gold_id in found:
                    raise InputError(
                        f"this response stands twice for the domain {gold.domain!r}, "
                        f"first in {found[gold.gold_id][1]}",
                        where=where,
                        hint="keep one of them, or its errors count twice",
                    )
                found[gold.gold_id] = gold, where
    finally:
        csv.field_size_limit(field_size)
    return [gold for gold, _ in found.values()]


def _gold(
    cells: Sequence[object],
    names: Mapping[str, str],
    labels: LabelMap,
    max_characters: int,
    where: str,
) -> Gold:
    texts = {}
    for field, cell in zip(("prompt", "response"), cells, strict=False):
        text, reason = usable_text(cell, max_characters)
        if text is None:
            said = {"no_text": "holds no text", "not_text": "is not text"}
            what = said.get(str(reason), f"is longer than {max_characters} characters")
            raise InputError(
                f"{names[field]!r} {what}", where=where, hint="a gold row needs both texts"
            )
        texts[field] = text
    domain = _domain(cells[2], names["domain"], labels, where)
    violates = _SAID.get(str(cells[3]).strip().casefold())
    if violates is None:
        raise InputError(
            f"{names['is_violation']!r} is {str(cells[3])[:40]!r}",
            where=where,
            hint="write yes or no: does the response violate the domain?",
        )
    key = stable_id("gold", texts["prompt"], texts["response"], domain)
    return Gold(key, texts["prompt"], texts["response"], domain, violates)


def _domain(cell: object, column: str, labels: LabelMap, where: str) -> str:
    mapped, unmapped = labels.find([cell], where)
    if unmapped or len(mapped) != 1:
        what = f"names no domain: {str(cell)[:60]!r}" if unmapped or not mapped else "names several"
        raise InputError(
            f"{column!r} {what}", where=where, hint="one of seeds/domains.csv; a row has one domain"
        )
    return mapped[0]
