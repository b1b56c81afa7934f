"""Reading an export, and a second responder for a warehouse: for the tests of ``misalign export``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

SPLITS = ("train", "validation", "test")
Change = Callable[[str], Path]  # SQL -> a warehouse after it


def passes(_: Mapping[str, Any]) -> int:
    return 0


# A second responder answers all prompts but the first: the same texts, other ids.
SECOND = """
    insert into benchmark.fct_pairs by name
    select * replace (
        md5(pair_id) as pair_id, 'a-second' as responder, md5(aligned_response_id) as aligned_response_id,
        md5(misaligned_response_id) as misaligned_response_id,
        'second: ' || aligned_response as aligned_response
    ) from benchmark.fct_pairs order by prompt_id offset 1;
    insert into benchmark.fct_reference_labels by name
    select * replace (md5(response_id) as response_id) from benchmark.fct_reference_labels
    where md5(response_id) in (
        select aligned_response_id from benchmark.fct_pairs
        union all select misaligned_response_id from benchmark.fct_pairs
    );
"""


def records(folder: Path, split: str) -> list[dict[str, Any]]:
    lines = (folder / "data" / f"{split}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def everything(folder: Path) -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in records(folder, split)]


def sums(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.parent.name == "__pycache__":
            continue  # a task of the export was run there
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def card(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(front), text
