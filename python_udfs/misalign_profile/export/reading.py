"""What an export takes from a finished warehouse: rows, taxonomy and facts, all sorted.

Opens the file read-only and holds it, so that nothing can change between the gate and the last row.
Knows the tables of the warehouse; knows nothing about files to write, dbt or models.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path, PurePath

from misalign_profile.errors import CheckError
from misalign_profile.export.layouts import Row
from misalign_profile.warehouse import Warehouse

# Imported pairs have no judge: what stands for one inside the warehouse is not handed on as its figures.
_PAIRS = """
    with labels as (
        select
            response_id,
            list(domain order by dimension) filter (where is_misaligned) as violates,
            list(p_violates::double order by dimension) as p_violates
        from benchmark.fct_reference_labels
        where dimension != 'overall'
        group by response_id
    )
    select
        pairs.* replace (
            if(is_imported, null, aligned_margin) as aligned_margin,
            if(is_imported, null, misaligned_margin) as misaligned_margin,
            if(is_imported, null, aligned_round) as aligned_round,
            if(is_imported, null, misaligned_round) as misaligned_round
        ),
        prompts.origin,
        coalesce(aligned.violates, []) as aligned_violates,
        coalesce(misaligned.violates, []) as misaligned_violates,
        if(is_imported, null, aligned.p_violates) as aligned_p_violates,
        if(is_imported, null, misaligned.p_violates) as misaligned_p_violates
    from (select *, judge = 'published-labels' as is_imported from benchmark.fct_pairs) as pairs
    left join benchmark.dim_prompts as prompts using (prompt_id)
    left join labels as aligned on pairs.aligned_response_id = aligned.response_id
    left join labels as misaligned on pairs.misaligned_response_id = misaligned.response_id
    order by pairs.pair_id
"""
_TAXONOMY = """
    select
        domain, code, dimension, name, parent_group, definition, honours, violates, origin, in_release
    from benchmark.dim_domains
    order by code
"""
# (fact, main table, query); a fact is a list of rows.
_FACTS = (
    (
        "models",
        "benchmark.dim_models",
        """
        select model, roles, source, revision, engine, dtype, prompt_style, category, is_demo
        from benchmark.dim_models order by model
        """,
    ),
    (
        "draws",
        "benchmark.fct_draws",
        """
        select
            responder, side, count(*) as draws,
            count(*) filter (where rejection_reason is null) as accepted
        from benchmark.fct_draws group by all order by all
        """,
    ),
    (
        "rejections",
        "benchmark.fct_draws",
        """
        select rejection_reason, rejected_by, count(*) as draws
        from benchmark.fct_draws where rejection_reason is not null
        group by all order by draws desc, rejection_reason
        """,
    ),
    (
        "unresolved",
        "benchmark.fct_unresolved",
        "select side, count(*) as slots from benchmark.fct_unresolved group by all order by all",
    ),
    (
        "prompts",
        "benchmark.dim_prompts",
        """
        select
            origin, count(*) as prompts, sum(copies) - count(*) as identical_copies,
            count(*) filter (where removal_reason = 'exact_duplicate') as exact_duplicates,
            count(*) filter (where removal_reason = 'near_duplicate') as near_duplicates,
            count(*) filter (where is_survivor) as survivors
        from benchmark.dim_prompts group by all order by all
        """,
    ),
    (
        "agreement",
        "marts.mart_classification_quality",
        """
        select origin, dimension, reference_labels, assigned_labels, agreeing_labels, precision, recall
        from marts.mart_classification_quality order by origin, dimension
        """,
    ),
    (
        "metrics",
        "marts.mart_alignment_metrics",
        """
        select
            model, dimension, n, n_misaligned, n_aligned, coverage, false_failure_rate,
            alignment_score, is_too_small, is_demo
        from marts.mart_alignment_metrics
        where protocol = 'verdict' and semantic_type = 'all' order by model, dimension
        """,
    ),
    (
        "without_pair",
        "benchmark.dim_prompts",
        """
        with paired as (select distinct prompt_id from benchmark.fct_pairs),
        labelled as (select distinct prompt_id from benchmark.fct_prompt_labels where is_assigned),
        drawn as (select distinct prompt_id from benchmark.fct_draws)
        select
            count(*) as prompts,
            count(*) filter (where labelled.prompt_id is null) as unlabelled,
            count(*) filter (where labelled.prompt_id is not null and drawn.prompt_id is null)
                as not_sampled,
            count(*) filter (where drawn.prompt_id is not null) as failed
        from benchmark.dim_prompts as prompts
        left join labelled using (prompt_id)
        left join drawn using (prompt_id)
        anti join paired using (prompt_id)
        where prompts.is_survivor
        """,
    ),
    (
        "second_judge",
        "marts.mart_judge_agreement",
        """
        select
            judge, other_judge, dimension, n, violation_rate, other_violation_rate, agreement, kappa,
            is_demo
        from marts.mart_judge_agreement where compared = 'judges' and side = 'all'
        order by judge, other_judge, dimension
        """,
    ),
    (
        "calibration",
        "marts.mart_judge_calibration",
        """
        select
            judge, dimension, n_violating, sensitivity, sensitivity_low, sensitivity_high,
            n_honouring, specificity, specificity_low, specificity_high
        from marts.mart_judge_calibration where n_violating + n_honouring > 0
        order by judge, dimension
        """,
    ),
    (
        "side_cues",
        "marts.mart_side_cues",
        """
        select responder, pairs, longer_share, longer_share_low, longer_share_high
        from marts.mart_side_cues where side = 'aligned' and pairs > 0 order by responder
        """,
    ),
    (
        "typed",
        "benchmark.fct_calls",
        "select count(*) as calls from benchmark.fct_calls where is_current and stage = 'semantic_type'",
    ),
    (
        "calls",
        "benchmark.fct_calls",
        """
        select
            count(*) as calls, min(asked_at)::varchar as first_asked_at,
            max(asked_at)::varchar as last_asked_at
        from benchmark.fct_calls where is_current
        """,
    ),
    (
        "settings",
        "benchmark.dim_settings",
        "select setting, value from benchmark.dim_settings order by setting",
    ),
    (
        "positions",
        "seeds.roles",
        "select target, model, position from seeds.roles where role = 'responder'",
    ),
)
# Asked where pairs were imported: what was read, and the labels that gave way to another one.
_IMPORT = (
    (
        "import_reasons",
        """
        select coalesce(skip_reason, '') as skip_reason, count(*) as pairs
        from staging.stg_source_pairs group by all order by skip_reason
        """,
    ),
    (
        "import_labels",
        """
        select count(*) as labels, count(distinct prompt) as prompts
        from (
            select distinct prompt, unnest(labels) as domain, chosen
            from staging.stg_source_pairs where skip_reason is null
        )
        where not list_contains(chosen, domain)
        """,
    ),
)
_CROSSING = """
    select cluster_id, list(distinct split order by split) as splits
    from benchmark.fct_pairs group by cluster_id having count(distinct split) > 1
    order by cluster_id
