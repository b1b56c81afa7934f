"""The demo grammar: deterministic, held-out pairs apart, every response true to its label."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from misalign_profile.demo import corpus, frames
from misalign_profile.demo.grammar import (
    SEED_HELD_OUT_SHARE,
    by_dimension,
    cut_short,
    is_held_out,
    load_lexicon,
    load_seed_prompts,
    make_prompt,
    make_response,
)
from misalign_profile.demo.zoo import RECIPES
from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO
from misalign_profile.types import DIMENSIONS, SEMANTIC_TYPES, SIDES

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [ROOT / "demo_checkpoints" / r.name for r in RECIPES]
LEXICON = load_lexicon()
GROUPS = by_dimension(LEXICON)


def combinations(prompt):
    """Every (frame, topic) pair that could have made the prompt."""
    return [
        (frame, topic)
        for frame in frames.PROMPT_FRAMES[prompt.semantic_type]
        if all(piece in prompt.text.lower() for piece in fixed_pieces(frame))
        for topic in prompt.topics
    ]


def fixed_pieces(frame):
    """The parts of a frame between its slots."""
    for slot in ("{t}", "{who}", "{where}", "{when}"):
        frame = frame.replace(slot, "\0")
    return [p.lower() for p in frame.split("\0") if len(p) > 3]


def test_lexicon_is_complete():
    assert {d: len(g) for d, g in GROUPS.items()} == {"safety": 14, "value": 56, "cultural": 42}
    assert len({d.code for d in LEXICON}) == len(LEXICON)
    topics = [t for d in LEXICON for t in d.topics]
    assert len(set(topics)) == len(topics)


def test_frames_are_many_and_tell_the_type():
    every = [f for kind in SEMANTIC_TYPES for f in frames.PROMPT_FRAMES[kind]]
    assert all(len(frames.PROMPT_FRAMES[kind]) >= 24 for kind in SEMANTIC_TYPES)
    assert len(set(every)) == len(every)
    assert all(f.count("{t}") == 1 for f in (*every, *frames.EXTRAS, *frames.STEMS))


def test_same_seed_same_text():
    def once(seed):
        rng = random.Random(seed)
        prompts = [make_prompt(rng, GROUPS) for _ in range(50)]
        return [(p.text, make_response(rng, p, "misaligned").text) for p in prompts]

    assert once(1) == once(1)
    assert once(1) != once(2)


@pytest.mark.parametrize("held_out", [True, False])
def test_held_out_combinations_are_disjoint(held_out):
    rng = random.Random(4)
    for _ in range(300):
        prompt = make_prompt(rng, GROUPS, held_out=held_out)
        possible = combinations(prompt)
        assert {t for _, t in possible} == set(prompt.topics)
        for topic in prompt.topics:
            assert held_out in {is_held_out(f, t) for f, t in possible if t == topic}


def test_held_out_words_are_seen_in_training():
    for words in ([t for d in LEXICON for t in d.topics],):
        for word in words:
            kept = [
                is_held_out(f, word) for kind in SEMANTIC_TYPES for f in frames.PROMPT_FRAMES[kind]
            ]
            assert not all(kept)


@pytest.mark.parametrize("side", SIDES)
def test_response_says_what_its_label_says(side):
    rng = random.Random(5)
    for _ in range(300):
        prompt = make_prompt(rng, GROUPS)
        response = make_response(rng, prompt, side)
        low = response.text.lower()
        assert {s.domain.slug for s in response.said} == {d.slug for d in prompt.domains}
        for said in response.said:
            own = said.domain.violate if said.violates else said.domain.honour
            assert said.clause in own[prompt.semantic_type]
            assert said.clause.lower() in low
        assert any(s.violates for s in response.said) == (side == "misaligned")
        assert response.misaligned("overall") == (side == "misaligned")
        for dimension in DIMENSIONS:
            label = prompt.label(dimension)
            assert response.misaligned(dimension) == bool(label and response.violates(label))
        assert 20 <= len(response.text.split()) <= 60


def test_a_cut_response_keeps_only_what_can_be_read():
    rng = random.Random(6)
    for _ in range(200):
        response = make_response(rng, make_prompt(rng, GROUPS), "misaligned")
        short = cut_short(rng, response)
        assert response.text.startswith(short.text)
        for said in short.said:
            half = said.clause.lower().split(" ")[: len(said.clause.split(" ")) // 2 + 1]
            assert " ".join(half) in short.text.lower()


def test_questions_of_one_example_share_one_body():
    rng = random.Random(7)
    source = corpus.Source(LEXICON)
    for task in ("classify", "semantic_type", "judge", "verdict", "expand", "respond"):
        example = corpus.draw(rng, source, task)
        assert example.questions
        assert all(q.answer and q.tail for q in example.questions)


def test_seed_prompts_are_split_within_every_domain():
    folder = ROOT / "seeds"
    seeds = load_seed_prompts(folder, LEXICON)
    train, test = {p.text for p in seeds.train}, {p.text for p in seeds.test}
    assert not train & test
    share = len(test) / (len(train) + len(test))
    assert abs(share - SEED_HELD_OUT_SHARE) < 0.05
    for part in (seeds.train, seeds.test):
        assert {d.slug for p in part for d in p.domains} == {d.slug for d in LEXICON}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda f: f.name)
def test_codes_are_single_tokens_in_shipped_checkpoints(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    turn = [{"role": "user", "content": "Domain of safety:"}]
    asked = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    base = tokenizer(asked, add_special_tokens=False)["input_ids"]
    for option in (*(d.code for d in LEXICON), NONE_CODE, *YES_NO, *TYPE_OPTIONS):
        ids = tokenizer(asked + option, add_special_tokens=False)["input_ids"]
        assert ids[:-1] == base
        assert tokenizer.decode(ids[-1:]) == option


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda f: f.name)
def test_shipped_checkpoints_are_small_and_whole(folder):
    names = {f.name for f in folder.iterdir()}
    assert {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    } <= names
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 3_000_000
