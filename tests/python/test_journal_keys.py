"""The key of a call: what can change the answer is in it, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from misalign_profile import journal as journal_module
from misalign_profile.budget import Budget, Prices
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.types import ModelSpec, Request, Sampling
from stub_engine import SPEC, Stub, answer, choice, request

MODEL = [
    ("source", "other"),
    ("revision", "other"),
    ("engine", "other"),
    ("dtype", "other"),
    ("prompt_style", "compact"),
]
TEXTS = [(k, "other") for k in ("template", "template_hash", "prefix", "body", "tail")]
SAMPLING = [("temperature", 0.1), ("top_p", 0.1), ("max_new_tokens", 1), ("seed", 1)]


@pytest.mark.parametrize("base", [request(), choice()], ids=["generate", "choose"])
@pytest.mark.parametrize(("field", "value"), MODEL)
def test_what_the_model_is_changes_the_key(base: Request, field: str, value: str) -> None:
    assert replace(base, model=replace(SPEC, **{field: value})).call_id != base.call_id


@pytest.mark.parametrize("base", [request(), choice()], ids=["generate", "choose"])
@pytest.mark.parametrize(("field", "value"), TEXTS)
def test_what_is_asked_changes_the_key(base: Request, field: str, value: str) -> None:
    assert replace(base, **{field: value}).call_id != base.call_id


@pytest.mark.parametrize(("field", "value"), SAMPLING)
def test_how_text_is_drawn_changes_the_key(field: str, value: float) -> None:
    changed = request(sampling=replace(Sampling(), **{field: value}))
    assert changed.call_id != request().call_id


def test_each_draw_has_a_key_of_its_own_and_a_choice_one_key_for_all_items() -> None:
    assert request(sample_index=1).call_id != request().call_id
    assert request(item="other").call_id != request().call_id
    assert choice(item="other").call_id == choice().call_id
    assert choice(sample_index=1).call_id != choice().call_id
    assert choice(options=("no", "yes")).call_id != choice().call_id
    assert choice(options=("yesno",)).call_id != choice().call_id


def test_text_does_not_slip_from_one_part_into_the_next() -> None:
    assert request(prefix="ab", body="c").call_id != request(prefix="a", body="bc").call_id


@pytest.mark.parametrize("base", [request(), choice()], ids=["generate", "choose"])
@pytest.mark.parametrize("field", ["model", "category"])
def test_what_a_model_is_called_does_not_change_the_key(base: Request, field: str) -> None:
    assert replace(base, model=replace(SPEC, **{field: "other"})).call_id == base.call_id
    assert replace(base, stage="other").call_id == base.call_id


def test_other_batches_and_engines_kept_open_ask_nothing_again(tmp_path: Path) -> None:
    for tokens, resident, size in ((64, 1, 1), (16384, 3, 5)):
        stub = Stub(size=size)
        with Inference(Journal(tmp_path), batch_tokens=tokens, resident=resident, opener=stub) as i:
            i.ask([request(n) for n in range(5)], label="test")
        assert len(stub.asked) == (5 if tokens == 64 else 0)


# Every field of a question: whether it is in the key of a draw, and in that of a choice.
FIELDS: dict[str, tuple[Any, bool, bool]] = {
    "model.model": ("other", False, False),
    "model.source": ("other", True, True),
    "model.engine": ("other", True, True),
    "model.revision": ("other", True, True),
    "model.dtype": ("other", True, True),
    "model.category": ("other", False, False),
    "model.prompt_style": ("other", True, True),
    "sampling.temperature": (0.1, True, False),
    "sampling.top_p": (0.1, True, False),
    "sampling.max_new_tokens": (1, True, False),
    "sampling.seed": (1, True, False),
    "stage": ("other", False, False),
    "template": ("other", True, True),
    "template_hash": ("other", True, True),
    "item": ("other", True, False),
    "prefix": ("other", True, True),
    "body": ("other", True, True),
    "tail": ("other", True, True),
    "options": (("yes", "no", "perhaps"), False, True),
    "sample_index": (7, True, True),
    "option_order": (1, False, False),
}


def test_every_field_of_a_question_is_thought_of() -> None:
    """A field that is new must be put into the table above, and so into the key or not."""
    known = {f.name for f in fields(Request)} - {"model", "sampling"}
    known |= {f"model.{f.name}" for f in fields(ModelSpec)}
    known |= {f"sampling.{f.name}" for f in fields(Sampling)}
    assert known == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_in_the_key_or_not(name: str) -> None:
    value, draw, chosen = FIELDS[name]
    part, _, field = name.rpartition(".")
    for base, expected in ((request(), draw), (choice(), chosen)):
        if (part == "sampling" and base.sampling is None) or (
            name == "options" and not base.options
        ):
            continue
        new = {part: replace(getattr(base, part), **{field: value})} if part else {field: value}
        assert (replace(base, **new).call_id != base.call_id) is expected, base.verb


def test_another_run_on_another_machine_after_failures_and_within_a_budget_asks_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [*map(request, range(5)), *map(choice, range(5))]

    def hard(question: Request) -> Any:
        return replace(answer(question), retries=2, failures=("429", "timeout"), seconds=60.0)

    with Inference(Journal(tmp_path, run_id="one"), opener=Stub(hard)) as inference:
        first = inference.ask(questions, label="test")
    monkeypatch.setattr(journal_module, "machine", lambda: "NVIDIA H200")
    again = Stub()
    with Inference(
        Journal(tmp_path, run_id="two"), opener=again, budget=Budget(calls=1), prices=Prices([])
    ) as inference:
        assert inference.ask(questions, label="test") == first
    assert again.asked == []
