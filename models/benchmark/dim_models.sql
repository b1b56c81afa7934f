with

models as (select * from {{ ref('models') }}),

roles as (select * from {{ ref('roles') }}),

played as (
    select
        model,
        list(distinct role order by role) as roles
    from roles
    where target = '{{ target.name }}'
    group by model
),

under_test as (
    select
        models.source,
        models.revision,
        list(models.model order by models.model) as names
    from models
    inner join played using (model)
    where list_contains(played.roles, 'model_under_test')
    group by models.source, models.revision
),

judges as (
    select distinct
        models.source,
        models.revision
    from models
    left join played using (model)
    where
        list_contains(played.roles, 'judge')
        {% if var('pairs_source') %}
            or models.model in (select judge from {{ ref('int_responses__sampled') }})
        {% endif %}
)

select
    models.model,
    models.source,
    models.revision,
    models.engine,
    models.dtype,
    models.category,
    models.prompt_style,
    played.roles,
    contains(models.source, 'demo_checkpoints/') or models.engine = 'scripted' as is_demo,
    under_test.names as under_test_as,
    judges.source is not null as is_judge,
    models.note
from models
inner join played using (model)
left join under_test
    on models.source = under_test.source and models.revision is not distinct from under_test.revision
left join judges
    on models.source = judges.source and models.revision is not distinct from judges.revision
{% if var('pairs_source') %}
    union all
    select
        name as model,
        'imported:' || name as source,
        cast(null as varchar) as revision,
        'imported' as engine,
        'unknown' as dtype,
        cast(null as varchar) as category,
        'unknown' as prompt_style,
        list(distinct role order by role) as roles,
        coalesce(
            bool_or(contains(models.source, 'demo_checkpoints/') or models.engine = 'scripted'), false
        ) as is_demo,
        cast(null as varchar[]) as under_test_as,
        bool_or(role = 'judge') as is_judge,
        'wrote or judged the imported pairs; no model of this project' as note
    from (
        select
            responder as name,
            'responder' as role
        from {{ ref('int_responses__sampled') }}
        union
        select
            judge as name,
            'judge' as role
        from {{ ref('int_responses__sampled') }}
    ) as imported
    left join models on imported.name = models.model
    where name not in (select played.model from played)
    group by name
{% endif %}
