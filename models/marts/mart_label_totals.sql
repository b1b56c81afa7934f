-- Totals of the released table's columns, as labels and as prompts: a prompt may have a label in each
-- dimension, so labels of all domains add up to more than there are prompts. What is published counts labels.
with

prompts as (select * from {{ ref('dim_prompts') }}),

labels as (select * from {{ ref('fct_prompt_labels') }}),

domains as (select * from {{ ref('dim_domains') }}),

prompt_stages as (
    select
        prompt_id,
        unnest(
            if(origin = 'expansion', [], ['imported', 'classified']) || ['expanded']
            || if(is_survivor, ['generated'], [])
        ) as stage
    from prompts
),

label_stages as (
    select
        prompt_id,
        dimension,
        unnest(
            if(is_reference, ['imported'], [])
            || if(is_assigned, ['classified', 'expanded', 'generated'], [])
        ) as stage
    from labels
),

dimensions as (
    select distinct
        unnest([dimension, 'all']) as dimension,
        dimension as member
    from domains
),

labelled as (
    select
        prompt_stages.stage,
        dimensions.dimension,
        prompt_stages.prompt_id,
        count(label_stages.prompt_id) as labels
    from prompt_stages
    cross join dimensions
    left join label_stages
        on
            prompt_stages.prompt_id = label_stages.prompt_id
            and prompt_stages.stage = label_stages.stage
            and dimensions.member = label_stages.dimension
    group by prompt_stages.stage, dimensions.dimension, prompt_stages.prompt_id
),

totals as (
    select
        stage,
        dimension,
        sum(labels)::bigint as labels,
        count(*) as prompts,
        count(*) filter (where labels = 0) as prompts_with_0_labels,
        count(*) filter (where labels = 1) as prompts_with_1_label,
        count(*) filter (where labels = 2) as prompts_with_2_labels,
        count(*) filter (where labels >= 3) as prompts_with_3_labels_or_more
    from labelled
    group by stage, dimension
),

published as (
    select
        dimensions.dimension,
        unnest(['classified', 'expanded', 'generated']) as stage,
        unnest([
            sum(domains.published_classified),
            sum(domains.published_expanded),
            sum(domains.published_generated)
        ])::bigint as published_labels
    from domains
    inner join dimensions on domains.dimension = dimensions.member
    group by dimensions.dimension
)

select
    totals.stage,
    totals.dimension,
    totals.labels,
    totals.prompts,
    {{ share('totals.labels', 'totals.prompts') }} as labels_per_prompt,
    totals.prompts_with_0_labels,
    totals.prompts_with_1_label,
    totals.prompts_with_2_labels,
    totals.prompts_with_3_labels_or_more,
    published.published_labels
from totals
left join published using (stage, dimension)
