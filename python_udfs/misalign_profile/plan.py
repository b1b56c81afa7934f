"""What a run would ask, before it asks: calls, tokens, cost and time of every stage.

The stages themselves run in a warehouse of their own that is thrown away, with a ``Survey`` in the
place of models: it builds every question as far as the journal's answers reach. Nothing is asked,
and neither the warehouse nor the journal is written to. Knows how the parts fit together and how
the table looks; knows nothing about how calls are counted or estimated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from misalign_profile import questions, runner
from misalign_profile.budget import CHARACTERS_PER_TOKEN, Prices
from misalign_profile.config import Roles
from misalign_profile.errors import CheckError
from misalign_profile.forecast import AT_MOST, ESTIMATE, EXACT, Forecast, Line, Tables, read_tables
from misalign_profile.journal import Journal
from misalign_profile.measured import Measured, Took
from misalign_profile.survey import Survey, surveying
from misalign_profile.types import DIMENSIONS, Request, Sampling

NO_SPEED = "no speed measured yet"
NO_PRICE = "no price"
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Need:
    """A line of the forecast with what its calls to ask will take; None where nobody knows."""

    line: Line
    prompt_tokens: float
    completion_tokens: float
    usd: float | None
    seconds: float | None


def print_plan(root: Path, target: str, variables: Mapping[str, Any]) -> None:
    """Print the table. Raises ``MisalignError`` for whatever a run would refuse before it asks."""
    runner.check_variables(root, variables)
    warehouse = runner.warehouse_path(root, target)
    settings = runner.settings(root, target, variables)
    runner.check_protocols(settings, target)
    with TemporaryDirectory(prefix="misalign_plan_") as folder:
        survey = _dry_run(root, target, variables, Path(folder))
        dry = Path(folder) / warehouse.name
        seeds = _Seeds(dry, target)
        here = read_tables(dry)
    lines = Forecast(survey, here, _earlier(warehouse), settings, seeds.cast).lines()
    journal = survey.journal or Journal(warehouse.with_name(f"{target}_journal"), create=False)
    measured = Measured(journal)
    needs = [_need(line, measured, seeds, settings) for line in lines]
    print(f"misalign plan, target {target}: what a run would ask; nothing was asked")
    print()
    print("\n".join(_table(needs)))
    print()
    print("\n".join(_notes(needs, settings)))


def _dry_run(root: Path, target: str, variables: Mapping[str, Any], folder: Path) -> Survey:
    """Run every Python model and what it reads in a warehouse in ``folder``, counting questions."""
    import yaml

    profiles = yaml.safe_load((root / "profiles.yml").read_text("utf-8"))
    output = profiles["misalign_profile"]["outputs"][target]
    output["path"] = str(folder / Path(output["path"]).name)
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles), "utf-8")
    command = ["build", "--select", "+file:*.py", "--exclude-resource-type", "test"]
    command += ["--exclude-resource-type", "unit_test"]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    with surveying(Survey()) as survey:
        runner.invoke(root, command, target, variables, profiles=folder)
    return survey


def _earlier(warehouse: Path) -> Tables:
    """Counts of the target's warehouse as it is; empty if there is none or it cannot be read."""
    if not warehouse.exists():
        return Tables()
    try:
        return read_tables(warehouse)
    except CheckError as error:
        print(f"misalign: no rates of earlier runs are used: {error}", file=sys.stderr)
        return Tables()


class _Seeds:
    """The seeds as the dry run loaded them, and a question of each stage that stands for many."""

    def __init__(self, warehouse: Path, target: str) -> None:
        with duckdb.connect(str(warehouse), read_only=True) as con:

            def rows(query: str) -> Rows:
                table: Rows = con.sql(query).to_arrow_table().to_pylist()
                return table

            self.cast = Roles(target, rows("from seeds.roles"), rows("from seeds.models"))
            self.prices = Prices(rows("from seeds.prices"))
            self.domains = rows("from seeds.domains")
            self.types = rows("from seeds.semantic_types")
            texts = [r["prompt"] for r in rows("select prompt from staging.stg_prompts")]
        self.prompt = median_low(sorted(texts, key=len)) if texts else ""

    def typical(self, line: Line, settings: Mapping[str, Any]) -> int:
        """Characters of a question of the stage: a prompt of median length, one domain a dimension."""
        of = questions.by_dimension(self.domains)
        chosen = tuple(of[d][0] for d in DIMENSIONS)
        kind = self.types[0]
        item = questions.Item("", self.prompt, kind["semantic_type"], kind["elicitation"], chosen)
        prompt = {"prompt_id": "", "prompt": self.prompt, "response_id": ""}
        response = "x" * int(settings["max_new_tokens"]) * CHARACTERS_PER_TOKEN
        answer = {"response": response, "dimensions": DIMENSIONS}
        plan = {
            "expansion_id": "", "attempt": 0, "domains": [d["domain"] for d in chosen],
            "semantic_type": kind["semantic_type"],
            "parent_prompts": [self.prompt] * settings["expansion_parents"],
        }  # fmt: skip
        by_slug = {d["domain"]: d for d in self.domains}
        meanings = {kind["semantic_type"]: kind["definition"]}
        model, sampling = line.model, Sampling()
        asked: dict[str, Sequence[Request]] = {
            "classify": questions.classify(model, [prompt], of),
            "semantic_type": questions.semantic_type(model, [prompt], self.types),
            "expand": questions.expand(model, [plan], by_slug, meanings, sampling),
            "respond": [questions.respond(model, item, "aligned", 0, 0, (), sampling)],
            "judge": (judged := questions.judge(model, item, response)),
            "second_judge": judged,
            "verdict": questions.verdict(model, prompt | answer),
            "answer": [questions.answer(model, item, 0, sampling)],
            "judge_answer": questions.judge(model, item, response),
        }
        texts = [r.prefix + r.body + r.tail for r in asked[line.stage]]
        return sum(map(len, texts)) // len(texts)


