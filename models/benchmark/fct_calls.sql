-- The journal, read once all stages have written; it may hold calls of earlier runs and prompts.
-- depends_on: {{ ref('int_prompts__classified') }}
-- depends_on: {{ ref('int_prompts__typed') }}
-- depends_on: {{ ref('int_expansions__drawn') }}
-- depends_on: {{ ref('int_expansions__classified') }}
-- depends_on: {{ ref('int_responses__sampled') }}
-- depends_on: {{ ref('int_responses__judged_again') }}
-- depends_on: {{ ref('int_responses__verdicts') }}
-- depends_on: {{ ref('int_gold_responses__judged') }}
-- depends_on: {{ ref('int_answers__judged') }}
with

journal as (select * from {{ source('journal', 'calls') }}),

prices as (select * from {{ ref('prices') }}),

verdicts as (select * from {{ ref('int_responses__verdicts') }}),

judged as (select * from {{ ref('int_responses__judged_in_orders') }}),

judged_again as (select * from {{ ref('int_responses__judged_again') }}),

sampled as (select * from {{ ref('int_responses__sampled') }}),

classified as (select * from {{ ref('int_prompts__classified') }}),

expansions_classified as (select * from {{ ref('int_expansions__classified') }}),

typed as (select * from {{ ref('int_prompts__typed') }}),

drawn as (select * from {{ ref('int_expansions__drawn') }}),

gold as (select * from {{ ref('int_gold_responses__judged') }}),

answers as (select * from {{ ref('int_answers__judged') }}),

answer_verdicts as (
    select unnest(verdicts) as verdict from answers
),

answers_in_orders as (
    select unnest(verdict.by_order) as said from answer_verdicts
),

used as (
    select call_id from verdicts
    union
    select call_id from judged
    union
    select call_id from judged_again
    union
    select call_id from sampled
    union
    select call_id from classified
    union
    select call_id from expansions_classified
    union
    select call_id from typed
    union
    select call_id from drawn
    union
    select call_id from gold
    union
    select call_id from answers
    union
    select said.call_id from answers_in_orders
)

select
    journal.call_id,
    journal.run_id,
    journal.model,
    journal.source,
    journal.revision,
    journal.engine,
    coalesce(journal.machine, '') as machine,
    journal.stage,
    {{ role_of_stage('journal.stage') }} as role,
    journal.verb,
    journal.template,
    journal.template_hash,
    journal.finish_reason,
    used.call_id is not null as is_current,
    journal.prompt_tokens,
    journal.cached_tokens,
    journal.completion_tokens,
    journal.retries,
    coalesce(journal.failures, []) as failures,
    journal.seconds,
    {{ cost_missing_reason('journal', 'prices') }} as cost_missing_reason,
    case when cost_missing_reason is null then {{ cost_usd('journal', 'prices') }} end as cost_usd,
    journal.asked_at
from journal
left join used using (call_id)
left join prices
    on
        journal.source = prices.source
        and journal.engine = prices.engine
        and (journal.asked_at at time zone 'UTC')::date >= coalesce(prices.effective_from, '-infinity'::date)
qualify
    row_number() over (
        partition by journal.call_id order by journal.asked_at asc, prices.effective_from desc nulls last
    ) = 1
