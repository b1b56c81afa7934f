{#
  Purpose: a var that differs by target; its value is a mapping target -> value, or one value for all.
  Arguments: name. Usage: {{ target_var('expansion_target') }}
  Trap: not usable in yml files, which know no macros.
#}
{% macro target_var(name) -%}
    {%- set value = var(name) -%}
    {%- if value is mapping -%}
        {%- if target.name not in value -%}
            {{ exceptions.raise_compiler_error(
                "var " ~ name ~ " has values for " ~ value.keys() | join(", ") ~ ", none for target " ~ target.name
            ) }}
        {%- endif -%}
        {{ return(value[target.name]) }}
    {%- endif -%}
    {{ return(value) }}
{%- endmacro %}
