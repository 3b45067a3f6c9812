"""A step in two calls, for shards whose gradients are summed in between, elsewhere."""

from functools import cache
from typing import Any

from numba.core import types

from ..compiling import compiled, merged
from .calls import calls_for
from .epochs import kind_for, shard_for
from .memory import reader

_MEMORY = types.Array(types.int64, 1, "C")


@cache
def programs(dtype: str) -> tuple[Any, Any]:
    """``shard(memory, epoch, begin, m, weight, target)`` of `epochs.shard_for`, and ``update(memory, epoch, weight)``
    from the gradients in ``work``, both compiled."""
    one_shard, call_step, read = merged(shard_for(dtype)), calls_for(dtype)["step"], reader(kind_for(dtype))

    def shard(memory: Any, epoch: int, begin: int, m: int, weight: float, target: Any) -> Any:
        return one_shard(memory, epoch, begin, m, weight, target)

    def update(memory: Any, epoch: int, weight: float) -> None:
        call_step(read(memory).plan.pieces.step, memory, epoch, 0, 0, weight)

    target, whole, real = types.Array(getattr(types, dtype), 1, "C"), types.int64, types.float64
    found = compiled(shard), compiled(update)
    found[0].compile((_MEMORY, whole, whole, whole, real, target))
    found[1].compile((_MEMORY, whole, real))
    return found
