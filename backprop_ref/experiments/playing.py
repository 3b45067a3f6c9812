"""What the page that trains is given: data sets as the command line prepares them, known bugs, a run's state."""

from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.data import load_dataset
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.experiment import Experiment
from backprop_ref.experiments.run_folder import CONFIG, no_run_folder
from backprop_ref.experiments.runner import check_same_data, prepare
from backprop_ref.optimizers import describe
from backprop_ref.report import play
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.stored_checkpoint import load_checkpoint

SETS = ("xor", "encoder", "moons", "circles", "spirals", "iris", "digits")
"""The data sets that a page holds; digits are about half of it."""
NOISY = ("moons", "circles", "spirals")
"""Those to which the page adds noise as their generators do: from clean points, which it holds."""
BUGS = (
    *("missing-mean", "derivative-at-activation", "derivative-missing", "softmax-extra-derivative"),
    *("sigmoid-extra-derivative", "bias-in-weight-loop", "weights-missing-back"),
)
BESIDES = ("l1", "l2", "clip_value", "clip_norm", "max_norm")
"""What a run's optimizer may do, and the page has no field for."""
MOST_NUMBERS = 400_000
"""In the data of a run that a page holds."""


def page_of(target: str | None = None) -> str:
    """The page that trains, as HTML; it begins with a data set, or where a run is."""
    content: dict[str, Any] = {
        "sets": {name: _set(name) for name in SETS},
        "bugs": _bugs(),
        "start": target,
        "run": None,
    }
    if target is None or target in SETS:
        return play.page(content)
    if not Path(target).is_dir():
        raise unknown("data set in the page", target, SETS)
    content["run"] = run = _run(target)
    network = run["network"]
    return play.page(content, network["activations"], [(network["loss"], network["activations"][-1])])


def _bugs() -> dict[str, Any]:
    return {name: {key: getattr(BY_ID[name], key) for key in ("text", "right", "wrong", "hint")} for name in BUGS}


def _set(name: str) -> dict[str, Any]:
    """A data set as ``train NAME --data-seed 1`` has it: the training rows, and their classes."""
    experiment = prepare(merge({"--dataset": name}, environment=False))
    found = _rows(experiment)
    if name in NOISY:
        clean = load_dataset(name, noise=0.0, seed=1)
        default = experiment.config.data.noise
        noise = {"moons": 0.1, "circles": 0.05, "spirals": 0.02}[name] if default is None else default
        found |= {"clean": clean.x.tolist(), "rows": experiment.parts["train"].tolist(), "noise": noise}
    return found


def _rows(experiment: Experiment) -> dict[str, Any]:
    rows = experiment.parts["train"]
    dataset, preparation = experiment.dataset, experiment.preprocessing
    labels = dataset.target[rows].tolist() if dataset.classes is not None else None
    return {
        "x": preparation.x(dataset.x[rows]).tolist(),
        "labels": labels,
        "classes": None if dataset.classes is None else list(dataset.classes),
        "features": list(preparation.feature_names)[: experiment.network.sizes[0]],
    }


def _run(folder: str) -> dict[str, Any]:
    """A run as far as its checkpoint goes: data, network, settings, and everything that training goes on from."""
    if not (Path(folder) / CONFIG).is_file():
        raise no_run_folder(folder, f"the folder of a run, or one of {', '.join(SETS)}")
    if not (Path(folder) / CHECKPOINT).is_file():
        raise InvalidInput(f"{folder}: no {CHECKPOINT} yet; one is written after a second of training, so try again")
    experiment = prepare(merge({}, Path(folder) / CONFIG, environment=False, computing=False))
    model, state, _ = load_checkpoint(Path(folder) / CHECKPOINT)
    check_same_data(folder, experiment, state.params.dtype)
    training, rows = experiment.config.training, experiment.parts["train"]
    _check_supported(folder, experiment, state.params.dtype)
    x, y = experiment.xy("train")
    if x.size + y.size > MOST_NUMBERS:
        raise InvalidInput(f"{folder}: its {len(rows):,} rows are too many for a page; train one on fewer rows")
    optimizer, slots = experiment.optimizer, state.slots
    random, epochs = state.random["state"], training.epochs
    factor = experiment.schedule(min(state.epoch, max(epochs - 1, 0)), epochs)
    return {
        **_rows(experiment),
        "name": experiment.dataset.name,
        "folder": str(folder),
        "x": x.tolist(),
        "y": y.tolist(),
        "network": model.network.to_dict(),
        "optimizer": {
            **{key: getattr(training, key) for key in ("momentum", "nesterov", "beta1", "beta2", "rho", "epsilon")},
            **describe(optimizer),
            "learning_rate": optimizer.learning_rate * factor,
        },
        "besides": "".join(
            f"; {key.replace('_', ' ')} {value:g}" for key in BESIDES if (value := getattr(optimizer, key))
        ),
        "scheduled": experiment.config.training.schedule not in (None, "constant"),
        "reproducible": experiment.config.backend.numerics == "reproducible",
        "batch_size": None if training.batch_size == "full" else training.batch_size,
        "shuffle": training.shuffle,
        "seed": training.seed,
        "init": experiment.config.network.init,
        "state": {
            "epoch": state.epoch,
            "place": 0,
            "total": 0.0,
            "order": None,
            "flat": state.params.flat.tolist(),
            "slots": [slot.tolist() for name, slot in slots.items() if name != "powers"],
            "powers": slots["powers"].tolist() if "powers" in slots else [1.0, 1.0],
            "random": _limbs(random["state"]),
            "increment": _limbs(random["inc"]),
        },
    }


def _check_supported(folder: str, experiment: Experiment, dtype: np.dtype) -> None:
    """Refuses what the page would do otherwise than the run."""
    training, lacking = experiment.config.training, ""
    if dtype != np.float64:
        lacking = f"computes in {dtype}"
    elif training.optimizer == "lbfgs":
        lacking = "is trained by lbfgs"
    elif training.dropout:
        lacking = "has dropout"
    elif experiment.weights("train") is not None or training.class_weight is not None:
        lacking = "weighs its rows"
    elif training.shards != 1:
        lacking = "sums its batches in shards"
    if lacking:
        raise InvalidInput(
            f"{folder} {lacking}, which the page does not do; look at it by: backprop-ref report {folder}"
        )


def _limbs(word: int) -> list[int]:
    """A number of 128 bits in eight of 16, lowest first."""
    return [(word >> 16 * i) & 0xFFFF for i in range(8)]
