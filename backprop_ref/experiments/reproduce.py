"""Training a run again, from its configuration and data, and whether every bit is the same."""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import yaml
from pydantic import Field

from backprop_ref.asking import ask
from backprop_ref.backends import get_backend
from backprop_ref.errors import BackpropRefError, InvalidInput, TrainingDiverged
from backprop_ref.experiments.config import check_backend, merge, read_config
from backprop_ref.experiments.run_folder import CONFIG, no_run_folder
from backprop_ref.experiments.runner import first_params, how_to_train, prepare
from backprop_ref.files import Name, beginning, create, path_of
from backprop_ref.network.model_file import Model
from backprop_ref.settings import resolve
from backprop_ref.stored import Count, Stored
from backprop_ref.traces.file import Trace, open_trace
from backprop_ref.traces.recorder import Recorder
from backprop_ref.training.chain import FORMAT, Chain, first_break, hashed, history_hash
from backprop_ref.training.checkpoint import CERTIFICATE, CHECKPOINT
from backprop_ref.training.ctrl_c import uninterrupted
from backprop_ref.training.history_file import HISTORY
from backprop_ref.training.state import Link, State
from backprop_ref.training.stored_checkpoint import load_checkpoint
from backprop_ref.training.train import train

GONE_ON = ("interrupted", "callback", None)
"""How a run ended that would go on by its configuration."""
SOON, SMALL, FRAMES = 2.0, 3000, 300
"""Seconds that a training took, its parameters, and the epochs to show, where a page may train it again."""


OF_A_CALL = (
    "of br.train, whose arguments no file has; make the same call with a new run_dir, and compare the two "
    f"{CERTIFICATE}, which are the same byte by byte"
)


class Reproduced(NamedTuple):
    """What came of training a run again.

    Attributes
    ----------
    ok : bool
        Whether everything was the same.
    epochs : int
        How many the run has.
    differs : int or None
        The first epoch that is another one, 0 for the initial weights.
    what : str
        What differs there: 'weights', 'loss' or another column of the history, 'record', or ''.
    notes : tuple of str
        What else is not as it was: data, configuration, files.
    sha256 : str
        Of the weights that training again reached.
    backend : str
        What trained again.
    compared : int
        Of so many epochs the weights were compared.
    """

    ok: bool
    epochs: int
    differs: int | None
    what: str
    notes: tuple[str, ...]
    sha256: str
    backend: str
    compared: int


class Certificate(Stored):
    """certificate.json."""

    format: Literal["backprop_ref-certificate-1"]
    arithmetic: Literal[1]
    version: str
    identity: dict[str, Any]
    configuration: dict[str, Any] | None
    epochs: Count
    stopped: str | None
    best_epoch: Count | None
    params: str
    columns: list[str]
    chain: list[Annotated[tuple[Count, str, str, str], Field(strict=False)]]
    sha256: str


class Claim(NamedTuple):
    """What a file says of a training: to be compared with what training again gives."""

    source: Path
    chain: Chain
    links: tuple[Link, ...]
    epochs: int
    stopped: str | None
    params: str
    config: dict[str, Any] | None
    reached: str | None = None
    """Hash of the last parameters, where they are there."""
    columns: Mapping[str, Sequence[float]] | None = None


