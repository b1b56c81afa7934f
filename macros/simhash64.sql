{#
  Purpose: text as the fingerprint sees it: NFC, lower case, final sigma as sigma, then only Unicode letters
  and numbers. The same rule as `normalise` in python_udfs/misalign_profile/text.py.
  Arguments: text, an SQL expression; null gives null. Usage: {{ normalised_text('prompt') }}
  Trap: DuckDB 2.0 knows Unicode 15.0, Python 3.11 only 14.0: it drops 4,388 newer letters that are kept here.
#}
{% macro normalised_text(text) -%}
    regexp_replace(replace(lower(nfc_normalize({{ text }})), 'ς', 'σ'), '[^\p{L}\p{N}]', '', 'g')
{%- endmacro %}

{#
  Purpose: the 64-bit SimHash of a text, ubigint, as the `simhash` package gives it for the normalised text.
  The var simhash_implementation says who computes it: `compiled` (Python function, machine code), `package`
  (Python function, the package row by row) or `sql` (DuckDB alone). The values are the same.
  Arguments: text, an SQL expression; null gives null. Usage: {{ simhash64('prompt') }}
#}
{% macro simhash64(text) -%}
    {%- set forms = {
        "compiled": "simhash64(" ~ text ~ ")",
        "package": "simhash64_package(" ~ text ~ ")",
        "sql": simhash64_in_sql(text),
    } -%}
    {%- set implementation = var("simhash_implementation") -%}
    {%- if implementation not in forms -%}
        {{ exceptions.raise_compiler_error(
            "var simhash_implementation is " ~ implementation ~ ", known are " ~ forms.keys() | join(", ")
        ) }}
    {%- endif -%}
    {{ forms[implementation] }}
{%- endmacro %}

{#
  Purpose: puts the function into the warehouse file as main.simhash64_sql(text), so that whoever opens it
  in plain duckdb can fingerprint a text of their own.
  Usage: post_hook="{{ create_simhash64_sql() }}"
#}
{% macro create_simhash64_sql() -%}
    create or replace macro main.simhash64_sql(text) as ({{ simhash64_in_sql("text") }})
{%- endmacro %}

{#
  Purpose: SimHash in SQL: hash every 4-gram with MD5, count each of the last 64 bits over the grams.
  Arguments: text, an SQL expression; null gives null. Usage: through simhash64 and create_simhash64_sql.
  How: list_transform([x], lambda y: ...)[1] gives x a name and computes it once. Short lists are padded
  with null by list_zip, which concat leaves out, so a text below 4 characters is one gram. A sum over
  hash & mask counts several bits at once, each in a field of its own.
  Trap: a lambda that takes a value from outside has it computed again for each element; these take none.
#}
{% macro simhash64_in_sql(text) -%}
    list_transform(
        [list_transform(
            list_transform(
                [string_split({{ normalised_text(text) }}, '')],
                lambda c: list_zip(c, c[2:], c[3:], c[4:])[:greatest(len(c) - 3, 1)]
            )[1],
            lambda gram: (md5_number(concat(gram[1], gram[2], gram[3], gram[4])) >> 64)::ubigint
        )],
        lambda hashes: case
            when len(hashes) < 256 then {{ simhash64_majority("hashes", 8) }}
            else {{ simhash64_majority("hashes", 32) }}
        end
    )[1]
{%- endmacro %}

{#
  Purpose: the bits that more than half of the hashes set, as one ubigint.
  Arguments: hashes, the name of a list of ubigint; width, the bits of a counter: the list has less than
  2 ** width elements. Usage: only inside simhash64_in_sql.
  How: a mask takes every width-th bit, so the sum of hash & mask is 64 / width counters side by side. The
  number that DuckDB makes of an MD5 has its last byte on top, the package's the first: hence the values.
#}
{% macro simhash64_majority(hashes, width) -%}
    {%- set lowest = (2 ** 64 - 1) // (2 ** width - 1) -%}
    {%- set total = "sums[" ~ (width + 1) ~ "]" -%}
    {%- set sums = [] -%}
    {%- set bits = [] -%}
    {%- for bit in range(width) -%}
        {%- set masked = "lambda h: h & " ~ lowest * 2 ** bit ~ "::ubigint" -%}
        {%- do sums.append("list_sum(list_transform(" ~ hashes ~ ", " ~ masked ~ "))") -%}
    {%- endfor -%}
    {%- for bit in range(64) -%}
        {%- set ones = "((sums[" ~ (bit % width + 1) ~ "] >> " ~ bit ~ ") & " ~ (2 ** width - 1) ~ ")" -%}
        {%- set value = 2 ** (56 - bit // 8 * 8 + bit % 8) -%}
        {%- do bits.append("if(2 * " ~ ones ~ " > " ~ total ~ ", " ~ value ~ "::ubigint, 0::ubigint)") -%}
    {%- endfor -%}
    list_transform(
        [[{{ sums | join(", ") }}, len({{ hashes }})]],
        lambda sums: case when {{ total }} > 0 then {{ bits | join(" + ") }} end
    )[1]
{%- endmacro %}
