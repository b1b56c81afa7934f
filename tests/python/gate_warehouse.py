"""A small warehouse for the gate's tests: the project's SQL models, rendered without dbt, over
stand-ins for the Python models. Nothing in it is wrong.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import yaml

from misalign_profile.plugin import register

ROOT = Path(__file__).parents[2]
MODELS = {p.stem: p for p in ROOT.glob("models/*/*.sql")}
REF = re.compile(r"ref\('(\w+)'\)")

# Stand-ins for the Python models, by schema and name.
STAND_INS = {
    "staging.stg_source_prompts": """
        select '' as source_file, 0 as row_number, '' as prompt, '' as skip_reason,
            cast([] as varchar []) as labels, cast([] as varchar []) as unmapped_labels limit 0""",
    "staging.stg_source_pairs": "select '' as prompt, '' as cluster, '' as skip_reason limit 0",
    "classification.int_prompts__classified": """
        select prompts.prompt_id, domains.dimension, labels.domain, 0 as option_order, 0.9 as score,
            0.05 as none_score,
            md5('classify' || prompts.prompt_id || labels.domain) as call_id
        from staging.stg_prompts as prompts
        inner join seeds.prompt_labels as labels using (prompt_id)
        inner join seeds.domains as domains using (domain)""",
    "classification.int_prompts__typed": """
        select prompt_id, 0 as option_order, reference_semantic_type as semantic_type,
            if(reference_semantic_type = 'object', 0.8, 0.1) as object_score,
            if(reference_semantic_type = 'attribute', 0.8, 0.1) as attribute_score,
            if(reference_semantic_type = 'relation', 0.8, 0.1) as relation_score,
            md5('type' || prompt_id) as call_id
        from staging.stg_prompts""",
    "expansion.int_expansions__drawn": """
        select expansion_id,
            'Expansion ' || md5(expansion_id) || md5(expansion_id || 'b') as prompt,
            'stop' as finish_reason, 'scripted-default' as expander,
            md5('draw' || expansion_id) as call_id
        from expansion.int_expansions__planned where attempt < 3""",
    "expansion.int_expansions__classified": """
        select prompts.prompt_id, domains.dimension, planned.domain, 0 as option_order, 0.8 as score,
            0.1 as none_score,
            md5('classify' || prompts.prompt_id || planned.domain) as call_id
        from expansion.int_expansions__distinct as prompts
        inner join expansion.int_expansions__drawn as drawn using (prompt)
        inner join (
            select expansion_id, unnest(domains) as domain from expansion.int_expansions__planned
        ) as planned using (expansion_id)
        inner join seeds.domains as domains using (domain)""",
    "responses.int_responses__sampled": """
        select md5(prompt_id || side || candidate) as response_id, prompt_id,
            'scripted-default' as responder, side, 0::integer as round,
            candidate::integer as candidate,
            side || ' answer ' || md5(prompt_id || candidate) as response, 'stop' as finish_reason,
            9::bigint as completion_tokens, 4::bigint as words, false as has_refusal,
            false as names_side,
            md5('respond' || prompt_id || side || candidate) as call_id,
            cast([] as varchar []) as feedback,
            if(candidate = 1, 'rules', null) as rejected_by,
            if(candidate = 1, 'too_short', null) as rejection_reason,
            if(candidate = 1, null, 0.9) as judge_margin,
            if(candidate = 1, null, 0.9)::double as p_quality,
            if(candidate = 1, [], [{'option_order': 0, 'p_quality': 0.9,
                'call_id': md5('quality' || prompt_id || side || candidate)}]) as quality,
            if(candidate = 1, [], list_transform(dimensions, lambda x: {
                'dimension': x, 'domain': domains[list_position(dimensions, x)],
                'p_violates': if(side = 'aligned', 0.1, 0.9),
                'call_id': md5('judge' || prompt_id || side || candidate || x),
                'by_order': [{'option_order': 0, 'p_violates': if(side = 'aligned', 0.1, 0.9),
                    'call_id': md5('judge' || prompt_id || side || candidate || x)}]})) as verdicts,
            'scripted-judge' as judge, false as judge_is_responder
        from responses.int_prompts__to_answer
        cross join (select unnest(['aligned', 'misaligned']) as side)
        cross join range(2) as candidates(candidate)""",
    "responses.int_responses__judged_again": """
        select response_id, 'scripted-second-judge' as judge, true as is_second,
            false as judge_is_responder, dimension, 'any' as domain, option_order, 0 as repeat,
            if(md5_number_lower(response_id) % 10 = 0, 1 - p_yes, p_yes) as p_violates,
            md5('second' || call_id) as call_id
        from responses.int_responses__judged_in_orders""",
    "benchmark.int_responses__verdicts": """
        select roles.model, response_id, dimension, option_order::integer as option_order,
            (md5_number_lower(roles.model || response_id || dimension || option_order) % 1000) / 1000
                as p_misaligned,
            md5('verdict' || roles.model || response_id || dimension || option_order) as call_id
        from (select response_id, unnest(list_append(dimensions, 'overall')) as dimension
            from benchmark.int_responses__to_verdict)
        cross join range(2) as orders(option_order)
        inner join seeds.roles as roles on target = 'scripted' and role = 'model_under_test'""",
    "responses.int_gold_responses__judged": """
        select md5(domain || row_number() over ()) as gold_id, 'scripted-judge' as judge, dimension,
            gold.domain, prompt, response, gold.is_violation, 0::integer as option_order,
            if(is_violation = (row_number() over () % 10 > 0), 0.9, 0.1)::double as p_violates,
            md5('gold' || gold.prompt || gold.response) as call_id
        from seeds.gold_responses as gold
        inner join seeds.domains as domains using (domain)""",
    "benchmark.int_answers__judged": """
        select roles.model, pairs.prompt_id, 0::integer as sample_index,
            if(is_empty, '', 'Answer ' || md5(roles.model || prompt_id)) as answer, 'stop' as finish_reason,
            7::bigint as completion_tokens, md5('answer' || roles.model || prompt_id) as call_id,
            if(is_empty, 'empty', null) as unusable_reason, chance % 7 = 0 as is_refusal,
            'scripted-judge' as judge, false as judge_is_responder,
            if(is_empty, [], list_transform(dimensions, lambda x: {
                'dimension': x, 'domain': domains[list_position(dimensions, x)],
                'p_violates': if(chance % 3 = 0, 0.9, 0.1),
                'call_id': md5('judge answer' || roles.model || prompt_id || x),
                'by_order': [{'option_order': 0, 'p_violates': if(chance % 3 = 0, 0.9, 0.1),
                    'call_id': md5('judge answer' || roles.model || prompt_id || x)}]})) as verdicts
        from benchmark.fct_pairs as pairs
        inner join seeds.roles as roles on target = 'scripted' and role = 'model_under_test'
            and roles.model != 'scripted-careful'
        cross join lateral (
            select md5_number_lower(roles.model || prompt_id) as chance, chance % 20 = 0 as is_empty)""",
    "journal.calls": """
        select distinct call_id, 'run' as run_id, 'm' as model, 's' as source, '' as revision,
            'scripted' as engine, stage,
            if(stage in ('respond', 'expand', 'answer'), 'generate', 'choose') as verb,
            if(stage in ('second_judge', 'judge_answer'), 'judge', stage) as template, 'h' as template_hash,
            'stop' as finish_reason, 5::bigint as prompt_tokens,
            0::bigint as cached_tokens, 1::bigint as completion_tokens, 0::bigint as retries,
            0.1 as seconds, cast([] as varchar []) as failures, '' as machine, now() as asked_at
        from (
            select call_id, 'classify' as stage from classification.int_prompts__classified
            union all select call_id, 'semantic_type' from classification.int_prompts__typed
            union all select call_id, 'expand' from expansion.int_expansions__drawn
            union all select call_id, 'classify' from expansion.int_expansions__classified
            union all select call_id, 'respond' from responses.int_responses__sampled
            union all select call_id, 'judge' from responses.int_responses__judged_in_orders
            union all select call_id, 'second_judge' from responses.int_responses__judged_again
            union all select call_id, 'verdict' from benchmark.int_responses__verdicts
            union all select call_id, 'judge' from responses.int_gold_responses__judged
            union all select call_id, 'answer' from benchmark.int_answers__judged
            union all select call_id, 'judge_answer' from benchmark.int_answers__verdicts
        )""",
}
WAITS_FOR = {
    "journal.calls": [
        "benchmark.int_responses__verdicts",
        "benchmark.int_answers__verdicts",
        "responses.int_gold_responses__judged",
        "responses.int_responses__judged_again",
    ],
}


class _Target:
    name = "scripted"


def _relations() -> dict[str, str]:
    relations = {p.stem: f"seeds.{p.stem}" for p in ROOT.glob("seeds/**/*.csv")}
    relations |= {name.split(".")[1]: name for name in STAND_INS}
    return relations | {name: f"{path.parent.name}.{name}" for name, path in MODELS.items()}


@cache
def _column_types() -> dict[str, dict[str, str]]:
    """The types that the seeds' yml declares, by seed and column."""
    seeds = yaml.safe_load((ROOT / "seeds" / "_seeds.yml").read_text())["seeds"]
    return {seed["name"]: seed.get("config", {}).get("column_types", {}) for seed in seeds}


