"""Scores of whole options from one greedy path, against the probabilities of a small tree model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misalign_profile.engines.served_choice import Place, score_path, tokens_needed
from served_endpoint import END, greedy

CODES = ("S01", "S02", "S11", "S12", "V01", "V10", "X00")
JUNK = "?"


class Tree:
    """A language model of single characters that may leave the options, by the weights given.

    ``leaves_late``: it may also leave them after their first character.
    """

    def __init__(self, weights: Sequence[int], *, leaves_late: bool) -> None:
        self.weights, self.leaves_late = weights, leaves_late

    def __call__(self, _question: str, so_far: str) -> list[tuple[str, float]]:
        if so_far in CODES or JUNK in so_far:
            return [(END, 1.0)]
        following = sorted({c[len(so_far)] for c in CODES if c.startswith(so_far)})
        if not so_far or self.leaves_late:
            following.append(JUNK)
        mass = [1 + self.weights[hash_of(so_far + c) % len(self.weights)] ** 3 for c in following]
        return [(c, m / sum(mass)) for c, m in zip(following, mass, strict=True)]

    def probability(self, option: str) -> float:
        steps = (dict(self("", option[:n]))[option[n]] for n in range(len(option)))
        return math.prod(steps)


def hash_of(text: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(text))


def probabilities(options: Sequence[str], places: Sequence[Place]) -> list[float] | None:
    scores = score_path(options, places)
    return scores and [math.exp(score) for score in scores]


def place(token: str, **others: float) -> Place:
    """A place of the path; the probability of its own token is the largest."""
    listed = tuple((name.replace("_", " "), math.log(p)) for name, p in others.items())
    return Place(token, dict(listed)[token], listed)


weights = st.lists(st.integers(0, 30), min_size=11, max_size=11)


@settings(max_examples=300, deadline=None)
@given(weights, st.booleans(), st.sampled_from([2, 3, 5, 20]))
def test_an_option_above_one_half_is_exact_and_no_other_gets_there(weights, late, top):
    tree = Tree(weights, leaves_late=late)
    path = greedy(tree, "", tokens_needed(CODES), top)
    got = probabilities(CODES, path)
    true = [tree.probability(code) for code in CODES]
    if got is None:
        assert max(true) <= 0.5
        return
    assert math.fsum(got) <= 1 + 1e-12
    for mine, exact in zip(got, true, strict=True):
        assert mine == pytest.approx(exact) if exact > 0.5 else mine <= 0.5 + 1e-9


@settings(max_examples=300, deadline=None)
@given(weights)
def test_labels_at_half_of_the_options_sum_are_those_of_the_model(weights):
    """Where branches keep to the options the sum is exact, and so is every label at 0.5 of it."""
    tree = Tree(weights, leaves_late=False)
    got = probabilities(CODES, greedy(tree, "", tokens_needed(CODES), 20))
    if got is None:
        return
    true = [tree.probability(code) for code in CODES]
    assert math.fsum(got) == pytest.approx(math.fsum(true))
    half = math.fsum(true) / 2
    assert [p > half for p in got] == [p > half for p in true]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.text("sS01vV xno", max_size=3), st.floats(0.01, 1)), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_probabilities_never_sum_above_one_whatever_the_tokens(rows):
    """Tokens of any length, spellings of one option, empty tokens, options within options."""
    path = []
    for row in rows:
        total = sum(p for _, p in row)
        listed = tuple((token, math.log(p / total)) for token, p in row)
        path.append(Place(*max(listed, key=lambda e: e[1]), listed))
    got = probabilities(("S0", "S01", "V1", "no", "none"), path)
    assert got is None or math.fsum(got) <= 1 + 1e-12


def test_spellings_of_an_option_add_up():
    path = [place("yes", yes=0.5, Yes=0.15, _yes=0.05, no=0.2, maybe=0.1)]
    assert probabilities(("yes", "no"), path) == pytest.approx([0.7, 0.2])


def test_off_the_path_a_branch_is_shared_and_its_sum_exact():
    path = [
        place("S", S=0.7, V=0.2, X=0.1),
        place("0", **{"0": 0.75, "1": 0.25}),
        place("2", **{"2": 0.9, "1": 0.1}),
    ]
    expected = [0.0525, 0.4725, 0.0875, 0.0875, 0.1, 0.1, 0.1]
    assert probabilities(CODES, path) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["S01"], "S01"),
        ([" S", "01"], "S01"),
        (["\n", "s", "0", "1"], "S01"),
        (["S01."], "S01"),
        (["no", END], "no"),
        (["no", " problem"], "no"),
        (["no", "ne"], "none"),
        (["not"], None),
        (["S", END], None),
        (["S011"], None),
        ([END], None),
        (["\n", "\n"], None),
    ],
)
def test_what_an_answer_spells(tokens, expected):
    options = ("S01", "S02", "no", "none")
    got = probabilities(options, [Place(t, math.log(0.9), ((t, math.log(0.9)),)) for t in tokens])
    if expected is None:
        assert got is None
    else:
        assert got is not None
        assert options[got.index(max(got))] == expected
        assert max(got) == pytest.approx(0.9 ** len(tokens))


def test_an_option_never_listed_gets_a_bound_below_all_that_are():
    path = [place("S01", S01=0.5, V01=0.1, X00=0.1)]
    got = probabilities(CODES, path)
    assert got is not None
    assert (got[0], got[4], got[6]) == pytest.approx((0.5, 0.1, 0.1))
    others = [got[i] for i in (1, 2, 3, 5)]
    assert others == pytest.approx([0.05] * 4)
    crowded = probabilities(CODES, [place("S01", S01=0.7, V01=0.1, X00=0.1)])
    assert crowded is not None
    assert sum(crowded[i] for i in (1, 2, 3, 5)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "path",
    [
        [place("The", The=0.9, S=0.05, X00=0.01)],  # prose: the likeliest code is anyone's guess
        [place("X00", X00=0.3, S=0.7)],  # not the likeliest token: a penalty, or not greedy
        [place("X00", X00=0.4, S=0.3, s=0.3)],  # one option in two spellings
        [place("S", S=0.9)],  # breaks off
    ],
)
def test_a_path_that_leaves_a_label_open_is_no_answer(path):
    assert score_path(CODES, path) is None
