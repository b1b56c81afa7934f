-- Who comes first is decided here and nowhere else: seed, then source, then expansion, then order of arrival.
{{ config(post_hook="{{ create_simhash64_sql() }}") }}
with

prompts as (select * from {{ ref('int_prompts__unioned') }}),

normalised as (
    select
        prompt_id,
        prompt,
        origin,
        {{ normalised_text('prompt') }} as letters,
        row_number() over (
            order by list_position(['seed', 'source', 'expansion'], origin), position, prompt_id
        ) as place
    from prompts
)

select
    prompt_id,
    first_value(prompt_id) over (
        partition by letters, if(letters = '', prompt_id, '') order by place
    ) as exact_id,
    origin,
    letters,
    place,
    {{ simhash64('prompt') }} as fingerprint
from normalised
