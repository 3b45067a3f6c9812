"""The swaps of a shuffle, compiled: of a million rows they take the interpreter a second."""

from functools import cache
from typing import Any

from .compiling import compiled


@cache
def swaps() -> Any:
    """``swap(partners, orders)``: in each row of orders, i = n−1 … 1 in turn with its partner."""

    def swap(partners: Any, orders: Any) -> None:
        count, n = orders.shape
        for row in range(count):
            for i in range(n - 1, 0, -1):
                j = partners[row, n - 1 - i]
                orders[row, i], orders[row, j] = orders[row, j], orders[row, i]

    return compiled(swap)
