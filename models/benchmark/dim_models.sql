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
    models.note
from models
inner join played using (model)
