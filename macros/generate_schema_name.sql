{#
  Purpose: the schema of a model is the name of its folder, without the target's prefix.
  Arguments: as dbt calls it. Usage: none; dbt calls it.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
