"""How many calls each part of a run needs: counted where the questions are known, else estimated.

A dry run has built every question up to the first answers that are missing (``Survey``) and left
its tables behind (``Tables``). What hangs on missing answers is estimated with rates of the items
that are known, or of an earlier run of the target, or bounded by the vars. Knows the tables' names
and the order of the stages; knows nothing about tokens, prices, dbt or how anything is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import duckdb

from misalign_profile.config import Roles
from misalign_profile.errors import CheckError
from misalign_profile.orders import Orders
from misalign_profile.questions import ROLES_OF_STAGES, number_of_orders
from misalign_profile.survey import Seen, Survey
from misalign_profile.types import DIMENSIONS, SIDES, ModelSpec

PARTS = {  # part of a run, as the stages label it -> stage of the journal
    "classify prompts": "classify",
    "semantic type": "semantic_type",
    "expand": "expand",
    "classify expansions": "classify",
    "responses": "respond",
    "judge": "judge",
    "judge again": "judge",
    "second judge": "second_judge",
    "verdicts": "verdict",
    "calibration": "judge",
    "answers": "answer",
    "judge answers": "judge_answer",
}
_ORDERS_VAR = {  # stage of the journal -> the var that says in how many orders it is asked
    "classify": "classification_option_orders",
    "judge": "judge_option_orders",
    "second_judge": "judge_option_orders",
    "judge_answer": "judge_option_orders",
    "verdict": "verdict_option_orders",
}
EXACT, ESTIMATE, AT_MOST = "exact", "estimate", "at most"

_COUNTS = """
    select
        (select count(*) from staging.stg_prompts) as prompts,
        (select count(distinct prompt_id) from classification.int_prompts__classified) as classified,
        (select count(distinct prompt_id) from classification.int_prompts__typed semi join
            (select prompt_id from classification.int_prompts__classified) using (prompt_id)) as known,
        (select count(*) from expansion.int_expansions__drawn) as drawn,
        (select count(*) from expansion.int_expansions__distinct) as distinct_drawn,
        (select count(*) from expansion.int_prompts__expanded where rejection_reason is null)
            as accepted,
        (select count(*) from expansion.int_prompts__unioned
            where origin = 'expansion' or prompt_id in
                (select prompt_id from classification.int_prompts__classified)) as labelled,
        (select count(*) from dedup.int_prompts__deduplicated semi join
            (select prompt_id from expansion.int_prompt_labels__unioned) using (prompt_id)
            where is_survivor) as answerable,
        (select count(*) from responses.int_prompts__to_answer) as to_answer,
        (select count(distinct asked.call_id) filter (where asked.option_order = 0) from
            (select unnest(list_concat(
                flatten(list_transform(verdicts, lambda x: list_transform(
                    x.by_order, lambda y: {'option_order': y.option_order, 'call_id': y.call_id}
                ))),
                list_transform(
                    quality, lambda x: {'option_order': x.option_order, 'call_id': x.call_id}
                )
            )) as asked from responses.int_responses__sampled)) as judged,
        (select coalesce(sum(1 + len(dimensions)), 0)::bigint from benchmark.int_responses__to_verdict)
            as verdicts,
        (select count(distinct prompt_id) from benchmark.fct_pairs) as paired,
        (select coalesce(sum(len(dimensions)), 0)::bigint from
            (select distinct prompt_id, dimensions from benchmark.fct_pairs)) as paired_labels
"""
_LABELS = "select domain, labels, target_labels from expansion.int_domains__deficits"
_DRAWS = """
    select responder, count(distinct prompt_id), count(*)
    from responses.int_responses__sampled group by responder
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """Counts of a warehouse's tables. ``answered``: responder -> (prompts, draws)."""

    counts: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # domain -> labels, target
    answered: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    @property
    def slots(self) -> int:
        """(prompt, responder) combinations with all their draws."""
        return sum(prompts for prompts, _ in self.answered.values())

    @property
    def draws(self) -> int:
        return sum(draws for _, draws in self.answered.values())


def read_tables(path: Path) -> Tables:
    """Count what a warehouse holds; nothing when a run was stopped before it had all the tables.

    Raises ``CheckError`` when it cannot be read.
    """
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            cursor = con.execute(_COUNTS)
            names = [column[0] for column in cursor.description]
            counts = dict(zip(names, cursor.fetchall()[0], strict=True))
            labels = {d: (n, target) for d, n, target in con.execute(_LABELS).fetchall()}
            answered = {r: (p, n) for r, p, n in con.execute(_DRAWS).fetchall()}
    except duckdb.CatalogException:
        return Tables()
    except duckdb.Error as error:
        raise CheckError(str(error).splitlines()[0], where=str(path)) from None
    return Tables(counts, labels, answered)


