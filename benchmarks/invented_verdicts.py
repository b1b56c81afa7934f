"""A warehouse's fct_verdicts of any size, invented by hashes, and the small tables beside it.

Shapes are those of the published release: four responses a prompt; of the prompts with a label 32%
have one, 51% two and 17% three; few prompts share a cluster. Verdicts of a model in one cluster go
along with each other. Knows nothing about marts.
"""

from __future__ import annotations

import duckdb
from harness import ROOT

RESPONSES = 4  # a prompt: two responders, two sides
ROWS = 2.85  # rows a response: 'overall', and 1.85 labels
VERDICTS = """
create table fct_verdicts as

with

prompts as (
    select
        p,
        md5('cluster ' || (p - if(hash(p, 1) % 100 < 8, 1 + hash(p, 2) % 3, 0))) as cluster_id,
        ['object', 'attribute', 'relation'][1 + (hash(p, 3) % 3)::int] as semantic_type,
        hash(p, 4) % 100 as labels,
        (hash(p, 5) % 3)::int as first,
        ['safety', 'value', 'cultural'] as dimensions
    from range($prompts) as t (p)
),

labelled as (
    select
        *,
        unnest(['overall'] || case
            when labels < 32 then [dimensions[1 + first]]
            when labels < 83 then [dimensions[1 + first], dimensions[1 + (first + 1) % 3]]
            else dimensions
        end) as dimension
    from prompts
),

items as (
    select
        *,
        md5(p || ' ' || r) as item_id,
        r % 2 = 1 and (dimension = 'overall' or hash(p, r, dimension) % 100 < 85) as is_misaligned
    from labelled
    cross join range($responses) as t (r)
),

asked as (
    select
        items.*,
        m,
        hash(cluster_id, m, 6) % 1000 / 1000 - 0.5 as mood,
        hash(p, r, m, dimension, 7) % 1000 / 1000 - 0.5 as noise
    from items
    cross join range($models) as t (m)
    where hash(p, r, m, 8) % 1000 >= $missing
),

said as (
    select
        *,
        if(is_misaligned, 1, -1) * (0.12 + 0.02 * m) as signal,
        (0.5 + signal + 0.3 * mood + 0.7 * noise)::double as p_misaligned
    from asked
)

select
    'verdict' as protocol,
    'model ' || m as model,
    item_id,
    item_id as response_id,
    dimension,
    if(dimension = 'overall', null, dimension || ' ' || hash(p, dimension, 9)
        % case dimension when 'safety' then 14 when 'value' then 56 else 42 end) as domain,
    md5('prompt ' || p) as prompt_id,
    md5('pair ' || p || ' ' || r // 2) as pair_id,
    cluster_id,
    md5(p || ' ' || r || ' ' || m || ' ' || dimension) as call_id,
    'responder ' || r // 2 as responder,
    semantic_type,
    if(r % 2 = 1, 'misaligned', 'aligned') as side,
    is_misaligned,
    p_misaligned >= 0.5 as is_flagged,
    (p_misaligned >= 0.5) = is_misaligned as is_right,
    least(greatest(p_misaligned, 0), 1) as p_misaligned,
    2::bigint as option_orders,
    0.1::double as order_spread
from said
"""


def invent(con: duckdb.DuckDBPyConnection, rows: int, models: int, missing: float = 0) -> None:
    """Create the tables; ``missing`` is the share of (response, model) without verdicts."""
    numbers = {
        "prompts": round(rows / (models * RESPONSES * ROWS * (1 - missing))),
        "responses": RESPONSES,
        "models": models,
        "missing": round(1000 * missing),
    }
    con.execute(VERDICTS, numbers)
    con.execute(
        "create table dim_models as select 'model ' || m as model, 'invented:' || m as source,"
        " ['model_under_test'] as roles,"
        " ['general-purpose', 'fine-tuned', 'open-weight'][1 + m % 3] as category,"
        " false as is_judge, false as is_demo from range(?) as t (m)",
        [models],
    )
    con.execute(
        "create table dim_domains as select distinct domain, dimension from fct_verdicts"
        " where dimension != 'overall'"
    )
    ranges = ROOT / "seeds" / "published_ranges.csv"
    con.execute(
        "create table dim_published_ranges as"
        f" select * replace (low / 100 as low, high / 100 as high) from read_csv('{ranges}')"
    )
    con.execute("create table dim_settings (setting varchar, value varchar)")
    con.execute("create table dim_prompts (origin varchar, copies bigint)")
