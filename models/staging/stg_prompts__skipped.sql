with

source_prompts as (select * from {{ ref('stg_source_prompts') }}),

valid as (select * from {{ ref('stg_prompts__valid') }}),

kept as (select * from {{ ref('stg_prompts') }}),

unusable as (
    select
        source_file,
        row_number,
        skip_reason
    from source_prompts
    where skip_reason is not null
),

exact_copies as (
    select
        valid.source_file,
        valid.row_number,
        'exact_copy' as skip_reason
    from valid
    anti join kept using (prompt_id, origin, source_file, row_number)
)

select * from unusable
{% if var('pairs_source') %}
    union all
    select distinct
        source_file,
        row_number,
        skip_reason
    from {{ ref('stg_source_pairs') }}
    where skip_reason is not null
{% endif %}
union all
select * from exact_copies
order by source_file, row_number
