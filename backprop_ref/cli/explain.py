"""backprop-ref explain."""

import shutil
from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.commands import explain as explained
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.python_run import python_run
from backprop_ref.experiments.run_folder import CONFIG
from backprop_ref.experiments.runner import check_same_data, prepare
from backprop_ref.files import check_output, write_output
from backprop_ref.report.derivations.documents import PAGES
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.stored_checkpoint import load_checkpoint

ITS_OWN = {"--backend", "--numerics", "--device", "--threads"}


def explain(target, sample, layer, neuron, matrices, derivation, form, output, digits, terms, flags):
    """Prints one step of a fresh or a trained network, or writes it to a file."""
    if form not in PAGES:
        raise unknown("--format", form, PAGES)
    check_output("--output", output)
    if not _is_folder(target):
        given = _fresh(target, flags)
    elif (Path(target) / CONFIG).is_file():
        given = _trained(target, flags)
    else:
        given = _of_python(target, flags)
    found = explained(
        **given,
        sample=sample,
        layer=layer,
        neuron=neuron,
        matrices=matrices,
        derivation=derivation,
        digits=digits,
        terms=terms,
    )
    page = found.document(form, max(40, shutil.get_terminal_size((79, 24)).columns))
    if output is None:
        show.document(page)
    else:
        write_output("--output", output, page)
        show.line(f"explained: {output}", err=True)


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
    return _of(experiment, params, None, rate, 1, about)


def _trained(folder, flags):
    """A run, as far as its checkpoint goes."""
    _check_flags(folder, flags)
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
    about = _reached(folder, state, f" of {epochs}")
    batch, n = experiment.config.training.batch_size, len(experiment.parts["train"])
    t = done * (1 if batch == "full" else -(-n // batch)) + 1
    return _of(experiment, state.params, state, rate, t, about)


def _of(experiment, params, state, rate, step, about):
    """What `br.explain` takes, of a run with a configuration."""
    x, y = experiment.xy("train")
    without = ", without its dropout" if experiment.config.training.dropout else ""
    return {
        "network": experiment.network,
        "params": params,
        "x": x,
        "y": y,
        "optimizer": experiment.optimizer,
        "learning_rate": rate,
        "state": state,
        "step": step,
        "numerics": experiment.config.backend.numerics,
        "sample_weight": experiment.weights("train"),
        "class_weight": experiment.class_weight,
        "name": experiment.dataset.name,
        "about": f"{about}{without}",
    }


def _of_python(folder, flags):
    """A run of ``br.train``, as far as its checkpoint goes; the learning rate is that of its last epoch."""
    _check_flags(folder, flags)
    run = python_run(Path(folder), "br.explain", "the folder of a run, or a data set")
    rates = run.state.columns["learning_rate"]
    without = ", without its dropout" if run.identity["dropout"] else ""
    return {
        "network": run.network,
        "params": run.state.params,
        "x": run.x,
        "y": run.y,
        "optimizer": run.optimizer,
        "learning_rate": rates[-1] if rates else None,
        "state": run.state,
        "step": run.step,
        "sample_weight": run.weights,
        "numerics": run.identity["numerics"],
        "name": Path(folder).resolve().name,
        "about": f"{_reached(folder, run.state)}{without}",
    }


def _check_flags(folder, flags):
    for flag in sorted(set(flags) - ITS_OWN):
        raise InvalidInput(f"{folder} is a run folder and has its own network and data; leave out {flag}")


def _reached(folder, state, of=""):
    return f"{folder} after epoch {state.epoch}" + ("" if state.stopped else f"{of}, going on or interrupted")
