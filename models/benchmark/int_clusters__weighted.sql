-- The bootstrap's weights of all clusters with a judged draw, computed once for what rests on them.
with

judgements as (select * from {{ ref('fct_judge_answers') }})

{{ bootstrap_weights('judgements') }}
