"""backprop-ref explain."""

import shutil
from pathlib import Path

import numpy as np

from backprop_ref.cli import show
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.run_folder import CONFIG
from backprop_ref.experiments.runner import check_same_data, prepare
from backprop_ref.files import check_output, write_output
from backprop_ref.report.derivations.documents import PAGES, Heading, Words
from backprop_ref.report.derivations.explain import check_range, shortened
from backprop_ref.report.derivations.explain import explain as explained
from backprop_ref.report.derivations.step import Step
from backprop_ref.sample_weights import weighted
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.stored_checkpoint import load_checkpoint

ITS_OWN = {"--backend", "--numerics", "--device", "--threads"}


def explain(target, sample, layer, neuron, matrices, derivation, form, output, digits, terms, flags):
    """Prints one step of a fresh or a trained network, or writes it to a file."""
    if form not in PAGES:
        raise unknown("--format", form, PAGES)
    check_output("--output", output)
    experiment, start = _trained(target, flags) if _is_folder(target) else _fresh(target, flags)
    x, y = (array.astype(start[0].dtype) for array in experiment.xy("train"))
    told = experiment.weights("train"), experiment.class_weight
    trained_on, _, weights = weighted(np.arange(len(x))[:, None], y, *told)
    sample = int(trained_on[_telling(x[trained_on[:, 0]]), 0]) if sample is None else sample
    check_range("sample", sample, len(x))
    if sample not in trained_on:
        raise InvalidInput(f"--sample {sample}: a row of weight 0, which nothing is learnt from; give another one")
    params, slots, learning_rate, t, about = start
    weight = None if weights is None else float(weights[trained_on[:, 0] == sample][0])
    x, y = x[sample : sample + 1], y[sample : sample + 1]
    numerics = experiment.config.backend.numerics
    step = Step.of(experiment.network, params, x, y, experiment.optimizer, learning_rate, slots, numerics, t, weight)
    network = experiment.network
    sizes = "-".join(map(str, network.sizes))
    without = ", without its dropout" if experiment.config.training.dropout else ""
    blocks = [
        Heading(1, f"One step of backpropagation: {experiment.dataset.name}, sample {sample}"),
        Words(f"Network {sizes}, {', '.join(network.activations)}, {network.loss}; {about}{without}."),
        Words(f"Numbers are rounded to {digits} significant digits, and computed unrounded; shorter ones are exact."),
        *shortened(explained(step, layer, neuron, matrices, derivation), terms),
    ]
    page = PAGES[form](digits, terms, max(40, shutil.get_terminal_size((79, 24)).columns))
    if output is None:
        show.document(page.document(blocks))
    else:
        write_output("--output", output, page.document(blocks))
        show.line(f"explained: {output}", err=True)


def _telling(x):
    """The first row that is not all 0, as every dW of the first layer would be."""
    return next(iter(np.flatnonzero(x.any(axis=1)).tolist()), 0)


def _is_folder(target):
    return target is not None and Path(target).is_dir()


def _fresh(target, flags):
    """A data set, with initial parameters."""
    data = {} if "--data-path" in flags else {"--dataset": target or "xor"}
    if target is not None and "--data-path" in flags:
        raise InvalidInput(f"both {target} and --data-path {flags['--data-path']}: give one of them")
    if target is not None and ("/" in target or Path(target).exists()):
        raise InvalidInput(f"{target}: no run folder; give the folder of a run, a data set's name, or --data-path FILE")
    experiment = prepare(merge({**data, **flags}))
    config = experiment.config
    params = experiment.network.init(config.training.seed, config.network.init, config.backend.dtype)
    rate = config.training.learning_rate * experiment.schedule(0, config.training.epochs)
    about = f"initial weights {config.network.init}, seed {config.training.seed}"
    return experiment, (params, None, rate, 1, about)


def _trained(folder, flags):
    """A run, as far as its checkpoint goes."""
    for flag in sorted(set(flags) - ITS_OWN):
        raise InvalidInput(f"{folder} is a run folder and has its own network and data; leave out {flag}")
    if not (Path(folder) / CONFIG).is_file():
        raise InvalidInput(f"{folder}: no run folder (no {CONFIG} in it); give the folder of a run, or a data set")
    if not (Path(folder) / CHECKPOINT).is_file():
        raise InvalidInput(
            f"{folder}: no {CHECKPOINT} yet; one is written after a second of training, so try again in a moment"
        )
    experiment = prepare(merge(flags, Path(folder) / CONFIG, environment=False, computing=False))
    model, state, _ = load_checkpoint(Path(folder) / CHECKPOINT)
    check_same_data(folder, experiment, state.params.dtype)
    if model.network != experiment.network or set(state.slots) != set(experiment.optimizer.init(state.params.flat)):
        raise InvalidInput(f"{folder}: {CHECKPOINT} is of another run than {CONFIG}")
    done, epochs = state.epoch, experiment.config.training.epochs
    rate = experiment.optimizer.learning_rate * experiment.schedule(min(done, max(epochs - 1, 0)), epochs)
    about = f"{folder} after epoch {done}" + ("" if state.stopped else f" of {epochs}, going on or interrupted")
    batch, n = experiment.config.training.batch_size, len(experiment.parts["train"])
    t = done * (1 if batch == "full" else -(-n // batch)) + 1
    return experiment, (state.params, state.slots or None, rate, t, about)
