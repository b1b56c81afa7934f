{#
  Purpose: the quantile of the standard normal distribution, a number when the SQL is written: DuckDB has none.
  Arguments: p, a number above 0.5 and below 1. Usage: {{ normal_quantile(0.975) }}
  How: Newton's steps on the power series of the distribution function (Abramowitz and Stegun, 26.2.11).
#}
{% macro normal_quantile(p) -%}
    {%- set point = namespace(x=0.0) -%}
    {%- for step in range(15) -%}
        {%- set density = 0.3989422804014327 * 2.718281828459045 ** (-point.x * point.x / 2) -%}
        {%- set series = namespace(term=point.x, total=point.x) -%}
        {%- for k in range(1, 60) -%}
            {%- set series.term = series.term * point.x * point.x / (2 * k + 1) -%}
            {%- set series.total = series.total + series.term -%}
        {%- endfor -%}
        {%- set point.x = point.x + (p - 0.5 - density * series.total) / density -%}
    {%- endfor -%}
    {{ point.x }}
{%- endmacro %}

{#
  Purpose: the normal quantile that goes with the var confidence_level: 1.96 for 0.95.
  Usage: {{ confidence_z() }}e0, so that DuckDB reads a double.
#}
{% macro confidence_z() -%}
    {%- set level = var("confidence_level") | float -%}
    {%- if level >= 1 or level < 0 -%}
        {{ exceptions.raise_compiler_error(
            "var confidence_level is " ~ var("confidence_level") ~ "; it is a share between 0 and 1, such as 0.95"
        ) }}
    {%- endif -%}
    {{ normal_quantile((1 + level) / 2) }}
{%- endmacro %}

{#
  Purpose: the quantile of Student's t that goes with the var confidence_level.
  Arguments: df, an SQL expression of the degrees of freedom. Usage: {{ t_quantile('clusters - 1') }}
  How: the normal quantile and four terms of an expansion in 1 / df (Abramowitz and Stegun, 26.7.5).
  Trap: at 95% it is off by less than 1 in 10,000 from 9 degrees of freedom on, and by more below.
#}
{% macro t_quantile(df) -%}
    {%- set z = confidence_z() | float -%}
    {%- set n = "(" ~ df ~ ")::double" -%}
    (
        {{ z }}e0
        + {{ (z ** 3 + z) / 4 }}e0 / {{ n }}
        + {{ (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96 }}e0 / {{ n }} ** 2
        + {{ (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384 }}e0 / {{ n }} ** 3
        + {{ (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160 }}e0 / {{ n }} ** 4
    )
{%- endmacro %}

{#
  Purpose: what the interval of a share needs to know of its clusters, as one struct.
  Arguments: part and whole, columns of a relation with one row per cluster.
  Usage: {{ cluster_sums('tp', 'misaligned') }} as hits, grouped by cell; then effective_n, clustered_bound.
#}
{% macro cluster_sums(part, whole) -%}
    struct_pack(
        part := sum({{ part }}),
        whole := sum({{ whole }}),
        part_squared := sum({{ part }} * {{ part }}),
        crossed := sum({{ part }} * {{ whole }}),
        whole_squared := sum({{ whole }} * {{ whole }}),
        clusters := count(*) filter (where {{ whole }} > 0)
    )
{%- endmacro %}

{#
  Purpose: how many independent responses the clustered ones are worth (Korn and Graubard 1998): n over the design
  effect, the variance of the share over clusters set against p (1 - p) / n; and Student's t for the normal.
  Arguments: sums, a struct of cluster_sums. Usage: {{ effective_n('hits') }}
  How: the design effect supposes one cluster more, of usual size, that speaks with one voice and is half of the part.
  Without it a share near 0 or 1 shows too little variance: see decision 0023.
#}
{% macro effective_n(sums) -%}
    {%- set size = "(" ~ sums ~ ".whole_squared::double / " ~ sums ~ ".whole)" -%}
    {%- set whole = "(" ~ sums ~ ".whole + " ~ size ~ ")" -%}
    {%- set p = "((" ~ sums ~ ".part + " ~ size ~ " / 2) / " ~ whole ~ ")" -%}
    {%- set squares -%}
        (
            {{ sums }}.part_squared + {{ size }} ** 2 / 2 - 2 * {{ p }} * ({{ sums }}.crossed + {{ size }} ** 2 / 2)
            + {{ p }} ** 2 * ({{ sums }}.whole_squared + {{ size }} ** 2)
        ) * ({{ sums }}.clusters + 1) / {{ sums }}.clusters
    {%- endset -%}
    {{ sums }}.whole / greatest({{ squares }} / {{ whole }} / ({{ p }} * (1 - {{ p }})), 1)
    * ({{ confidence_z() }}e0 / {{ t_quantile(sums ~ ".clusters - 1") }}) ** 2
{%- endmacro %}

{#
  Purpose: a bound of a share over clusters: Wilson's, with the effective number of responses (Franco et al. 2019).
  Arguments: sums, a struct of cluster_sums; n, a column with its effective_n; side, -1 low and 1 high.
  Usage: {{ clustered_bound('hits', 'hits_n', -1) }} as coverage_low
  Trap: null below the var smallest_clusters; the caller says why in interval_missing_reason.
#}
{% macro clustered_bound(sums, n, side) -%}
    case
        when {{ sums }}.clusters >= {{ var("smallest_clusters") }}
            then {{ wilson(n ~ " * (" ~ sums ~ ".part::double / " ~ sums ~ ".whole)", n, side) }}
    end
{%- endmacro %}

{#
  Purpose: bounds of the alignment score from those of its two rates, Zou and Donner's MOVER (2008): each rate is
  moved to its bound alone, and the two steps add up as standard errors do. Both rates come from the same
  clusters, so their correlation counts.
  Arguments: columns of both rates and of the bound of each that makes the score worse (side -1) or better (side 1);
  of the score; of the correlation of coverage and 1 - false failure rate. Usage: mart_alignment_intervals.
  Trap: greatest and least pass over null, so a missing bound is asked for first.
#}
{% macro mover_bound(coverage, rate, coverage_bound, rate_bound, score, correlation, side) -%}
    {%- set a = "(" ~ alignment_score(coverage_bound, rate) ~ " - " ~ score ~ ")" -%}
    {%- set b = "(" ~ alignment_score(coverage, rate_bound) ~ " - " ~ score ~ ")" -%}
    case
        when {{ coverage_bound }} is null or {{ rate_bound }} is null then null
        when {{ coverage }} = 0 and {{ rate }} = 1 then {{ alignment_score(coverage_bound, rate_bound) }}
        else least(greatest({{ score }} {{ "+" if side > 0 else "-" }} sqrt(greatest(
            {{ a }} ** 2 + {{ b }} ** 2 + 2 * {{ correlation }} * {{ a }} * {{ b }}, 0
        )), 0), 1)
    end
{%- endmacro %}

{#
  Purpose: the weight of every cluster in every replicate, without the zeros; replicate -1 is the data as they are.
  Arguments: relation, a CTE with the column cluster_id. Usage: weights as materialized ({{ bootstrap_weights('x') }})
#}
{% macro bootstrap_weights(relation) -%}
    select
        cluster_id,
        replicate,
        ({{ bootstrap_weight('cluster_id', 'replicate') }})::double as weight
    from (select distinct cluster_id from {{ relation }}) as clusters
    cross join range({{ var('bootstrap_replicates') }}) as replicates (replicate)
    where weight > 0
    union all
    select distinct
        cluster_id,
        -1 as replicate,
        1 as weight
    from {{ relation }}
{%- endmacro %}

{#
  Purpose: weighted sums over clusters in every replicate, the heart of the bootstrap; replicate -1 is the data as
  they are. Arguments: relation, a CTE with one row per cell and cluster_id; keys, the columns that make a cell;
  measures, columns of counts. Usage: sums as ({{ bootstrap_sums('counts', ['model'], ['hits', 'n']) }})
  How: clusters stand in tiles. A tile's weights are one list a replicate, a cell's counts in it one list a measure,
  and a sum is their dot product. Cells with the same clusters share the weights that are picked for them.
  Trap: null counts are zeros. Sums of whole numbers are exact, whatever the tile and the number of threads, as
  long as one tile's sum is below 2 ** 24, where floats stop to count.
#}
{% macro bootstrap_sums(relation, keys, measures, tile=512) -%}
    with

    numbered as (
        select
            cluster_id,
            (row_number() over (order by cluster_id) - 1) // {{ tile }} as tile,
            (row_number() over (order by cluster_id) - 1) % {{ tile }} + 1 as place
        from (select distinct cluster_id from {{ relation }}) as clusters
    ),

    tiles as (
        select
            tile,
            list(cluster_id order by place) as clusters
        from numbered
        group by tile
    ),

    hashed as (
        select
            tile,
            part,
            list_transform(clusters, lambda c: {{ bootstrap_hash('c', 'part') }}) as drawn
        from tiles
        cross join range({{ (var('bootstrap_replicates') | int + 7) // 8 }}) as parts (part)
    ),

    weights as (
        select
            tile,
            8 * part + eighth as replicate,
            list_transform(
                list_transform(drawn, lambda h: {{ bootstrap_bits('h', 'eighth') }}),
                lambda u: ({{ poisson_weight('u') }})::float
            ) as weight
        from hashed
        cross join range(8) as eighths (eighth)
        where replicate < {{ var('bootstrap_replicates') }}
        union all
        select
            tile,
            -1 as replicate,
            list_transform(clusters, lambda c: 1::float) as weight
        from tiles
    ),

    cells as (
        select
            {{ keys | join(', ') }},
            row_number() over () as cell
        from (select distinct {{ keys | join(', ') }} from {{ relation }}) as keys
    ),

    tiled as materialized (
        select
            cells.cell,
            numbered.tile,
            {% for measure in measures %}
                list(coalesce(counts.{{ measure }}, 0)::float order by numbered.place) as {{ measure }},
            {% endfor %}
            list(numbered.place order by numbered.place) as places
        from {{ relation }} as counts
        inner join numbered using (cluster_id)
        inner join cells using ({{ keys | join(', ') }})
        group by cells.cell, numbered.tile
    ),

    blocks as materialized (
        select
            tile,
            places,
            row_number() over () as block
        from (select distinct tile, places from tiled) as places
    ),

    picked as (
        select
            blocks.block,
            weights.replicate,
            list_select(weights.weight, blocks.places) as weight
        from blocks
        inner join weights using (tile)
    ),

    sums as (
        select
            tiled.cell,
            {% for measure in measures %}
                sum(list_dot_product(tiled.{{ measure }}, picked.weight)) as {{ measure }},
            {% endfor %}
            picked.replicate
        from tiled
        inner join blocks using (tile, places)
        inner join picked using (block)
        group by tiled.cell, picked.replicate
    )

    select
        cells.* exclude (cell),
        sums.* exclude (cell)
    from sums
    inner join cells using (cell)
{%- endmacro %}

{#
  Purpose: a bound of a difference by the cluster bootstrap: the percentile of the replicates, its distance from the
  estimate widened by t / z and sqrt(k / (k - 1)), without which few clusters give too short an interval
  (Hesterberg 2015). Arguments: value, a column with one row per replicate of bootstrap_weights; clusters, an
  aggregate that gives their number; side, -1 low and 1 high. Usage: {{ bootstrap_bound('gap', 'max(clusters)', -1) }}
  Trap: null where all replicates are equal, since that says nothing of how sure one may be.
#}
{% macro bootstrap_bound(value, clusters, side) -%}
    {%- set level = var("confidence_level") | float -%}
    {%- set estimate = "max(" ~ value ~ ") filter (where replicate = -1)" -%}
    {%- set drawn = "filter (where replicate >= 0)" -%}
    case
        when
            {{ clusters }} >= {{ var("smallest_clusters") }}
            and max({{ value }}) {{ drawn }} > min({{ value }}) {{ drawn }} + 1e-12
            then least(greatest(
                {{ estimate }} + (
                    quantile_cont({{ value }}, {{ (1 + level) / 2 if side > 0 else (1 - level) / 2 }}) {{ drawn }}
                    - {{ estimate }}
                ) * {{ t_quantile(clusters ~ " - 1") }} / {{ confidence_z() }}e0
                * sqrt({{ clusters }}::double / ({{ clusters }} - 1)), -1
            ), 1)
    end
{%- endmacro %}
