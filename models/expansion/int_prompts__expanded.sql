with

planned as (select * from {{ ref('int_expansions__planned') }}),

drawn as (select * from {{ ref('int_expansions__drawn') }}),

classified as (select * from {{ ref('int_expansions__domains_averaged') }}),

deficits as (select * from {{ ref('int_domains__deficits') }}),

existing as (select * from {{ ref('stg_prompts') }}),

candidates as (
    select
        planned.expansion_id,
        {{ text_id('drawn.prompt') }} as prompt_id,
        planned.domain,
        planned.domains,
        planned.semantic_type,
        planned.parent_ids,
        planned.attempt,
        drawn.expander,
        drawn.prompt,
        drawn.finish_reason,
        drawn.call_id,
        classified.score as domain_score,
        row_number() over (partition by drawn.prompt order by planned.domain, planned.attempt) as copy,
        existing.prompt_id is not null as exists_already
    from planned
    inner join drawn using (expansion_id)
    left join classified
        on classified.prompt_id = {{ text_id('drawn.prompt') }} and planned.domain = classified.domain
    left join existing on existing.prompt_id = {{ text_id('drawn.prompt') }}
),

checked as (
    select
        *,
        case
            when trim(prompt) = '' then 'empty'
            when finish_reason = 'length' then 'truncated'
            when exists_already or copy > 1 then 'repeated_prompt'
            when (domain_score > {{ var('label_threshold') }}) is not true then 'off_domain'
        end as failure
    from candidates
),

ranked as (
    select
        *,
        row_number() over (partition by domain, failure is null order by attempt) as place
    from checked
)

select
    ranked.expansion_id,
    ranked.prompt_id,
    ranked.domain,
    ranked.domains,
    ranked.semantic_type,
    ranked.parent_ids,
    ranked.attempt,
    ranked.expander,
    ranked.prompt,
    ranked.domain_score,
    ranked.call_id,
    coalesce(
        ranked.failure, case when ranked.place > deficits.deficit then 'low_resource_surplus' end
    ) as rejection_reason
from ranked
inner join deficits using (domain)
