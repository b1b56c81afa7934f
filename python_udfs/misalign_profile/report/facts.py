"""What the page says, as rows: one query a table, no number computed twice.

Knows the columns of the warehouse; knows nothing about HTML or charts.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.report.answers import answers
from misalign_profile.report.calibration import calibration
from misalign_profile.report.comparisons import comparisons
from misalign_profile.report.funnel import funnel
from misalign_profile.report.judge_error import judge_errors
from misalign_profile.report.judges import judges
from misalign_profile.report.option_order import option_orders
from misalign_profile.report.settings import confidence
from misalign_profile.warehouse import Row, Warehouse

_USAGE = """
    sum(calls)::bigint as calls, sum(prompt_tokens)::bigint as prompt_tokens,
    sum(cached_tokens)::bigint as cached_tokens, sum(completion_tokens)::bigint as completion_tokens,
    sum(retries)::bigint as retries, sum(seconds) as seconds,
    case when count(cost_usd) = count(*) then sum(cost_usd) end as cost_usd,
    min(cost_missing_reason) as cost_missing_reason
"""


def gather(warehouse: Warehouse) -> dict[str, Any]:
    """Everything the template needs, keyed by the name it uses there."""
    facts = option_orders(warehouse) | comparisons(warehouse) | judges(warehouse)
    facts |= answers(warehouse) | calibration(warehouse) | judge_errors(warehouse)
    for part in (_headline, _alignment, _trade_offs, funnel, _dataset, _models, _samples):
        facts |= part(warehouse)
    facts["level"] = confidence(warehouse)
    facts["findings"] = _findings(facts)
    return facts


def _headline(warehouse: Warehouse) -> dict[str, Any]:
    dimensions = warehouse.rows(
        "seeds.dimensions", "select dimension, name from seeds.dimensions order by position"
    )
    tiles = warehouse.one(
        "benchmark.*",
        """
        select
            (select count(*) from benchmark.dim_prompts where is_survivor) as prompts,
            (select count(*) from benchmark.dim_prompts) as prompts_before,
            (select count(*) from benchmark.fct_prompt_labels where is_assigned) as labels,
            (select count(*) from benchmark.fct_pairs) as pairs,
            (select count(*) from benchmark.fct_verdicts where protocol = 'verdict') as verdicts,
            (select count(distinct model) from benchmark.fct_verdicts) as models_under_test,
            (select count(*) from benchmark.fct_calls where is_current) as calls,
            (select count(*) from benchmark.fct_calls where not is_current) as calls_before,
            (select max(strftime(asked_at at time zone 'UTC', '%Y-%m-%d %H:%M'))
                from benchmark.fct_calls where is_current) as asked_last
        """,
    )
    return {
        "tiles": tiles,
        "dimensions": [row["dimension"] for row in dimensions],
        "dimension_names": {row["dimension"]: row["name"] for row in dimensions}
        | {"overall": "Overall"},
    }


def _alignment(warehouse: Warehouse) -> dict[str, Any]:
    table = "marts.mart_alignment_metrics"
    rows = warehouse.rows(
        table,
        f"""
        select model, category, metrics.dimension, metrics.semantic_type,
            n, clusters, n_misaligned, n_aligned,
            coverage, coverage_low, coverage_high,
            false_failure_rate, false_failure_rate_low, false_failure_rate_high,
            alignment_score, alignment_score_low, alignment_score_high,
            missing_reason, is_too_small, is_judge,
            max(alignment_score) filter (where dimension = 'overall' and semantic_type = 'all')
                over (partition by model) as overall
        from {table} as metrics
        left join seeds.dimensions as dimensions using (dimension)
        left join seeds.semantic_types as types using (semantic_type)
        where protocol = 'verdict'
        order by overall desc nulls last, model, coalesce(dimensions.position, 0),
            coalesce(types.position, 0)
        """,
    )
    metrics = [row for row in rows if row["semantic_type"] == "all"]
    types = [row for row in rows if row["semantic_type"] != "all" and row["dimension"] == "overall"]
    return {
        "metrics": metrics,
        "types": types,
        "types_by_dimension": [
            row for row in rows if row["semantic_type"] != "all" and row["dimension"] != "overall"
        ],
        "ranking": list(dict.fromkeys(row["model"] for row in metrics)),
        "semantic_types": warehouse.rows(
            "seeds.semantic_types",
            "select semantic_type, definition from seeds.semantic_types order by position",
        ),
    }


def _trade_offs(warehouse: Warehouse) -> dict[str, Any]:
    cells = warehouse.rows(
        "marts.mart_trade_offs",
        """
        select model, from_dimension, to_dimension, n, clusters, n_right_in_from, n_traded,
            trade_off, trade_off_low, trade_off_high, error_if_wrong, excess, excess_low, excess_high,
            missing_reason, is_too_small
        from marts.mart_trade_offs where protocol = 'verdict'
        """,
    )
    joint = warehouse.rows(
        "marts.mart_joint_alignment",
        """
        select model, category, joint.dimension, n, n_joint,
            joint_accuracy, joint_accuracy_low, joint_accuracy_high,
            alignment_score, joint_alignment_score,
            alignment_drop, alignment_drop_low, alignment_drop_high, is_too_small
        from marts.mart_joint_alignment as joint
        left join seeds.dimensions as dimensions using (dimension)
        where protocol = 'verdict'
        order by joint_accuracy desc nulls last, model, dimensions.position
        """,
    )
    front = warehouse.rows(
        "marts.mart_pareto_front",
        """
        select model, category, n, is_on_front, front_share, dominated_by,
            safety_alignment_score, value_alignment_score, cultural_alignment_score,
            missing_reason, front_share_missing_reason, is_too_small, is_judge
        from marts.mart_pareto_front where protocol = 'verdict'
        order by is_on_front desc nulls last, front_share desc nulls last, model
        """,
    )
    return {
        "trade_offs": {(c["model"], c["from_dimension"], c["to_dimension"]): c for c in cells},
        "joint": joint,
        "front": front,
    }


def _dataset(warehouse: Warehouse) -> dict[str, Any]:
    construction = "marts.mart_domain_construction"
    counts = (
        "construction.dimension, construction.name, classified, expanded, deduplicated_away,"
        " generated, filtered_aligned, filtered_misaligned, filtered_unmatched, responses"
    )
    return {
        "domains": warehouse.rows(
            construction,
            f"""
            select {counts} from {construction} as construction
            left join seeds.dimensions as dimensions using (dimension)
            order by dimensions.position, construction.name
            """,
        ),
        "scarcest": warehouse.rows(
            construction,
            f"select {counts} from {construction} as construction"
            " order by responses, generated, name limit 8",
        ),
        "combinations": warehouse.rows(
            "benchmark.fct_prompt_labels",
            """
            with labelled as (
                select prompt_id, list(distinct dimension order by dimension) as labelled
                from benchmark.fct_prompt_labels where is_assigned group by prompt_id
            )
            select coalesce(len(labelled), 0) as dimensions, coalesce(labelled, []) as labelled,
                count(*) as prompts, count(*) / sum(count(*)) over () as share
            from benchmark.dim_prompts left join labelled using (prompt_id)
            group by labelled order by dimensions, prompts desc
            """,
        ),
        "semantic_shares": warehouse.rows(
            "benchmark.dim_prompts",
            """
            select semantic_type, count(*) as prompts, count(*) / sum(count(*)) over () as share
            from benchmark.dim_prompts left join seeds.semantic_types using (semantic_type)
            group by semantic_type, position order by position nulls last
            """,
        ),
        "splits": warehouse.rows(
            "benchmark.dim_prompts",
            """
            select split, count(*) as prompts, count(*) / sum(count(*)) over () as share
            from benchmark.dim_prompts where is_survivor
            group by split order by prompts desc
            """,
        ),
        "dedup": warehouse.rows(
            "marts.mart_dedup_audit",
            "select origin, prompts, exact_duplicates, near_duplicates, removed_share"
            " from marts.mart_dedup_audit where domain = 'all' and origin != 'all'"
            " order by prompts desc",
        ),
        "thresholds": warehouse.rows(
            "marts.mart_dedup_thresholds",
            "select distance, pairs, pairs_within, chance_pairs_within, removed, is_threshold"
            " from marts.mart_dedup_thresholds order by distance",
        ),
        "clusters": warehouse.rows(
            "marts.mart_dedup_clusters",
            """
            select cluster_rank, any_value(prompts) as prompts, any_value(survivors) as survivors,
                count(*) over () as clusters,
                list({'prompt': prompt, 'kept': removal_reason is null} order by place)[:4]
                    as examples
            from marts.mart_dedup_clusters group by cluster_rank order by cluster_rank limit 6
            """,
        ),
        "expansions": warehouse.rows(
            "benchmark.fct_expansions",
            """
            select rejection_reason, count(*) as prompts, count(*) / sum(count(*)) over () as share
            from benchmark.fct_expansions group by rejection_reason
            order by rejection_reason is not null, prompts desc
            """,
        ),
        "skipped": warehouse.rows(
            "staging.stg_prompts__skipped",
            """
            select skip_reason, count(*) as rows, min(row_number) as first_row
            from staging.stg_prompts__skipped group by skip_reason order by rows desc
            """,
        ),
        "copies": warehouse.one(
            "staging.stg_prompts",
            "select coalesce(sum(copies) - count(*), 0)::bigint as merged from staging.stg_prompts",
        )["merged"],
        "quality": warehouse.rows(
            "marts.mart_classification_quality",
            """
            select origin, quality.dimension, reference_labels, assigned_labels,
                agreeing_labels, precision, recall
            from marts.mart_classification_quality as quality
            left join seeds.dimensions as dimensions using (dimension)
            order by origin, dimensions.position
            """,
        ),
    }


def _models(warehouse: Warehouse) -> dict[str, Any]:
    models = warehouse.rows(
        "benchmark.dim_models",
        """
        select model, source, revision, engine, dtype, category, roles, is_demo
        from benchmark.dim_models order by 'model_under_test' in roles, roles, model
        """,
    )
    usage = warehouse.rows(
        "marts.mart_usage",
        f"""
        select stage, model, verb, {_USAGE}, sum(calls) / nullif(sum(seconds), 0) as calls_per_second
        from marts.mart_usage where is_current group by all order by stage, model, verb
        """,
    )
    total = warehouse.one(
        "marts.mart_usage",
        f"select {_USAGE} from marts.mart_usage where is_current",
    )
    return {
        "models": models,
        "demo_models": [row["model"] for row in models if row["is_demo"]],
        "usage": usage,
        "usage_total": total,
    }


def _samples(warehouse: Warehouse) -> dict[str, Any]:
    return {
        "samples": warehouse.rows(
            "benchmark.fct_pairs",
            """
            select pair_id, responder, judge, prompt, semantic_type, domains, split,
                aligned_response, misaligned_response
            from benchmark.fct_pairs
            qualify row_number() over (partition by semantic_type order by pair_id) <= 6
            order by row_number() over (partition by semantic_type order by pair_id), semantic_type
            limit 6
            """,
        ),
        "domain_names": {
            row["domain"]: row["name"]
            for row in warehouse.rows(
                "benchmark.dim_domains", "select domain, name from benchmark.dim_domains"
            )
        },
    }


def _findings(facts: dict[str, Any]) -> Row:
    """The two cells a reader looks for first: the best score and the trade-off that costs most."""
    scored = [
        row
        for row in facts["metrics"]
        if row["dimension"] == "overall" and row["alignment_score"] is not None
    ]
    best, runner_up = (*scored, None, None)[:2]
    overlap = (
        best is not None
        and runner_up is not None
        and None not in (best["alignment_score_low"], runner_up["alignment_score_high"])
        and runner_up["alignment_score_high"] >= best["alignment_score_low"]
    )
    traded = [
        cell
        for cell in facts["trade_offs"].values()
        if cell["excess_low"] is not None and not cell["is_too_small"]
    ]
    worst = max(traded, key=lambda cell: (cell["excess"], cell["model"]), default=None)
    return {
        "best": best,
        "runner_up": runner_up,
        "overlap": overlap,
        "worst": worst,
    }
