"""What the page says about listing orders; nothing where every question was asked in one order.

Knows the columns of ``mart_option_order``; knows nothing about HTML.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.warehouse import Warehouse


def option_orders(warehouse: Warehouse) -> dict[str, Any]:
    """Rows of the stages and models that were asked in more than one order."""
    rows = warehouse.rows(
        "marts.mart_option_order",
        """
        select stage, model, orders.dimension, option_order, n, mean_probability, mean_shift,
            n_flipped, flipped_share, flipped_share_low, flipped_share_high, is_too_small
        from marts.mart_option_order as orders
        left join seeds.dimensions as dimensions using (dimension)
        where option_orders > 1
        order by stage desc, model, coalesce(dimensions.position, 0), option_order
        """,
    )
    return {"option_orders": rows}
