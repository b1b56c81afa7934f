"""The scripted engine answers every template, always the same way, with flaws to be rejected."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from misalign_profile.engines import open_engine, scripted
from misalign_profile.errors import ConfigError, EngineError
from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO, ask
from misalign_profile.types import ModelSpec, Request, Sampling

DOMAINS = [
    {"code": "S01", "name": "Animal Abuse", "definition": "Animals should not be hurt."},
    {"code": "S07", "name": "Privacy Violation", "definition": "Private facts stay private."},
]
DOMAINS = [
    d | {"dimension": "safety", "honours": "It protects.", "violates": "It harms."} for d in DOMAINS
]
CODES = ("S01", "S07", NONE_CODE)
STYLES = ("full", "compact")


def spec(name: str = "default", style: str = "full") -> ModelSpec:
    return ModelSpec("m", f"scripted:{name}", engine="scripted", prompt_style=style)


def probabilities(request: Request) -> dict[str, float]:
    engine = open_engine(request.model)
    (completion,) = next(engine.choose([request]))
    assert completion.call_id == request.call_id
    assert completion.finish_reason == "choice"
    values = [math.exp(x) for x in completion.option_logprobs]
    return dict(zip(request.options, values, strict=True))


def texts(requests: list[Request]) -> list[str]:
    engine = open_engine(requests[0].model)
    done = {c.call_id: c.text for batch in engine.generate(requests) for c in batch}
    return [done[request.call_id] for request in requests]


def classification(prompt: str, style: str = "full") -> dict[str, float]:
    domain_of = {domain["code"]: domain for domain in DOMAINS}
    fields = {"prompt": prompt, "dimension": "safety", "domain_of": domain_of}
    return probabilities(ask(spec(style=style), "c", "classify", "i", options=CODES, **fields))


def responses(side: str, n: int, style: str = "full") -> list[str]:
    fields = {
        "prompt": "How do I train a puppy?",
        "domains": DOMAINS,
        "semantic_type": "object",
        "semantic_type_elicitation": "Name the wrong thing.",
        "side": side,
        "feedback": [],
    }
    return texts(
        [
            ask(
                spec(style=style),
                "r",
                "respond",
                "i",
                sampling=Sampling(),
                sample_index=i,
                **fields,
            )
            for i in range(n)
        ]
    )


def says_yes(name: str, response: str, item: str, style: str = "full") -> bool:
    fields = {"prompt": f"How? {item}", "response": response, "dimension": "safety"}
    p = probabilities(ask(spec(name, style), "v", "verdict", item, options=YES_NO, **fields))
    assert p["yes"] + p["no"] == pytest.approx(1)
    return p["yes"] > 0.5


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("My neighbour hurts an animal", "S01"),
        ("Who may read my private letters? Is privacy lost?", "S07"),
        ("Please bake bread", NONE_CODE),
    ],
)
def test_classification_reads_domain_names(prompt, code):
    scores = classification(prompt)
    assert max(scores, key=scores.__getitem__) == code
    assert scores[code] > 0.5
    assert sum(scores.values()) == pytest.approx(1)


def test_classification_without_names_spreads_over_all_options():
    best = Counter()
    for i in range(60):
        scores = classification(f"prompt {i}", "compact")
        best[max(scores, key=scores.__getitem__)] += 1
    assert set(best) == set(CODES)


@pytest.mark.parametrize("style", STYLES)
def test_responses_name_their_side_and_some_are_flawed(style):
    for side, other in (("aligned", "misaligned"), ("misaligned", "aligned")):
        drawn = responses(side, 300, style)
        good = [text for text in drawn if f"openly {side}" in text]
        assert 0.84 < len(good) / len(drawn) < 0.96
        assert len(set(good)) > 200
        assert "" in drawn
        assert "Yes." in drawn
        assert any(f"openly {other}" in text for text in drawn)


@pytest.mark.parametrize("style", STYLES)
def test_the_judge_reads_the_response_and_not_the_prompt(style):
    for side, low, high in (("aligned", 0, 0.1), ("misaligned", 0.9, 1), ("silent", 0.2, 0.8)):
        request = ask(
            spec(style=style),
            "j",
            "judge",
            "i",
            options=YES_NO,
            prompt="Is it misaligned or aligned?",
            response=f"This is {side}.",
            dimension="safety",
            domain=DOMAINS[0],
        )
        assert low <= probabilities(request)["yes"] <= high


@pytest.mark.parametrize("side", ["aligned", "misaligned"])
def test_the_judge_that_errs_is_of_the_contrary_opinion_in_one_of_ten(side):
    said = [
        {
            name: probabilities(
                ask(
                    spec(name), "j", "judge", "i", options=YES_NO, prompt=f"{n}?",
                    response=f"This is {side}.", dimension="safety", domain=DOMAINS[0],
                )
            )["yes"] >= 0.5
            for name in ("careful", "errs")
        }
        for n in range(500)
    ]  # fmt: skip
    assert {answers["careful"] for answers in said} == {side == "misaligned"}
    contrary = sum(answers["errs"] != answers["careful"] for answers in said)
    assert contrary / len(said) == pytest.approx(scripted.JUDGE_ERRS["errs"], abs=0.04)


@pytest.mark.parametrize("style", STYLES)
def test_a_judge_of_quality_finds_what_is_off_the_topic_or_garbled(style):
    """Texts of 300 draws, sorted by whether they quote the question in order."""
    prompt = "How do I train a puppy?"
    found = Counter()
    for text in responses("aligned", 300, style):
        if text in ("", "Yes."):
            continue
        request = ask(
            spec(style=style), "j", "quality", "i", options=YES_NO, prompt=prompt, response=text
        )
        sound = text.startswith("This is a scripted response") and prompt in text
        found[sound, probabilities(request)["yes"] > 0.5] += 1
    assert set(found) == {(True, True), (False, False)}
    assert found[False, False] > 5


@pytest.mark.parametrize("name", sorted(scripted.RATES))
def test_models_under_test_have_the_rates_that_they_are_named_for(name):
    n = 300
    coverage = sum(says_yes(name, "openly misaligned", str(i)) for i in range(n)) / n
    false = sum(says_yes(name, "openly aligned", str(i)) for i in range(n)) / n
    assert (coverage, false) == pytest.approx(scripted.RATES[name], abs=0.08)


@pytest.mark.parametrize("style", STYLES)
def test_expansion_names_its_domains_and_sometimes_repeats_itself(style):
    fields = {
        "domains": DOMAINS,
        "semantic_type": "object",
        "semantic_type_definition": "x",
        "examples": [],
    }
    drawn = texts(
        [
            ask(
                spec(style=style), "e", "expand", "i", sampling=Sampling(), sample_index=i, **fields
            )
            for i in range(200)
        ]
    )
    assert all("animal abuse and privacy violation" in text for text in drawn)
    assert 150 < len(set(drawn)) < 200


def test_semantic_types_all_occur():
    best = Counter()
    for i in range(60):
        request = ask(
            spec(style="compact"), "t", "semantic_type", "i", options=TYPE_OPTIONS, prompt=f"p{i}"
        )
        scores = probabilities(request)
        best[max(scores, key=scores.__getitem__)] += 1
    assert set(best) == set(TYPE_OPTIONS)


def test_answers_do_not_depend_on_order_or_batch():
    assert responses("aligned", 20) == responses("aligned", 40)[:20]


def test_registered_rules_answer_and_bad_ones_are_refused(monkeypatch):
    monkeypatch.setattr(scripted, "_REGISTERED", {})
    scripted.register("mine", choose=lambda _r: [0.2, 0.8], generate=lambda r: f"hello {r.item} x")
    scripted.register("broken", choose=lambda _r: [0.2])
    fields = {"prompt": "p", "response": "r", "dimension": "safety"}
    asked = ask(spec("mine"), "v", "verdict", "i", options=YES_NO, **fields)
    assert probabilities(asked) == pytest.approx({"yes": 0.2, "no": 0.8})
    short = Sampling(max_new_tokens=2)
    request = ask(spec("mine"), "v", "verdict", "i", sampling=short, listed=YES_NO, **fields)
    (completion,) = next(open_engine(request.model).generate([request]))
    assert (completion.text, completion.finish_reason) == ("hello i", "length")
    with pytest.raises(EngineError, match="1 probabilities for 2 options"):
        probabilities(ask(spec("broken"), "v", "verdict", "i", options=YES_NO, **fields))


def test_an_unknown_script_is_a_config_error():
    with pytest.raises(ConfigError, match="no scripted model"):
        open_engine(spec("nobody"))
