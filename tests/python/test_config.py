"""Vars, roles and model rows that are wrong are refused by name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from misalign_profile.config import ROLES, Roles, stage_config
from misalign_profile.errors import ConfigError
from misalign_profile.types import ModelSpec

ROOT = Path(__file__).parents[2]
MODELS: list[dict[str, Any]] = [
    {
        "model": name,
        "source": f"stub:{source}",
        "engine": "scripted",
        "revision": None,
        "dtype": None,
        "category": None,
        "prompt_style": "full",
    }
    for name, source in (("one", "one"), ("two", "two"), ("alias", "one"))
]


def row(role: str, model: str, position: int = 1, target: str = "t") -> dict[str, Any]:
    return {"target": target, "role": role, "model": model, "position": position}


def seed(name: str) -> list[dict[str, str]]:
    with open(ROOT / "seeds" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_text_from_dbt_becomes_numbers() -> None:
    config = stage_config(
        {
            "target": "t",
            "batch_tokens": "128",
            "temperature": "0",
            "allow_judge_as_responder": "True",
        }
    )
    assert config.batch_tokens == 128
    assert config.sampling.temperature == 0
    assert config.allow_judge_as_responder is True


def test_limits_and_sampling_are_those_of_the_vars() -> None:
    meta = {"response_min_words": 3, "response_max_words": 9, "sampling_seed": 7, "top_p": 0.5}
    config = stage_config({"target": "t", **meta})
    assert (config.limits.min_words, config.limits.max_words) == (3, 9)
    assert (config.sampling.seed, config.sampling.top_p) == (7, 0.5)


def test_an_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="batch_tokns") as error:
        stage_config({"target": "t", "batch_tokns": 128})
    assert "--vars" in one_line(error)


def test_a_missing_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="target: Field required"):
        stage_config({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_tokens", "many"),
        ("batch_tokens", 1),
        ("temperature", -0.1),
        ("temperature", "nan"),
        ("top_p", 0),
        ("top_p", 1.5),
        ("max_new_tokens", 0),
        ("candidates_per_side", 0),
        ("candidates_per_side", 2.5),
        ("resampling_rounds", -1),
        ("verdict_threshold", 1),
        ("engines_resident", 0),
        ("allow_judge_as_responder", "perhaps"),
        ("prompts_limit", -1),
        ("prompts_label_columns", "domain"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key) as error:
        stage_config({"target": "t", key: value})
    one_line(error)


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        stage_config({"target": "t", "top_p": 9, "nonsense": 1})
    assert "top_p" in one_line(error)
    assert "nonsense" in str(error.value)


def test_the_vars_of_the_project_are_accepted() -> None:
    variables = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    for target in ("embedded", "scripted", "laptop", "gpu", "served"):
        known = stage_config({"target": target}).model_dump().keys() & variables.keys()
        meta = {k: v.get(target, v) if isinstance(v, dict) else v for k, v in variables.items()}
        assert stage_config({"target": target} | {k: meta[k] for k in known}).target == target
        assert {"temperature", "candidates_per_side", "prompts_source", "batch_tokens"} <= known


def test_models_of_a_role_come_in_order_of_position() -> None:
    roles = Roles("t", [row("responder", "two", 2), row("responder", "one", 1)], MODELS)
    assert [m.model for m in roles.all("responder")] == ["one", "two"]
    assert roles.all("responder")[0] == ModelSpec("one", "stub:one", "scripted")


def test_rows_of_other_targets_do_not_count() -> None:
    roles = [row("judge", "one"), row("judge", "two", target="other"), row("x", "y", target="z")]
    assert Roles("t", roles, MODELS).one("judge").model == "one"


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown role 'jury' \[seeds/roles.csv\]") as error:
        Roles("t", [row("jury", "one")], MODELS)
    assert all(role in one_line(error) for role in ROLES)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"judge names the model 'three'.*seeds/models.csv") as e:
        Roles("t", [row("judge", "three")], MODELS)
    one_line(e)


@pytest.mark.parametrize("role", ROLES)
def test_an_unknown_target_has_no_models(role: str) -> None:
    with pytest.raises(ConfigError, match=rf"'tt' has no {role}.*add a row: tt,{role},") as error:
        Roles("tt", [row(role, "one")], MODELS).all(role)
    one_line(error)


def test_a_role_for_one_refuses_two() -> None:
    with pytest.raises(ConfigError, match="has 2 models as judge; it takes one"):
        Roles("t", [row("judge", "one"), row("judge", "two", 2)], MODELS).one("judge")


@pytest.mark.parametrize(("judge", "shared"), [("one", True), ("alias", True), ("two", False)])
def test_judge_and_responder_are_told_apart_by_checkpoint_not_by_name(
    judge: str, shared: bool
) -> None:
    roles = Roles("t", [row("judge", judge), row("responder", "one")], MODELS)
    roles.check_separation(allow=True)
    if not shared:
        return roles.check_separation(allow=False)
    with pytest.raises(ConfigError, match="also the responder 'one'"):
        roles.check_separation(allow=False)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("one", "the second judge 'one' is also the responder 'one'"),
        ("alias", "the second judge 'alias' is also the responder 'one'"),
        ("two", "the second judge 'two' is also the judge 'two'"),
    ],
)
def test_a_second_judge_is_neither_a_responder_nor_the_judge(second: str, said: str) -> None:
    cast = [row("judge", "two"), row("responder", "one"), row("second_judge", second)]
    roles = Roles("t", cast, MODELS)
    roles.check_separation(allow=True)
    with pytest.raises(ConfigError, match=said) as error:
        roles.check_separation(allow=False)
    assert "allow_judge_as_responder" in one_line(error)


def test_a_role_that_a_target_may_do_without_is_none_or_one() -> None:
    assert Roles("t", [row("judge", "one")], MODELS).optional("second_judge") is None
    found = Roles("t", [row("second_judge", "two")], MODELS).optional("second_judge")
    assert found is not None
    assert found.model == "two"
    many = [row("second_judge", "one"), row("second_judge", "two", 2)]
    with pytest.raises(ConfigError, match="has 2 models as second_judge; it takes one"):
        Roles("t", many, MODELS).optional("second_judge")


@pytest.mark.parametrize("target", ["embedded", "scripted", "laptop", "gpu", "served"])
def test_every_shipped_target_has_all_roles_and_a_judge_of_its_own(target: str) -> None:
    roles = Roles(target, seed("roles"), seed("models"))
    for role in ("classifier", "expander", "judge"):
        roles.one(role)
    for model in roles.all("model_under_test"):
        assert model.category
    roles.check_separation(allow=False)