def reproduce(
    run: Name,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Reproduced:
    """Trains a run folder again, or what a certificate is of, in a folder that is removed afterwards.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C stopped it: nothing can be said of the run.
    """
    path = path_of(run, "run")
    notes: list[str] = []
    claims = _claims(path, notes)
    most = max(claims, key=lambda claim: claim.epochs)
    with tempfile.TemporaryDirectory(prefix="backprop_ref-") as place:
        if path.is_dir():
            where = path / CONFIG
            notes += _changed(read_config(where), most.config)
        else:
            where = Path(place, CONFIG)
            create(where, yaml.safe_dump(_with_data(most.config, path)))
        config = merge({}, where, environment=False)
        check_backend(config.backend.name, where, backend)
        chosen = config.backend
        chosen.name, chosen.device = backend or chosen.name, device if backend else device or chosen.device
        chosen.threads, chosen.numerics = chosen.threads if threads is None else threads, "reproducible"
        experiment = prepare(config)
        computing = get_backend(chosen.name, chosen.numerics, chosen.device, chosen.threads)
        params = first_params(experiment, resolve("dtype", chosen.dtype))
        folder = Path(place, "again")
        with contextlib.suppress(TrainingDiverged):
            result = train(
                experiment.network,
                params,
                *experiment.xy("train"),
                **how_to_train(experiment),
                callback=_until(most) if most.stopped in GONE_ON else None,
                progress=progress,
                run_dir=folder,
                backend=computing,
            )
            uninterrupted(result)
        again = load_checkpoint(folder / CHECKPOINT)
        changed = _changed_row(path / HISTORY, folder / HISTORY)
    return _compared(claims, again, tuple(notes), computing.name, changed)


def traced_again(run: Path, results: Mapping[str, Any]) -> Trace | None:
    """The trace of a small run that has ended and wrote none, by training it again: a trace changes no bit of it.

    None of a larger one, and where training it again does not end with the same parameters, to the last bit.
    """
    if not results["epochs"] or results["seconds"] > SOON or results["n_parameters"] > SMALL:
        return None
    where = run / CONFIG
    try:
        kept = load_checkpoint(run / CHECKPOINT)[1]
        config = merge({}, where, environment=False)
        check_backend(config.backend.name, where, None)
        experiment, chosen = prepare(config), config.backend
        recorder = Recorder(every=-(-results["epochs"] // FRAMES), configuration=run.resolve().name)
        result = train(
            *(experiment.network, first_params(experiment, resolve("dtype", chosen.dtype)), *experiment.xy("train")),
            **how_to_train(experiment),
            callback=_until(kept) if results["stopped"] in GONE_ON else None,
            backend=get_backend(chosen.name, chosen.numerics, chosen.device, chosen.threads),
            trace=recorder,
        )
    except BackpropRefError:  # its data, its backend or its checkpoint are gone
        return None
    uninterrupted(result)
    trace = open_trace(recorder.folder)
    last = [trace[f"{name}{layer}"][-1].ravel() for layer in range(trace.network.n_layers) for name in ("W", "b")]
    return trace if np.concatenate(last).tobytes() == kept.params.flat.tobytes() else None


def _until(claim: Any) -> Any:
    """A callback that stops where a run did, by its claim or its state."""
    last = claim.epochs if isinstance(claim, Claim) else claim.epoch
    return lambda at: at.epoch >= last


def _claims(path: Path, notes: list[str]) -> list[Claim]:
    """What is said of the training, by each file that says something."""
    if not path.exists():
        raise InvalidInput(f"{path}: no such file; give the folder of a run, or its {CERTIFICATE}")
    if not path.is_dir():
        return [_of_certificate(path)]
    if not (path / CONFIG).is_file():
        if not (path / CHECKPOINT).is_file():
            raise no_run_folder(path, f"the folder of a run, or a {CERTIFICATE}")
        raise InvalidInput(f"{path}: {OF_A_CALL}")
    claims = [_of_certificate(path / CERTIFICATE)] if (path / CERTIFICATE).exists() else []
    try:
        return [*claims, _of_checkpoint(path / CHECKPOINT)]
    except InvalidInput as error:
        if not claims:
            raise
        notes.append(f"{error}")
        return [claims[0]._replace(reached="")]


def _of_checkpoint(path: Path) -> Claim:
    model, state, metadata = load_checkpoint(path)
    identity = metadata["identity"]
    chain = Chain.of(identity, metadata.get("chain")) if "numerics" in identity else None
    if chain is None:
        raise InvalidInput(
            f"{path.parent}: trained in fast numerics, whose bits are those of one machine and its threads, so that "
            f"training it again proves nothing; train with {ask('--numerics', 'reproducible')}"
        )
    return Claim(
        path,
        chain,
        state.chain,
        state.epoch,
        state.stopped,
        model.params.sha256(),
        metadata.get("config"),
        state.params.sha256(),
        state.columns,
    )


def _of_certificate(path: Path) -> Claim:
    content = Certificate.read(path, f"a certificate of ours (format '{FORMAT}')")
    told = Certificate.checked(content)
    if hashed({key: value for key, value in content.items() if key != "sha256"}) != told.sha256:
        raise InvalidInput(f"{path}: damaged: its contents are not those that its hash was made of; get it again")
    links = tuple(Link(*link) for link in told.chain)
    chain = Chain(told.version, told.identity)
    return Claim(path, chain, links, told.epochs, told.stopped, told.params, told.configuration)


def _with_data(config: dict[str, Any] | None, path: Path) -> dict[str, Any]:
    """A certificate's configuration, with data files as they lie beside it, or in the current folder."""
    if config is None:
        raise InvalidInput(f"{path}: {OF_A_CALL}")
    data = dict(config.get("data") or {})
    for key in ("path", "validation_path"):
        if isinstance(data.get(key), str):
            beside = path.parent / Path(data[key]).name
            data[key] = str(beside if beside.exists() else Path(data[key]).name)
    return {**config, "data": data}


def _changed_row(path: Path, again: Path) -> int | None:
    """The first row that training again wrote and a history in a file has not, or has otherwise; row 0: the header."""
    if not path.is_file():
        return None
    rows = again.read_bytes().splitlines()
    before = beginning(path, again.stat().st_size + 1).splitlines()
    return next((row for row, line in enumerate(rows) if before[row : row + 1] != [line]), None)


def _changed(now: Mapping[str, Any], then: Mapping[str, Any] | None) -> list[str]:
    """What a configuration has changed since the training."""
    found = []
    for section in ("data", "network", "training"):
        before = (then or {}).get(section) or {}
        for key, value in (now.get(section) or {}).items():
            was, key_is_path = before.get(key, value), key.endswith("path")
            if was != value and not (key_is_path and Path(str(was)).name == Path(str(value)).name):
                found.append(f"{CONFIG}: {section}.{key} was {str(was)[:40]}, now {str(value)[:40]}")
    return found


def _compared(
    claims: list[Claim],
    again: tuple[Model, State, dict[str, Any]],
    notes: tuple[str, ...],
    backend: str,
    changed: int | None = None,
) -> Reproduced:
    model, state, metadata = again
    identity = metadata["identity"]
    differences: list[tuple[int, str]] = []
    for claim in claims:
        broken = first_break(claim.chain.origin, claim.links)
        if broken is not None:
            notes += (f"{claim.source.name}: its chain of hashes does not hold from epoch {broken} on",)
            differences.append((broken, "record"))
        for key, value in identity.items():
            was = claim.chain.identity.get(key, value)
            shown = 16 if key == "data" else 60  # a hash
            note = f"{key} was {str(was)[:shown]}, now {str(value)[:shown]}"
            if was != value and note not in notes:
                notes += (note,)
        differences += _differences(claim, model, state)
    if changed is not None and not differences:
        notes += (f"{HISTORY}: line {changed + 1} is not what this training writes",)
        differences.append((max(changed, 1), "record"))
    compared = {link.epoch for claim in claims for link in claim.links}
    compared |= {claim.epochs for claim in claims if claim.reached}
    epochs = max(claim.epochs for claim in claims)
    first = min(differences, default=(None, ""))
    if first[0] is None and notes:  # nothing that is trained on it comes out otherwise
        first = (epochs, "record")
    return Reproduced(
        first[0] is None, epochs, first[0], first[1], notes, model.params.sha256(), backend, len(compared)
    )


def _differences(claim: Claim, model: Model, state: State) -> list[tuple[int, str]]:
    """The epochs in which training again gave something else, each with what that was."""
    found, done = [], 0
    now = {link.epoch: link for link in state.chain}
    for link in claim.links:
        other = now.get(link.epoch)
        if link.epoch == state.epoch:
            other = other or link._replace(params=state.params.sha256())
        if other is None or other.params != link.params:
            found.append((link.epoch, "weights"))
        elif history_hash(state.columns, done, link.epoch) != link.history:
            found.append((link.epoch, "history"))
        done = link.epoch
    for name, column in (claim.columns or {}).items():
        before, after = (np.array(values, np.float64).view(np.uint64) for values in (column, state.columns[name]))
        both = min(len(before), len(after))
        other_rows = np.flatnonzero(before[:both] != after[:both])
        if len(other_rows) or len(before) != len(after):
            found.append((int(other_rows[0]) + 1 if len(other_rows) else both + 1, name))
    if claim.epochs != state.epoch:
        found.append((min(claim.epochs, state.epoch) + 1, "epochs"))
    elif claim.reached not in (None, state.params.sha256()) or claim.params != model.params.sha256():
        found.append((state.epoch, "weights"))
    return found
