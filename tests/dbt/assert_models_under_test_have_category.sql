-- models.category may be null, but not for a model whose scores are reported by category.
with

roles as (select * from {{ ref('roles') }}),

models as (select * from {{ ref('models') }})

select distinct models.model
from roles
inner join models using (model)
where roles.role = 'model_under_test' and models.category is null