"""


class DatasetReader(Warehouse):
    """A warehouse as an export reads it; times are those of UTC."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "export")
        self._connection.execute("set timezone = 'UTC'")

    def pairs(self) -> list[Row]:
        """All pairs with their reference labels. Raises ``CheckError`` for none, or a split that leaks."""
        pairs = self.rows("benchmark.fct_pairs", _PAIRS)
        if not pairs:
            raise CheckError(
                "there are no pairs to export",
                where=str(self.path),
                hint="see benchmark.fct_unresolved for the reasons",
            )
        crossing = self.rows("benchmark.fct_pairs", _CROSSING)
        if crossing:
            first = crossing[0]
            raise CheckError(
                f"{len(crossing)} clusters lie in more than one split, such as {first['cluster_id']}"
                f" in {' and '.join(first['splits'])}",
                where=str(self.path),
                hint="build the dedup models again: dbt build --select dedup+",
            )
        return pairs

    def taxonomy(self) -> list[Row]:
        return self.rows("benchmark.dim_domains", _TAXONOMY)

    def facts(self) -> dict[str, list[Row]]:
        """Everything the documents say, by name; sources of models without a folder of this machine."""
        facts = {name: self.rows(table, query) for name, table, query in _FACTS}
        imported = {"setting": "pairs_imported", "value": "true"} in facts["settings"]
        for name, query in _IMPORT:
            facts[name] = self.rows("staging.stg_source_pairs", query) if imported else []
        facts["models"] = [{**m, "source": public_source(m["source"])} for m in facts["models"]]
        facts["calls"] = [
            {key: _utc(value) if key.endswith("_at") else value for key, value in row.items()}
            for row in facts["calls"]
        ]
        return facts


def public_source(source: str) -> str:
    """Where a model comes from, as others may read it: of a folder elsewhere only the last name."""
    if source.startswith(("/", "~", "..")) or PurePath(source).is_absolute():
        return f"(local folder) {PurePath(source).name}"
    return source


def _utc(moment: str | None) -> str | None:
    """DuckDB's text of a time with zone, as ISO 8601 in UTC, to the second."""
    if moment is None:
        return None
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
