"""From an earlier training's state: what it takes to go on to the same bits as if it had never ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backprop_ref.arrays import Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.optimizers.schedules import Cosine, Schedule
from backprop_ref.parameters import Parameters
from backprop_ref.training.state import Plan, State

if TYPE_CHECKING:
    from backprop_ref.traces.recorder import Recorder


def check_goes_on(
    state: State | None, params: Parameters, schedule: Schedule, resume: bool, trace: Recorder | None
) -> int:
    """Refuses what does not fit an earlier training that is to go on; how many epochs it has done."""
    if trace is not None and not hasattr(trace, "flush"):
        raise InvalidInput(f"trace={trace!r}: a br.Recorder is needed")
    if state is None:
        return 0
    if not isinstance(state, State):
        raise InvalidInput(f"state is a {type(state).__name__}: the state of a Result is needed, result.state")
    if resume:
        raise InvalidInput("resume=True goes on from a run folder, and state from a Result; leave out one of them")
    if trace is not None:
        raise InvalidInput("a trace begins with its run and cannot begin with a state; leave out one of them")
    if isinstance(schedule, Cosine) and schedule.over is None:
        raise InvalidInput(
            "the schedule cosine goes over all epochs of a training, which a call that goes on does not know; say how "
            "many in every call, as schedule=br.Cosine(over=50)"
        )
    reached = [state.params.flat, *([] if state.best is None else [state.best])]
    if params.sizes != state.params.sizes or not any(_same(params.flat, flat) for flat in reached):
        raise InvalidInput("params are not those that the training of this state reached; pass its result.params")
    return state.epoch


def gone_on(state: State | None, begun: State, plan: Plan) -> State:
    """The state of an earlier training, put in the place of a fresh one."""
    if state is None:
        return begun
    if set(state.slots) != set(begun.slots):
        held = [", ".join(sorted(slots)) or "nothing" for slots in (state.slots, begun.slots)]
        raise InvalidInput(f"state is of another optimizer: it holds {held[0]}, and this one needs {held[1]}")
    if list(state.columns) != list(begun.columns):
        names = [", ".join(columns) for columns in (state.columns, begun.columns)]
        raise InvalidInput(
            f"the epochs up to state have {names[0]}, and those to come {names[1]}: give validation in every call, or "
            "in none"
        )
    state = state.copy()._replace(stopped=None, begun=None, key=begun.key if state.key is None else state.key)
    if plan.patience is None or state.best is not None or state.epoch == 0:
        return state
    value = state.last().get("val_loss", state.last()["loss"])
    return state._replace(best=state.params.flat.copy(), best_value=value, best_epoch=state.epoch)


def _same(one: Vector, other: Vector) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()
