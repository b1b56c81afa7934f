"""From a request's three texts to token ids, so that equal texts give equal ids and can be shared.

The turn is rendered once with a sentinel as its content; what stands before and after the sentinel
goes with the prefix and the tail. The three pieces are tokenised apart and concatenated, so a
prefix is the same ids whatever follows it. The body is untrusted: no special token is recognised in
it, so text such as ``<end_of_turn>`` stays text and cannot leave its turn.
Knows nothing about models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from misalign_profile.errors import EngineError

SENTINEL = "MISALIGNSENTINEL"


class Renderer:
    """Tokenises the pieces of a turn. Bodies over ``max_body_tokens`` lose their middle."""

    def __init__(self, tokenizer: Any, max_body_tokens: int = 4096) -> None:
        self.tokenizer = tokenizer
        self.max_body_tokens = max_body_tokens
        self.before, self.after = self._turn()
        self.bos = self._bos()
        added = tokenizer.added_tokens_decoder
        in_turn = set(self._ids(self.before)) | set(self._ids(self.after))
        self.control = {
            token.content: i
            for i, token in added.items()
            if token.special or (i in in_turn and len(token.content.strip()) > 1)
        }
        self._heads: dict[str, tuple[int, ...]] = {}
        self._feet: dict[str, tuple[int, ...]] = {}

    def head(self, prefix: str) -> tuple[int, ...]:
        """Ids of the turn's opening and the prefix; BOS exactly once where the model has one."""
        if prefix not in self._heads:
            if len(self._heads) > 4096:
                self._heads.clear()
            if self._has_control(prefix):
                ids = self._ids(self.before) + self.plain([prefix])[0]
            else:
                ids = self._ids(self.before + prefix)
            if self.bos is not None:
                while ids[:2] == [self.bos, self.bos]:
                    ids = ids[1:]
                if ids[:1] != [self.bos]:
                    ids = [self.bos, *ids]
            self._heads[prefix] = tuple(ids)
        return self._heads[prefix]

    def foot(self, tail: str) -> tuple[int, ...]:
        """Ids of the tail and the turn's closing, up to where the model starts to answer."""
        if tail not in self._feet:
            if len(self._feet) > 4096:
                self._feet.clear()
            if self._has_control(tail):
                ids = self.plain([tail])[0] + self._ids(self.after)
            else:
                ids = self._ids(tail + self.after)
            self._feet[tail] = tuple(ids)
        return self._feet[tail]

    def bodies(self, texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Ids of each distinct body; too long a body keeps its first and last tokens, half each."""
        distinct = list(dict.fromkeys(texts))
        return {
            text: self.shorten(tuple(ids), self.max_body_tokens)
            for text, ids in zip(distinct, self.plain(distinct), strict=True)
        }

    @staticmethod
    def shorten(ids: tuple[int, ...], limit: int) -> tuple[int, ...]:
        """Drop the middle of ``ids`` so that ``limit`` are left, the first half rounded up."""
        if len(ids) <= limit:
            return ids
        last = limit // 2
        return ids[: limit - last] + (ids[len(ids) - last :] if last else ())

    def plain(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts in which nothing is a control token, whatever the texts say."""
        if not texts:
            return []
        rows = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
        )["input_ids"]
        forbidden = set(self.control.values())
        return [
            row if forbidden.isdisjoint(row) else self._broken(text)
            for text, row in zip(texts, rows, strict=True)
        ]

    def options(self, options: tuple[str, ...]) -> list[tuple[int, ...]]:
        """Ids of each option as the model's answer. Raises ``EngineError`` for an empty one."""
        rows = [tuple(row) for row in self.plain(list(options))]
        for option, row in zip(options, rows, strict=True):
            if not row:
                raise EngineError(f"option {option!r} has no tokens in this vocabulary")
        return rows

    def _broken(self, text: str) -> list[int]:
        """Cut control strings after their first character: some tokens are always recognised."""
        marks = sorted(self.control, key=len, reverse=True)
        found = re.finditer("|".join(re.escape(mark) for mark in marks), text)
        cuts = [0, *(match.start() + 1 for match in found), len(text)]
        parts = [text[a:b] for a, b in pairwise(cuts) if a < b]
        rows = self.tokenizer(parts, add_special_tokens=False, split_special_tokens=True)
        forbidden = set(self.control.values())
        return [i for row in rows["input_ids"] for i in row if i not in forbidden]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _has_control(self, text: str) -> bool:
        return any(mark in text for mark in self.control)

    def _turn(self) -> tuple[str, str]:
        """The text before and after the content of a single user turn."""
        if not getattr(self.tokenizer, "chat_template", None):
            return "", ""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": SENTINEL}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        if text.count(SENTINEL) != 1:
            raise EngineError("the chat template does not show the user's text exactly once")
        before, after = text.split(SENTINEL)
        return before, after

    def _bos(self) -> int | None:
        """BOS if this tokenizer puts one in front of text or the chat template does."""
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return None
        starts = list(self.tokenizer("a")["input_ids"])[:1] == [bos]
        return bos if starts or self._ids(self.before)[:1] == [bos] else None
