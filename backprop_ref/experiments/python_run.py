"""A folder of `br.train`: what commands that look at a run need of it."""

from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from backprop_ref.arrays import Batch, Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.run_folder import no_run_folder
from backprop_ref.network import Network
from backprop_ref.optimizers.lbfgs import METHODS, AnyOptimizer
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.kept_data import MOST_BYTES, kept_data
from backprop_ref.training.state import State
from backprop_ref.training.stored_checkpoint import load_checkpoint


class PythonRun(NamedTuple):
    """The run as far as its checkpoint goes, and the rows that it is trained on."""

    network: Network
    state: State
    x: Batch
    y: Batch
    weights: Vector | None
    identity: dict[str, Any]

    @property
    def optimizer(self) -> AnyOptimizer:
        """As it was given."""
        told = dict(self.identity["optimizer"])
        method = METHODS[told.pop("name")]
        known = {field.name for field in fields(method)}
        made: AnyOptimizer = method(**{name: value for name, value in told.items() if name in known})
        return made

    @property
    def step(self) -> int:
        """The next one, counted from 1."""
        return self.state.epoch * -(-len(self.x) // self.identity["batch_size"]) + 1


def python_run(folder: Path, function: str, instead: str) -> PythonRun:
    """The run in a folder that `br.train` wrote; `function` does in Python what is asked, `instead` names folders."""
    if not (folder / CHECKPOINT).is_file():
        raise no_run_folder(folder, instead)
    model, state, metadata = load_checkpoint(folder / CHECKPOINT)
    identity = metadata["identity"]
    found = kept_data(folder, identity["data"], model.network)
    if found is None:
        raise InvalidInput(
            f"{folder}: br.train wrote it, and no data with it, as they are more than {MOST_BYTES / 1e6:g} MB or it is "
            f"an older one; use {function} in Python"
        )
    run = PythonRun(model.network, state, *found, identity)
    try:
        slots = set(run.optimizer.init(state.params.flat))
        if slots != set(state.slots) or run.step < 1 or {run.x.dtype, run.y.dtype} != {state.params.dtype}:
            raise ValueError("its parts do not belong together")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InvalidInput(
            f"{folder / CHECKPOINT}: not of a run that could be looked at, or damaged ({error})"
        ) from None
    return run