@dataclass(frozen=True, slots=True)
class Line:
    """What one part of a run asks one model. ``calls`` = ``held`` (in the journal) + ``to_ask``."""

    part: str
    model: ModelSpec
    calls: int
    held: int
    basis: str
    seen: Seen

    @property
    def stage(self) -> str:
        return PARTS[self.part]

    @property
    def role(self) -> str:
        return ROLES_OF_STAGES[self.stage]

    @property
    def to_ask(self) -> int:
        return self.calls - self.held


@dataclass(slots=True)
class Forecast:
    """Walks through the parts in order; each may hang on what the ones before it do not know.

    ``here``: tables of the dry run; ``there``: of an earlier run, empty if there is none.
    """

    survey: Survey
    here: Tables
    there: Tables
    variables: Mapping[str, Any]
    cast: Roles
    _basis: str = EXACT

    def lines(self) -> list[Line]:
        """One line per part and model, in the order of a run."""
        if self.variables.get("pairs_source"):
            return self._lines_of_an_import()
        classifier, judge = self.cast.one("classifier"), self.cast.one("judge")
        lines = [self._line(part, classifier) for part in ("classify prompts", "semantic type")]
        expand, texts = self._expansions()
        to_come = self._prompts_to_come(expand, texts)
        open_slots, before = 0.0, self._basis
        lines += [expand, texts]
        for model in self.cast.all("responder"):
            prompts, draws = self.here.answered.get(model.model, (0, 0))
            mine = self.here["to_answer"] - prompts + to_come
            if not mine:
                lines.append(self._line("responses", model, basis=before))
                continue
            each = self._rate("draws", "slots", self._draws_at_most())
            lines.append(self._line("responses", model, draws + each * mine))
            open_slots += mine
        questions = len(DIMENSIONS) + bool(self.variables["judge_quality"])
        most = self._draws_at_most() * questions
        each = self._rate("judged", "slots", most) if open_slots else 0.0
        total = (self.here["judged"] + each * open_slots) * self._orders("judge", judge)
        lines.append(self._line("judge", judge, total))
        norms = each * len(DIMENSIONS) / questions  # checks leave quality out
        lines += self._checks_of_the_judge(judge, norms, open_slots)
        most = len(SIDES) * (1 + len(DIMENSIONS))
        each = self._rate("verdicts", "slots", most) if open_slots else 0.0
        for model in self.cast.all("model_under_test"):
            total = (self.here["verdicts"] + each * open_slots) * self._orders("verdicts", model)
            lines.append(self._line("verdicts", model, total))
        paired = self._rate("paired", "slots", 1.0) * open_slots if open_slots else 0.0
        lines += self._answers(paired)
        if self.survey.of("calibration", judge).calls:  # all of them are in the survey
            lines.append(self._line("calibration", judge, basis=EXACT))
        return lines

    def _answers(self, to_come: float) -> list[Line]:
        """Answers of models under test, and what the judge is asked about them.

        ``to_come``: prompts that will have a pair and are not in the dry run's tables. An answer that is
        not there yet counts as one that can be judged.
        """
        if "respond" not in self.variables["protocols"]:
            return []
        judge = self.cast.one("judge")
        models = self.cast.answering(allow=bool(self.variables["allow_judge_as_responder"]))
        total = (self.here["paired"] + to_come) * int(self.variables["answers_per_prompt"])
        lines = [self._line("answers", model, total) for model in models]
        known = self.survey.of("judge answers", judge).calls
        missing = sum(line.to_ask for line in lines)
        each = self._rate("paired_labels", "paired", len(DIMENSIONS)) if missing else 0.0
        judged = known + each * missing * self._orders("judge answers", judge)
        return [*lines, self._line("judge answers", judge, judged)]

    def _checks_of_the_judge(self, judge: ModelSpec, each: float, open_slots: float) -> list[Line]:
        """What the judge was asked, of a second one and of both again, over so many prompts at most.

        ``each``: the judge's questions a slot; ``open_slots``: slots that the dry run does not know.
        """
        repeats, second = int(self.variables["judge_repeats"]), self.cast.optional("second_judge")
        asked = [("second judge", second, repeats)] if second else []
        if repeats > 1:
            asked.append(("judge again", judge, repeats - 1))
        total = self.here["judged"] + each * open_slots
        limit = self.variables["judge_check_prompts_limit"]
        if limit:
            total = min(total, each * limit * len(self.cast.all("responder")))
        return [
            self._line(
                part, model, total * self._orders(part, model) * times if open_slots else 0.0
            )
            for part, model, times in asked
        ]

    def _lines_of_an_import(self) -> list[Line]:
        """The types that imported prompts lack, and verdicts, in proportion where types are to come."""
        types = self._line("semantic type", self.cast.one("classifier"))
        known, prompts = self.here["to_answer"], self.here["prompts"]
        if types.to_ask:
            self._weaken(ESTIMATE if known else AT_MOST)
        aligned = (self.variables.get("pairs_columns") or {}).get("aligned", "")
        pairs = 1 if isinstance(aligned, str) else len(aligned)  # of a prompt
        lines = [types]
        for model in self.cast.all("model_under_test"):
            calls = self.survey.of("verdicts", model).calls
            a_pair = len(SIDES) * (1 + len(DIMENSIONS)) * self._orders("verdicts", model)
            total = calls * prompts / known if known else prompts * pairs * a_pair
            lines.append(self._line("verdicts", model, total if types.to_ask else calls))
        return lines + self._answers(prompts - known if types.to_ask else 0.0)

    def _orders(self, part: str, model: ModelSpec) -> int:
        """Calls that each question of a part becomes: one a listing order of its options."""
        stage = PARTS[part]
        wanted = self.variables[_ORDERS_VAR[stage]]
        return number_of_orders(model, stage, Orders(int(wanted)))

    def _line(self, part: str, model: ModelSpec, calls: float = 0.0, *, basis: str = "") -> Line:
        """What was counted, or ``calls`` where more are to be expected in the end."""
        seen = self.survey.of(part, model)
        total = max(seen.calls, ceil(calls - 1e-9))
        return Line(part, model, total, seen.held, basis or self._basis, seen)

    def _rate(self, part: str, whole: str, bound: float, *, here: bool = True) -> float:
        """``part`` per ``whole`` where more is known, here or there; the bound if nothing is."""
        tables = (self.here, self.there) if here else (self.there,)
        known, count = max((_number(t, whole), _number(t, part)) for t in tables)
        self._weaken(ESTIMATE if known else AT_MOST)
        return count / known if known else bound

    def _weaken(self, basis: str) -> None:
        """From here on figures are no better than this; a bound in it makes a figure one."""
        if self._basis != AT_MOST:
            self._basis = basis

    def _expansions(self) -> tuple[Line, Line]:
        """Draws of the expander, and the classification of what it will have drawn."""
        expander, classifier = self.cast.one("expander"), self.cast.one("classifier")
        seen = self.survey.of("expand", expander)
        calls = seen.calls
        if self.here["classified"] < self.here["prompts"]:
            calls = min(calls, self._expansions_when_all_is_labelled(calls))
        expand = Line("expand", expander, calls, min(seen.held, calls), self._basis, seen)
        texts = self.survey.of("classify expansions", classifier)
        more = 0.0
        if expand.to_ask:
            more = (
                expand.to_ask * self._classifications * self._rate("distinct_drawn", "drawn", 1.0)
            )
        return expand, self._line("classify expansions", classifier, texts.calls + more)

    def _expansions_when_all_is_labelled(self, bound: int) -> int:
        """Draws that fill up the domains once all prompts have labels."""
        source = max((self.here, self.there), key=lambda tables: tables["classified"])
        known = source["classified"]
        self._weaken(ESTIMATE if known else AT_MOST)
        if not known:
            return bound
        scale = self.here["prompts"] / known
        draws = 0
        for domain, (_, target) in self.here.labels.items():
            labels, _ = source.labels.get(domain, (0, target))
            lacking = max(0.0, target - labels * scale)
            draws += ceil(lacking * self.variables["expansion_oversampling"])
        return draws

    def _prompts_to_come(self, expand: Line, texts: Line) -> float:
        """Prompts that will be answered and are not in the dry run's tables."""
        unknown = float(self.here["prompts"] - self.here["known"])
        unclassified = texts.seen.missing / self._classifications
        pending = expand.to_ask + unclassified
        if pending:
            lacking = (
                expand.calls / self.variables["expansion_oversampling"] - self.here["accepted"]
            )
            accepted = pending * self._rate("accepted", "drawn", 1.0, here=not unclassified)
            unknown += max(0.0, min(lacking, accepted))
        if not unknown:
            return 0.0
        coming = unknown * self._rate("answerable", "labelled", 1.0)
        limit = self.variables["response_prompts_limit"]
        return min(coming, max(0, limit - self.here["to_answer"])) if limit else coming

    @property
    def _classifications(self) -> int:
        """Calls that classify one text."""
        return len(DIMENSIONS) * self._orders("classify expansions", self.cast.one("classifier"))

    def _draws_at_most(self) -> int:
        """Draws of one responder for one prompt when no candidate is ever accepted."""
        rounds = 1 + int(self.variables["resampling_rounds"])
        return len(SIDES) * int(self.variables["candidates_per_side"]) * rounds


def _number(tables: Tables, name: str) -> int:
    return int(getattr(tables, name)) if name in ("slots", "draws") else tables[name]
