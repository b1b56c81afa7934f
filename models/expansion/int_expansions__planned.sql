-- Parents lend their whole label set, so that an expansion keeps the co-occurrence of dimensions.
with

deficits as (select * from {{ ref('int_domains__deficits') }}),

labelled as (select * from {{ ref('int_prompts__labelled') }}),

prompts as (select * from {{ ref('stg_prompts') }}),

semantic_types as (select * from {{ ref('semantic_types') }}),

label_sets as (
    select
        prompt_id,
        list(domain order by dimension, domain) as domains
    from labelled
    group by prompt_id
),

parents as (
    select
        labelled.domain,
        labelled.prompt_id,
        label_sets.domains,
        prompts.prompt,
        row_number() over (
            partition by labelled.domain order by labelled.score desc, labelled.prompt_id asc
        ) - 1 as parent_rank,
        count(*) over (partition by labelled.domain) as parent_count
    from labelled
    inner join label_sets using (prompt_id)
    inner join prompts using (prompt_id)
),

attempts as (
    select
        domain,
        dimension,
        unnest(range(ceil(deficit * {{ var('expansion_oversampling') }})::bigint))::integer as attempt
    from deficits
    {% if var('pairs_source') %}where false{% endif %}
),

chosen as (
    select
        attempts.domain,
        attempts.attempt,
        coalesce(first(parents.domains order by offsets.n), [attempts.domain]) as domains,
        coalesce(
            list(parents.prompt_id order by offsets.n) filter (where parents.prompt_id is not null), []
        ) as parent_ids,
        coalesce(
            list(parents.prompt order by offsets.n) filter (where parents.prompt_id is not null), []
        ) as parent_prompts
    from attempts
    left join range({{ var('expansion_parents') }}) as offsets (n) on true
    left join parents
        on
            attempts.domain = parents.domain
            and parents.parent_rank = (attempts.attempt + offsets.n) % parents.parent_count
            and offsets.n < parents.parent_count
    group by attempts.domain, attempts.attempt
)

select
    {{ text_id('chosen.domain', 'chosen.attempt') }} as expansion_id,
    chosen.domain,
    chosen.attempt,
    chosen.domains,
    semantic_types.semantic_type,
    chosen.parent_ids,
    chosen.parent_prompts
from chosen
inner join semantic_types on semantic_types.position = chosen.attempt % 3 + 1
order by chosen.domain, chosen.attempt
