"""The demo checkpoints' own tokenizer, chat templates, and how text becomes tokens.

Byte-level BPE, 2,048 entries. A domain code at the start of a turn is one token because the
pre-tokenizer keeps it whole and the corpus shows it often. A turn is tokenised as the engines do:
[before + prefix] [body] [tail + after], apart, and the body cannot smuggle in special tokens.
Knows nothing about the grammar or training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 2048
PIECES = r"[SVCX][0-9]{2}(?![0-9])| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_BODY = "\u241f"

_GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
_CHATML = """{% for message in messages %}\
{{ '<|im_start|>' + message['role'] + '\\n' }}{{ message['content'] + '<|im_end|>' + '\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
_LLAMA = """{{ bos_token }}{% for message in messages %}\
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}\
{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}\
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
_MISTRAL = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}\
{{ '[INST] ' + message['content'] + '[/INST]' }}{% else %}\
{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a family writes a turn: template, special tokens, the token that ends a turn."""

    chat_template: str
    bos: str | None
    eos: str
    pad: str
    end_of_turn: str
    others: tuple[str, ...] = ()

    def special(self) -> list[str]:
        """All special tokens, each once, in the order of their ids."""
        names = [self.pad, self.eos, self.bos, self.end_of_turn, *self.others]
        return list(dict.fromkeys(n for n in names if n))


DIALECTS = {
    "gemma": Dialect(
        _GEMMA, "<bos>", "<eos>", "<pad>", "<end_of_turn>", ("<unk>", "<start_of_turn>")
    ),
    "chatml": Dialect(
        _CHATML, None, "<|im_end|>", "<|endoftext|>", "<|im_end|>", ("<|im_start|>",)
    ),
    "llama": Dialect(
        _LLAMA,
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
        "<|eot_id|>",
        ("<|start_header_id|>", "<|end_header_id|>"),
    ),
    "mistral": Dialect(_MISTRAL, "<s>", "</s>", "<pad>", "</s>", ("[INST]", "[/INST]")),
}


def train_tokenizer(texts: Iterable[str], answers: Sequence[str], dialect: Dialect) -> Tokenizer:
    """Train byte-level BPE with each of ``answers`` one token. Raises ``ValueError`` if not."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=dialect.special(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = list(texts)
    lines = [answer for answer in answers for _ in range(max(200, len(corpus) // 50))]
    tokenizer.train_from_iterator(corpus + lines, trainer)
    split = [a for a in answers if len(tokenizer.encode(a).ids) != 1]
    if split:
        raise ValueError(f"not one token each: {', '.join(split[:5])}")
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, dialect: Dialect, folder: Path, limit: int) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``."""
    folder.mkdir(parents=True, exist_ok=True)
    compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": dialect.bos,
        "eos_token": dialect.eos,
        "pad_token": dialect.pad,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": limit,
    }
    text = json.dumps({k: v for k, v in config.items() if v is not None}, indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(dialect.chat_template + "\n", encoding="utf-8")


class TurnEncoder:
    """Tokenises turns as the engines do. ``tokenizer`` is a loaded Hugging Face fast tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": _BODY}], tokenize=False, add_generation_prompt=True
        )
        self.before, self.after = text.split(_BODY)
        self.plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.guarded = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.guarded.encode_special_tokens = True
        self._known: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self.plain.encode(text, add_special_tokens=False).ids
        return self._known[text]

    def prefix(self, prefix: str) -> list[int]:
        """Tokens of the turn's start and the prefix."""
        return self._ids(self.before + prefix)

    def bodies(self, bodies: Sequence[str]) -> list[list[int]]:
        """Tokens of each body; special tokens in it are plain characters."""
        return [e.ids for e in self.guarded.encode_batch(list(bodies), add_special_tokens=False)]

    def tail(self, tail: str) -> list[int]:
        """Tokens of the tail and the start of the model's turn."""
        return self._ids(tail + self.after)

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each answer, without an end of turn."""
        return [e.ids for e in self.guarded.encode_batch(list(texts), add_special_tokens=False)]

    def turn(self, prefix: str, body: str, tail: str) -> list[int]:
        """Tokens of one whole question."""
        return self.prefix(prefix) + self.bodies([body])[0] + self.tail(tail)
