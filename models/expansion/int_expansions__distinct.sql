with

drawn as (select * from {{ ref('int_expansions__drawn') }})

select
    {{ text_id('prompt') }} as prompt_id,
    prompt
from drawn
where trim(prompt) != ''
group by all
order by prompt_id