def _render(name: str, variables: dict[str, Any]) -> str:
    macros = "\n".join(p.read_text() for p in sorted(ROOT.glob("macros/*.sql")))
    relations = _relations()
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    environment.globals |= {
        "ref": lambda model: relations[model],
        "config": lambda **_: "",
        "source": lambda source, table: f"{source}.{table}",
        "var": lambda key: variables[key],
        "target": _Target,
        "target_var": lambda key: variables[key][_Target.name],
    }
    macros = re.sub(r"{% macro target_var.*?endmacro %}", "", macros, flags=re.S)
    return environment.from_string(macros + MODELS[name].read_text()).render()


def build_warehouse(path: Path) -> None:
    """Create the DuckDB file at ``path`` with every table of the project."""
    variables = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    variables |= {"response_prompts_limit": 60, "bootstrap_replicates": 50}
    relations = _relations()
    done: set[str] = set()
    with duckdb.connect(str(path)) as con:
        register(con)
        for schema in {name.split(".")[0] for name in relations.values()} | {"journal"}:
            con.execute(f"create schema if not exists {schema}")
        for csv in ROOT.glob("seeds/**/*.csv"):
            types = _column_types().get(csv.stem, {})
            con.execute(
                f"create table seeds.{csv.stem} as from read_csv('{csv}', header = true, types = {types})"
                if types
                else f"create table seeds.{csv.stem} as from read_csv('{csv}', header = true)"
            )

        def build(relation: str) -> None:
            if relation in done or relation.startswith("seeds."):
                return
            done.add(relation)
            name = relation.split(".")[1]
            if relation in STAND_INS:
                sql = STAND_INS[relation]
                needs = WAITS_FOR.get(relation, []) + re.findall(r"(?:from|join) (\w+\.\w+)", sql)
            else:
                sql = _render(name, variables)
                text = MODELS[name].read_text()
                needs = [relations[r] for r in REF.findall(text)]
                needs += ["journal.calls"] if "source('journal'" in text else []
            for need in needs:
                build(need)
            con.execute(f"create table {relation} as {sql}")

        for relation in relations.values():
            build(relation)
