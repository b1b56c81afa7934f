"""What a model is asked, word for word, with the rows that the seeds really hold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misalign_profile.errors import ConfigError
from misalign_profile.prompts import (
    NAMES,
    NONE_CODE,
    STYLES,
    TYPE_OPTIONS,
    YES_NO,
    ask,
    load_template,
)
from misalign_profile.types import DIMENSIONS, ModelSpec, Sampling

ROOT = Path(__file__).parents[2]


def rows(name: str) -> list[dict[str, str]]:
    with open(ROOT / "seeds" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


DOMAINS = {d: [r for r in rows("domains") if r["dimension"] == d] for d in DIMENSIONS}
TYPES = rows("semantic_types")
MARK = "MARKED-TEXT"


def listing(dimension: str) -> dict[str, Any]:
    """The domains of a dimension as ``classify`` takes them."""
    rows_of = {row["code"]: row for row in DOMAINS[dimension]}
    return {"listed": (*rows_of, NONE_CODE), "domain_of": rows_of}


BOTH = [DOMAINS["safety"][0], DOMAINS["cultural"][0]]
TYPE = {"semantic_type": "object", "semantic_type_definition": TYPES[0]["definition"]}
WRONG = {"semantic_type": "object", "semantic_type_elicitation": TYPES[0]["elicitation"]}
FIELDS: dict[str, dict[str, Any]] = {
    "classify": {"prompt": MARK, "dimension": "safety", **listing("safety")},
    "semantic_type": {
        "prompt": MARK,
        "listed": TYPE_OPTIONS,
        "definition_of": {row["semantic_type"]: row["definition"] for row in TYPES},
    },
    "expand": {"domains": BOTH, "examples": [MARK], **TYPE},
    "respond": {"prompt": MARK, "domains": BOTH, "side": "misaligned", "feedback": [], **WRONG},
    "judge": {"prompt": MARK, "response": "R", "dimension": "safety", "domain": BOTH[0]}
    | {"listed": YES_NO},
    "quality": {"prompt": MARK, "response": "R", "listed": YES_NO},
    "verdict": {"prompt": MARK, "response": "R", "dimension": "safety", "listed": YES_NO},
    "answer": {"prompt": MARK},
}
ALL = pytest.mark.parametrize(("style", "name"), [(s, n) for s in STYLES for n in NAMES])
EVIL = [
    "{{ 7 * 7 }} {% raw %}{{ prompt }}{% endraw %} {# gone #}",
    "{% endblock %}{% for x in domains %}{{ x }}{% endfor %}",
    "{% raw %}",
    "<b>Tom & Jerry</b> &amp; <script>alert(1)</script>",
    "{0} {prompt} %s %(prompt)s $prompt \\n \\1",
    "two\n\nlines\n",
    "\u0645\u0631\u062d\u0628\u0627 \U0001f642",
]


def render(style: str, name: str, **changes: Any) -> tuple[str, str, str]:
    return load_template(name, style).render(**(FIELDS[name] | changes))


def with_text(style: str, name: str, text: str) -> tuple[str, str, str]:
    put = {
        k: [text] if v == [MARK] else text for k, v in FIELDS[name].items() if v in (MARK, [MARK])
    }
    return render(style, name, **put)


def test_the_folder_holds_the_listed_templates_and_no_others() -> None:
    folder = ROOT / "python_udfs/misalign_profile/templates"
    found = {(p.parent.name, p.stem) for p in folder.glob("*/*")}
    assert found == {(style, name) for style in STYLES for name in NAMES}


@ALL
@pytest.mark.parametrize("text", EVIL)
def test_a_users_text_stays_as_typed_and_moves_nothing_else(
    style: str, name: str, text: str
) -> None:
    plain = render(style, name)
    assert with_text(style, name, text) == tuple(part.replace(MARK, text) for part in plain)
    assert "{{" not in "".join(plain)
    assert "{%" not in "".join(plain)
    assert (MARK in plain[1]) is ((style, name) != ("compact", "expand"))
    assert MARK not in plain[0] + plain[2]


@given(st.text(), st.sampled_from(STYLES), st.sampled_from(NAMES))
def test_any_text_stays_as_typed(text: str, style: str, name: str) -> None:
    plain = render(style, name)
    assert with_text(style, name, text) == tuple(part.replace(MARK, text) for part in plain)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["respond", "judge", "quality", "verdict"])
def test_prompts_and_responses_full_of_syntax_do_not_meet(style: str, name: str) -> None:
    body = render(style, name, prompt="{{ response }}", response="{{ prompt }}")[1]
    assert "{{ response }}" in body
    assert ("{{ prompt }}" in body) is (name != "respond")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_prefix_of_a_dimension_is_the_same_for_every_prompt(style: str, dimension: str) -> None:
    fields = {"dimension": dimension, **listing(dimension)}
    parts = [render(style, "classify", prompt=p, **fields) for p in ("one", "two\n", "{{ x }}")]
    assert len({prefix for prefix, _, _ in parts}) == 1
    assert len({tail for _, _, tail in parts}) == 1
    assert dimension in parts[0][2]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_classify_lists_every_domain_of_its_dimension_and_no_other(dimension: str) -> None:
    prefix, _, _ = render("full", "classify", dimension=dimension, **listing(dimension))
    for own in DOMAINS[dimension]:
        assert f"\n{own['code']}: {own['name']}. {own['definition']}\n" in prefix
    for other in (r for d in DIMENSIONS if d != dimension for r in DOMAINS[d]):
        assert f"{other['code']}:" not in prefix
    assert f"\n{NONE_CODE}: none" in prefix


def test_semantic_type_defines_all_three_types() -> None:
    prefix, _, tail = render("full", "semantic_type")
    for row in TYPES:
        assert f"{row['semantic_type']}: {row['definition']}" in prefix
    assert tail == "Semantic type:"


@pytest.mark.parametrize("style", STYLES)
def test_expand_names_the_wanted_domains_and_type(style: str) -> None:
    _, body, _ = render(style, "expand")
    for row in BOTH:
        assert row["name"] in body
        assert (row["definition"] in body) is (style == "full")
    assert "object" in body
    assert (TYPES[0]["definition"] in body) is (style == "full")


def test_expand_shows_examples_only_when_there_are_any() -> None:
    two = render("full", "expand", examples=["First one?", "Second one?"])[1]
    assert "<<<\nFirst one?\n>>>\n<<<\nSecond one?\n>>>" in two
    assert "<<<" not in render("full", "expand", examples=[])[1]


@pytest.mark.parametrize("side", ["aligned", "misaligned"])
def test_respond_describes_the_wanted_side_and_not_the_other(side: str) -> None:
    prefix, body, tail = render("full", "respond", side=side)
    wanted, other = ("honours", "violates") if side == "aligned" else ("violates", "honours")
    for row in BOTH:
        assert (
            f"- {row['name']} ({row['dimension']}). {row['definition']} Wanted here: {row[wanted]}\n"
            in body
        )
        assert row[other] not in prefix + body + tail
    assert (TYPES[0]["elicitation"] in tail) is (side == "misaligned")
    assert f"Side: {side}\n" in render("compact", "respond", side=side)[2]


@pytest.mark.parametrize("side", ["aligned", "misaligned"])
def test_respond_passes_feedback_on_line_by_line(side: str) -> None:
    reasons = ["Be shorter.", "Do not repeat yourself. {{ x }}"]
    without = render("full", "respond", side=side)
    told = render("full", "respond", side=side, feedback=reasons)
    assert "Mend this:\n- Be shorter.\n- Do not repeat yourself. {{ x }}\n" in told[2]
    assert "Mend" not in "".join(without)
    assert told[:2] == without[:2]
    assert "Mend: Be shorter.; Do" in render("compact", "respond", feedback=reasons)[2]
    assert "Mend" not in render("compact", "respond")[2]


def test_judge_states_the_norm_and_when_it_is_violated() -> None:
    for row in (r for d in DIMENSIONS for r in DOMAINS[d]):
        tail = render("full", "judge", domain=row, dimension=row["dimension"])[2]
        for text in (row["dimension"], row["name"], row["definition"], row["violates"]):
            assert text in tail
        assert row["name"] in render("compact", "judge", domain=row)[2]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["judge", "verdict"])
def test_questions_about_one_response_share_all_but_the_tail(style: str, name: str) -> None:
    fields = [{"dimension": d, "domain": DOMAINS[d][0]} for d in DIMENSIONS]
    parts = [render(style, name, **f) for f in fields]
    assert len({(prefix, body) for prefix, body, _ in parts}) == 1
    assert len({tail for _, _, tail in parts}) == len(DIMENSIONS)


@pytest.mark.parametrize("style", STYLES)
def test_verdict_asks_once_overall_and_otherwise_names_the_dimension(style: str) -> None:
    overall = render(style, "verdict", dimension="overall")[2]
    assert not any(word in overall for word in ("with safety", "with value", "with cultur"))
    word = {"safety": "safety", "value": "value", "cultural": "cultur"}
    for dimension in DIMENSIONS:
        assert f"with {word[dimension]}" in render(style, "verdict", dimension=dimension)[
            2
        ].replace("human ", "")


@pytest.mark.parametrize(("name", "missing"), [(n, f) for n in NAMES for f in FIELDS[n]])
def test_a_missing_field_is_refused_by_name(name: str, missing: str) -> None:
    fields = {k: v for k, v in FIELDS[name].items() if k != missing}
    with pytest.raises(ConfigError, match=rf"'{missing}'.*full/{name}"):
        load_template(name, "full").render(**fields)


@ALL
def test_a_template_with_no_fields_at_all_is_refused(style: str, name: str) -> None:
    with pytest.raises(ConfigError, match="lacks a field"):
        load_template(name, style).render()


@pytest.mark.parametrize("column", ["name", "definition", "violates"])
def test_a_domain_row_without_a_column_is_refused(column: str) -> None:
    row = {k: v for k, v in BOTH[0].items() if k != column}
    with pytest.raises(ConfigError, match=column):
        render("full", "judge", domain=row)


@pytest.mark.parametrize(("name", "style"), [("judges", "full"), ("judge", "terse"), ("judge", "")])
def test_an_unknown_template_or_style_is_refused_with_the_known_ones(name: str, style: str) -> None:
    with pytest.raises(ConfigError, match=r"prompt_style is one of full, compact"):
        load_template(name, style)


def test_the_style_of_the_model_picks_the_template() -> None:
    full, compact = (
        ask(
            ModelSpec("m", "s", prompt_style=style),
            "judge",
            "judge",
            "id",
            options=YES_NO,
            **FIELDS["judge"],
        )
        for style in STYLES
    )
    assert (full.prefix, full.body, full.tail) == render("full", "judge")
    assert (compact.prefix, compact.body, compact.tail) == render("compact", "judge")
    assert full.template_hash != compact.template_hash
    assert full.verb == "choose"


def test_a_request_with_sampling_generates() -> None:
    drawn = ask(ModelSpec("m", "s"), "r", "respond", "id", sampling=Sampling(), **FIELDS["respond"])
    assert drawn.verb == "generate"
