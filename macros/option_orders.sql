{#
  Purpose: the mean of a column over the orders in which a question listed its options.
  Arguments: a column; the var that says in how many orders the stage asks, at most.
  Usage: {{ mean_over_orders('score', 'classification_option_orders') }}, grouped by the question.
  Trap: three floats and more do not add up the same in every order, so their order is fixed; two do, and
  sorting them would cost more than all the rest.
#}
{% macro mean_over_orders(column, setting) -%}
    avg({{ column }}{{ " order by option_order" if target_var(setting) | int > 2 }})
{%- endmacro %}

{#
  Purpose: the likeliest of a dimension's domains, or 'none' when none of them is likelier than no domain.
  Arguments: columns of the domain, its probability and the probability of none.
  Usage: {{ likeliest_option('domain', 'score', 'none_score') }}, grouped by prompt and dimension.
  Trap: of equally likely domains the last by name, so that a rebuilt table is the same.
#}
{% macro likeliest_option(domain, score, none_score) -%}
    if(
        max({{ none_score }}) >= max({{ score }}),
        'none',
        arg_max({{ domain }}, struct_pack(score := {{ score }}, domain := {{ domain }}))
    )
{%- endmacro %}
