{#
  Purpose: greedy keep-first. Going through the nodes in their order, a node is kept unless an earlier kept
  node is its neighbour; so no two kept nodes are neighbours, and every dropped node has a kept one beside it.
  Arguments: edges, a relation with the columns run, earlier, later; several independent graphs may lie in it,
  one per run (a run per distance, say). Each edge comes once.
  Usage: with recursive outcomes using key (run, node) as ({{ keep_first('edges') }}) select ...
  with outcomes (run, node, open_neighbours, outcome) as the columns; outcome is kept or dropped at the end.
  Trap: nodes without an edge are not in the result; they are kept. Each edge is looked at once, when its
  earlier end is decided, so a chain of n nodes takes n rounds and no more than n edges of work.
#}
{% macro keep_first(edges) %}
    select
        run,
        node,
        sum(earlier_neighbours) as open_neighbours,
        if(sum(earlier_neighbours) = 0, 'kept', 'open') as outcome
    from (
        select
            run,
            later as node,
            1 as earlier_neighbours
        from {{ edges }}
        union all
        select
            run,
            earlier as node,
            0 as earlier_neighbours
        from {{ edges }}
    ) as ends
    group by run, node

    union

    select
        waiting.run,
        waiting.node,
        waiting.open_neighbours - count(*) as open_neighbours,
        case
            when bool_or(decided.outcome = 'kept') then 'dropped'
            when waiting.open_neighbours = count(*) then 'kept'
            else 'open'
        end as outcome
    from outcomes as decided
    inner join {{ edges }} as edges on decided.run = edges.run and decided.node = edges.earlier
    inner join recurring.outcomes as waiting on edges.run = waiting.run and edges.later = waiting.node
    where decided.outcome != 'open' and waiting.outcome = 'open'
    group by waiting.run, waiting.node, waiting.open_neighbours
{% endmacro %}
