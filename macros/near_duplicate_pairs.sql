{#
  Purpose: all pairs of rows whose 64-bit fingerprints differ in at most max_distance bits; exact.
  Arguments: relation (a table or CTE), id and fingerprint columns, max_distance (0..16).
  Usage: {{ near_duplicate_pairs('fingerprints', 'prompt_id', 'fingerprint', 10) }}
  Why it is exact: two fingerprints within d bits agree up to floor(d / 4) bits in at least one of four
  16-bit blocks (pigeonhole), so candidates come from an equality join on blocks with bits flipped, some on
  the near side and the rest on the far side: for d = 10, 17 masks each instead of 137 on one side.
  Trap: equal fingerprints are paired too (distance 0); ids must be unique.
#}
{% macro near_duplicate_pairs(relation, id, fingerprint, max_distance) %}
    {% set radius = max_distance // 4 %}
    with masks as (
        select
            mask::uinteger as mask,
            bit_count(mask) as flips
        from range(65536) as masks(mask)
        where bit_count(mask) <= {{ radius - radius // 2 }}
    ),

    blocks as (
        select
            f.fingerprint,
            (
                65536 * b.block + ((f.fingerprint >> (16 * b.block)::ubigint) & 65535::ubigint)
            )::uinteger as bits
        from (select distinct {{ fingerprint }} as fingerprint from {{ relation }}) as f
        cross join range(4) as b(block)
    ),

    near_blocks as (
        select
            blocks.fingerprint,
            xor(blocks.bits, masks.mask) as bits
        from blocks
        cross join masks
        where masks.flips <= {{ radius // 2 }}
    ),

    far_blocks as (
        select
            blocks.fingerprint,
            xor(blocks.bits, masks.mask) as bits
        from blocks
        cross join masks
    ),

    candidates as (
        select distinct
            a.fingerprint as fingerprint_a,
            b.fingerprint as fingerprint_b
        from near_blocks as a
        inner join far_blocks as b on a.bits = b.bits
        where
            a.fingerprint <= b.fingerprint
            and bit_count(xor(a.fingerprint, b.fingerprint)) <= {{ max_distance }}
    )

    select
        least(a.{{ id }}, b.{{ id }}) as id_a,
        greatest(a.{{ id }}, b.{{ id }}) as id_b,
        bit_count(xor(c.fingerprint_a, c.fingerprint_b))::integer as distance
    from candidates as c
    inner join {{ relation }} as a on c.fingerprint_a = a.{{ fingerprint }}
    inner join {{ relation }} as b on c.fingerprint_b = b.{{ fingerprint }}
    where c.fingerprint_a < c.fingerprint_b or a.{{ id }} < b.{{ id }}
{% endmacro %}
