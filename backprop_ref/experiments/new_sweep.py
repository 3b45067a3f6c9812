"""A new sweep, ready-made or over a grid of one's own."""

from types import NoneType
from typing import Any

from backprop_ref import settings
from backprop_ref.asking import ask
from backprop_ref.data.named import NAMES
from backprop_ref.errors import InvalidInput, check_is, unknown
from backprop_ref.experiments.classics import CLASSICS
from backprop_ref.experiments.config import read_config
from backprop_ref.experiments.sweep import Sweep, grid_of, plan
from backprop_ref.files import Name


def new_sweep(
    experiment: str | None, config_file: Name | None, given: dict[str, str], out: Name | None, flags: dict[str, Any]
) -> Sweep:
    """A ready-made experiment, or a sweep over a grid (axis -> text or list); `flags` as of a single run."""
    check_is("experiment", experiment, (str, NoneType), f"one of {', '.join(CLASSICS)}")
    if experiment is not None and experiment not in CLASSICS:
        if experiment.partition("-")[0] in NAMES:
            raise InvalidInput(
                f"{experiment} is a data set: give {ask('--dataset', experiment)}, "
                f"and a grid such as {ask('--seeds', '1-5')}"
            )
        raise unknown("experiment", experiment, (*CLASSICS, "wrong-gradients"))
    section = {} if config_file is None else read_config(config_file, besides=("sweep",)).get("sweep", {})
    if experiment is None:
        grid = grid_of(given, section)
        name, about = "sweep", {"experiment": None, "title": "Sweep over " + ", ".join(grid)}
    else:
        classic = CLASSICS[experiment]
        grid = grid_of({**given}, {**classic.grid, **section})
        name, about = experiment, {"experiment": experiment, "title": classic.title}
        flags = {**_suited(classic, config_file), **flags}
    flags.setdefault("--trace", ["binary"])
    if settings.from_environment("backend") is None and config_file is None:
        flags.setdefault("--backend", "numba")
    cells = plan(grid, flags, config_file)
    return Sweep.create(out, {"name": name, **about, "grid": grid}, cells)


def _suited(classic, config_file):
    """What a ready-made experiment fixes; what a file says stays."""
    return dict(classic.flags) if config_file is None else {}