def _need(line: Line, measured: Measured, seeds: _Seeds, settings: Mapping[str, Any]) -> Need:
    """Tokens, cost and time of the calls to ask, from like calls where there are any."""
    took = measured.of(line.model, line.stage)
    prompt, cached, completion = _tokens(line, took, seeds, settings)
    n = line.to_ask
    seconds = 0.0 if not n else took.seconds * n if took and took.seconds is not None else None
    price = seeds.prices.of(line.model)
    usd = None
    if price is not None and (seconds is not None or not price.machine_hour):
        usd = price.usd(n * prompt, n * cached, n * completion, seconds or 0.0)
    return Need(line, n * prompt, n * completion, usd if n else 0.0, seconds)


def _tokens(
    line: Line, took: Took | None, seeds: _Seeds, settings: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Prompt, cached and completion tokens of one call to ask."""
    if not line.to_ask:
        return 0.0, 0.0, 0.0
    density = (took.tokens_per_character if took else None) or 1 / CHARACTERS_PER_TOKEN
    if line.seen.missing:
        prompt = line.seen.characters / line.seen.missing * density
    else:
        prompt = took.prompt_tokens if took else seeds.typical(line, settings) * density
    if took:
        share = took.cached_tokens / took.prompt_tokens if took.prompt_tokens else 0.0
        return prompt, prompt * share, took.completion_tokens
    writes = line.stage in ("expand", "respond", "answer")
    return prompt, 0.0, float(settings["max_new_tokens"]) if writes else 0.0


_HEAD: tuple[str, ...] = ("what", "model", "counted", "calls", "in journal", "to ask")
_HEAD += ("prompt tokens", "written tokens", "USD", "time")


def _table(needs: Sequence[Need]) -> list[str]:
    rows = [_HEAD, *map(_cells, needs), _total(needs)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_HEAD))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if n < 3 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _cells(need: Need) -> tuple[str, ...]:
    line = need.line
    return (
        line.part, line.model.model, line.basis, f"{line.calls:,}", f"{line.held:,}",
        f"{line.to_ask:,}", f"{need.prompt_tokens:,.0f}", f"{need.completion_tokens:,.0f}",
        NO_PRICE if need.usd is None else _usd(need.usd),
        NO_SPEED if need.seconds is None else _duration(need.seconds),
    )  # fmt: skip


def _total(needs: Sequence[Need]) -> tuple[str, ...]:
    lines = [need.line for need in needs]
    bases = {line.basis for line in lines if line.to_ask} or {EXACT}
    basis = next((b for b in (AT_MOST, ESTIMATE) if b in bases), EXACT)
    sums = [sum(getattr(line, name) for line in lines) for name in ("calls", "held", "to_ask")]
    tokens = [sum(getattr(n, f"{name}_tokens") for n in needs) for name in ("prompt", "completion")]
    return (
        "together", "", basis, *(f"{n:,.0f}" for n in (*sums, *tokens)),
        _sum([need.usd for need in needs], _usd, NO_PRICE),
        _sum([need.seconds for need in needs], _duration, NO_SPEED),
    )  # fmt: skip


def _sum(figures: Sequence[float | None], shown: Callable[[float], str], unknown: str) -> str:
    """What is known of a sum, and a mark for what is not."""
    known = [figure for figure in figures if figure is not None]
    if len(known) == len(figures):
        return shown(sum(known))
    return f"{shown(sum(known))} + ?" if sum(known) else unknown


def _notes(needs: Sequence[Need], settings: Mapping[str, Any]) -> list[str]:
    notes = {
        EXACT: "exact: the questions were built and looked up in the journal",
        ESTIMATE: "estimate: the rest hangs on answers that are not there yet; with the rates of "
        "the prompts whose answers are, or of this target's last run",
        AT_MOST: "at most: no call like it was answered yet, so each prompt counts with the most that "
        "the vars allow; plan again when some are (the var budget_calls stops a run there)",
    }
    used = {need.line.basis for need in needs}
    lines = [said for basis, said in notes.items() if basis in used]
    if any(need.line.to_ask for need in needs):
        lines.append(
            "tokens, USD and time are of the calls to ask, by the journal's calls of the same model "
            f"and stage; without any, {CHARACTERS_PER_TOKEN} characters a token and answers of full "
            "length. Questions that come twice are asked once."
        )
    if any(need.usd is None for need in needs):
        lines.append("no price: add yours to seeds/prices.csv")
    calls = sum(need.line.to_ask for need in needs)
    tokens = sum(need.prompt_tokens + need.completion_tokens for need in needs)
    usd = sum(need.usd or 0.0 for need in needs)
    for name, need_ in (("budget_calls", calls), ("budget_tokens", tokens), ("budget_usd", usd)):
        limit = float(settings[name])
        if limit and need_ > limit:
            lines.append(f"{name} is {limit:,.10g}: a run stops there, and goes on when run again")
    return lines


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.4f}"


def _duration(seconds: float) -> str:
    """Seconds below two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
