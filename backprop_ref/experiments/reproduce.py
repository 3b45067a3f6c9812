"""Training a run again, from its configuration and data, and whether every bit is the same."""

import contextlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import yaml
from pydantic import Field

from backprop_ref.arrays import Rows
from backprop_ref.asking import ask
from backprop_ref.backends import get_backend
from backprop_ref.backends.base import Backend
from backprop_ref.errors import BackpropRefError, InvalidInput, TrainingDiverged
from backprop_ref.experiments.config import check_backend, merge, read_config
from backprop_ref.experiments.in_folder import is_folder
from backprop_ref.experiments.reading import Results
from backprop_ref.experiments.run_folder import CONFIG, RESULTS, no_run_folder
from backprop_ref.experiments.runner import first_params, how_to_train, prepare, prepared
from backprop_ref.experiments.schema import Data
from backprop_ref.files import Name, beginning, create, json_text, path_of, refuse_ways_out
from backprop_ref.network.model_file import Model
from backprop_ref.parameters import Parameters
from backprop_ref.settings import resolve
from backprop_ref.stored import Count, Stored
from backprop_ref.traces.file import Trace, open_trace
from backprop_ref.traces.recorder import Recorder
from backprop_ref.training.chain import FORMAT, Chain, first_break, hashed, history_hash, next_kept
from backprop_ref.training.checkpoint import CERTIFICATE, CHECKPOINT, KEPT, kept_epochs, kept_name
from backprop_ref.training.ctrl_c import uninterrupted
from backprop_ref.training.history_file import HISTORY, history_text
from backprop_ref.training.state import Epoch, Link, State
from backprop_ref.training.stored_checkpoint import load_checkpoint
from backprop_ref.training.train import train

GONE_ON = ("interrupted", "callback", None)
"""How a run ended that would go on by its configuration."""
SOON, SMALL, FEW = 5.0, 3000, 4 * 10**6
"""Seconds that a training took, its parameters and its numbers, where a page may train it again."""
LATE = 4 * SOON
"""Seconds after which a page gives up: what a run says of itself need not be so."""

SCORES = ("loss", "accuracy", "confusion")
"""Of results.json, those that are the same on every machine."""
OF_A_CALL = (
    "of br.train, whose arguments no file has; make the same call with a new run_dir, and compare the two "
    f"{CERTIFICATE}, which are the same byte by byte"
)


Again = tuple[Model, State, dict[str, Any]]
"""What training again gave: `load_checkpoint` of it."""


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
        Of the weights that training again reached; where `spots` alone were trained again, of the run's own.
    backend : str
        What trained again.
    compared : int
        Of so many epochs the weights were compared.
    spots : tuple of (int, int)
        What was trained again, if not everything: from the checkpoint of which epoch to which.
    """

    ok: bool
    epochs: int
    differs: int | None
    what: str
    notes: tuple[str, ...]
    sha256: str
    backend: str
    compared: int
    spots: tuple[tuple[int, int], ...] = ()


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
    told: Mapping[str, Any] | None = None
    """What results.json says too."""


def reproduce(
    run: Name,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    spot: int | None = None,
) -> Reproduced:
    """Trains a run folder again, or what a certificate is of, in a folder that is removed afterwards; with `spot`, from
    so many of the kept checkpoints alone.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C stopped it: nothing can be said of the run.
    """
    path = path_of(run, "run")
    notes: list[str] = []
    claims = _claims(path, notes)
    most = max(claims, key=lambda claim: claim.epochs)
    spots = [(0, most.epochs)] if spot is None else _spots(path, most.epochs, spot)
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
        experiment = prepared(config, progress=progress)
        computing = get_backend(chosen.name, chosen.numerics, chosen.device, chosen.threads)
        params = first_params(experiment, resolve("dtype", chosen.dtype))
        found = _Found(notes)
        found.check(path, claims, config.trace.checkpoints)
        for begun, end in spots:
            folder = Path(place, f"from-{begun}")
            if begun:
                if found.notes or found.differences:
                    break
                folder.mkdir()
                shutil.copyfile(path / kept_name(begun), folder / CHECKPOINT)
            stops = _until(end) if end < most.epochs or most.stopped in GONE_ON else None
            with contextlib.suppress(TrainingDiverged):
                result = train(
                    experiment.network,
                    params,
                    *experiment.xy("train"),
                    **how_to_train(experiment),
                    callback=stops,
                    progress=progress,
                    run_dir=folder,
                    resume=begun > 0,
                    backend=computing,
                )
                uninterrupted(result)
            again = load_checkpoint(folder / CHECKPOINT)
            found.compare(claims, again, begun, end)
            found.compare_kept(path, end, again[1])
            found.done.append((begun, end))
        found.check_scores(path, experiment, computing)
    return found.reproduced(claims, again, computing.name, spot is not None)


def traced_again(run: Path, results: Mapping[str, Any]) -> Trace | str:
    """The trace of a small run that has ended and wrote none, by training it again: a trace changes no bit of it.

    Of a larger one, and where training it again does not end with the same parameters, to the last bit: why not.
    """
    if not results["epochs"]:
        return "it has no epoch"
    if results["n_parameters"] > SMALL:
        return f"{results['n_parameters']:,} parameters, more than {SMALL:,}"
    if results["seconds"] > SOON:
        return f"trained for {results['seconds']:.1f} s, more than {SOON:.0f}"
    where = run / CONFIG
    try:
        model, kept, _ = load_checkpoint(run / CHECKPOINT)
        config = merge({}, where, environment=False)
        check_backend(config.backend.name, where, None)
        check_few(config.data)
        if [*model.network.sizes[1:-1]] != [*(config.network.hidden or ())]:
            raise InvalidInput(f"{where} is of another network")
        experiment, chosen = prepare(config), config.backend
        recorder = _Soon(configuration=run.resolve().name)
        result = train(
            *(experiment.network, first_params(experiment, resolve("dtype", chosen.dtype)), *experiment.xy("train")),
            **how_to_train(experiment),
            callback=_until(kept.epoch) if kept.epoch < (config.training.epochs or 0) else None,
            backend=get_backend(chosen.name, chosen.numerics, chosen.device, chosen.threads),
            trace=recorder,
        )
    except BackpropRefError as error:  # its data, its backend or its checkpoint are gone
        return f"{error}"
    uninterrupted(result)
    trace = open_trace(recorder.folder)
    last = [trace[f"{name}{layer}"][-1].ravel() for layer in range(trace.network.n_layers) for name in ("W", "b")]
    if np.concatenate(last).tobytes() != kept.params.flat.tobytes():
        return "training it again gives other weights"
    return trace


class _Soon(Recorder):
    """A trace of a training that takes `LATE` seconds at most."""

    def __init__(self, configuration: str) -> None:
        super().__init__(configuration=configuration)
        self._end = time.monotonic() + LATE

    def rows(self, done: int, count: int) -> Rows:
        if time.monotonic() > self._end:
            raise InvalidInput(f"training it again takes over {LATE:.0f} s")
        return super().rows(done, count)


def check_few(data: Data) -> None:
    """Refuses data of more than `FEW` numbers, which a page does not load for a run; a table has two bytes for each."""
    generated = (data.n_samples or 0) * (data.n_features or 2)
    tables = (Path(name) for name in (data.path, data.validation_path) if name is not None)
    if max(generated, *(path.stat().st_size // 2 for path in tables if path.is_file()), 0) > FEW:
        raise InvalidInput(f"its data are large, over {FEW:,} numbers")


def _until(epoch: int) -> Callable[[Epoch], bool]:
    """A callback that stops where the run did."""
    return lambda at: at.epoch >= epoch


def _spots(path: Path, epochs: int, count: int) -> list[tuple[int, int]]:
    """From the beginning to the first checkpoint that was kept, and from so many others, which nobody could foresee,
    each to the next.
    """
    if not path.is_dir():
        raise InvalidInput(
            f"{ask('--spot')}: a certificate has no checkpoints to begin from; give the folder of the run"
        )
    kept = [epoch for epoch in kept_epochs(path) if epoch < epochs]
    if not kept:
        raise InvalidInput(
            f"{path}: no checkpoints were kept to begin from; train with {ask('--keep-checkpoints')}, or leave out "
            f"{ask('--spot')} to train all of it again"
        )
    refuse_ways_out(path, KEPT, *map(kept_name, kept))
    first, *others = pairwise([0, *kept, epochs])
    return [first, *sorted(random.SystemRandom().sample(others, min(count, len(others))))]


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
        {
            "network": model.network.to_dict(),
            "n_parameters": model.network.n_parameters,
            "epochs": state.epoch,
            "stopped": state.stopped,
            "best_epoch": state.best_epoch,
            "history_last": state.last(),
            "seed": ((metadata.get("config") or {}).get("training") or {}).get("seed"),
            "numerics": identity["numerics"],
            "dtype": model.params.dtype.name,
            "sha256": model.params.sha256(),
        },
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
    data = config.get("data") or {}
    if not isinstance(data, dict):
        raise InvalidInput(f"{path}: the section data of its configuration is none; get it again")
    data = {**data}
    for key in ("path", "validation_path"):
        if isinstance(data.get(key), str):
            beside = path.parent / Path(data[key]).name
            data[key] = str(beside if os.path.exists(beside) else Path(data[key]).name)  # noqa: PTH110 (of a name too long: no)
    return {**config, "data": data}


def _changed_row(path: Path, claim: Claim) -> int | None:
    """The first row of a history in a file that is not a checkpoint's; row 0: the header; -1: there is no file."""
    if not path.is_file():
        return -1
    text = history_text(claim.columns or {}, claim.epochs)
    rows, before = text.splitlines(), beginning(path, len(text) + 1).splitlines()
    if claim.stopped is None:  # what is behind that does not count
        del before[len(rows) :]
    return next((row for row, (one, other) in enumerate(zip_longest(rows, before)) if one != other), None)


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


class _Found:
    """What training again has found: epochs that differ, each with what differs there, and what else is to be said."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.differences: list[tuple[int, str]] = []
        self.done: list[tuple[int, int]] = []

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _record(self, epoch: int, note: str) -> None:
        """What is recorded of an epoch is something else."""
        self._note(note)
        self.differences.append((epoch, "record"))

    def check(self, path: Path, claims: list[Claim], keeps: bool) -> None:
        """What costs no training: whether the files of a run, which `keeps` checkpoints, say the same."""
        known = {link.epoch: link for claim in claims for link in claim.links}
        for claim in claims:
            broken = first_break(claim.chain.origin, claim.links)
            if broken is not None:
                self._record(broken, f"{claim.source.name}: its chain of hashes does not hold from epoch {broken} on")
            for link in claim.links:
                if known[link.epoch] != link:
                    self._record(link.epoch, f"{claim.source.name}: its chain of hashes is of another training")
                    break
            last = known.get(claim.epochs)
            if claim.reached and last is not None and last.params != claim.reached:
                self.differences.append((claim.epochs, "weights"))
            self._check_columns(claim, claims)
        if path.is_dir():
            self._check_kept(path, claims, known, keeps)
            self._check_results(path / RESULTS, claims[-1])

    def _check_columns(self, claim: Claim, claims: list[Claim]) -> None:
        """A checkpoint's history with the chains, and history.csv with it."""
        if claim.columns is None:
            return
        for other in claims:
            done = 0
            for link in other.links:
                if link.epoch <= claim.epochs and history_hash(claim.columns, done, link.epoch) != link.history:
                    self.differences.append((link.epoch, "history"))
                done = link.epoch
        changed = _changed_row(claim.source.with_name(HISTORY), claim) if claim.epochs else None
        if changed is not None:
            said = f"line {changed + 1} is not what {CHECKPOINT} has" if changed >= 0 else "missing"
            self._record(max(changed, 1), f"{HISTORY}: {said}")

    def _check_kept(self, path: Path, claims: list[Claim], known: Mapping[int, Link], keeps: bool) -> None:
        """The checkpoints that were kept with their links, and whether all are there."""
        most, there = max(claims, key=lambda claim: claim.epochs), kept_epochs(path)
        refuse_ways_out(path, KEPT, *map(kept_name, there))
        ends = most.epochs + (most.stopped == "epochs")  # one that ends otherwise is not kept
        should = {epoch for epoch in known if 0 < epoch < ends and next_kept(epoch - 1) == epoch} if keeps else set()
        for epoch in sorted(should.difference(there)):
            self._record(epoch, f"{kept_name(epoch)}: missing")
        for epoch in (epoch for epoch in there if epoch <= most.epochs):
            try:
                model, state, metadata = load_checkpoint(path / kept_name(epoch))
            except InvalidInput as error:
                self._record(epoch, f"{error}")
                continue
            of_run = {key: value for key, value in metadata["identity"].items() if key != "backend"}
            linked = all(known.get(link.epoch) == link for link in state.chain)
            if of_run != most.chain.identity or not state.chain or not linked:
                self._record(epoch, f"{kept_name(epoch)}: of another training")
            elif not _is_of(epoch, model, state):
                self.differences.append((epoch, "weights"))
            elif any(
                np.array(column[:epoch]).tobytes() != np.array(state.columns.get(name)).tobytes()
                for name, column in (claims[-1].columns or {}).items()
            ):
                self.differences.append((epoch, "history"))

    def _check_results(self, path: Path, claim: Claim) -> None:
        """results.json with the checkpoint; a run that was killed, or diverged, wrote none."""
        if claim.told is None or claim.stopped in (None, "diverged") or not path.is_file():
            return
        try:
            content = Results.read(path, "results of ours")
        except InvalidInput as error:
            self._record(claim.epochs, f"{error}")
            return
        for note in _unlike(content, json.loads(json_text(claim.told)), ""):
            self._record(claim.epochs, note)

    def compare(self, claims: list[Claim], again: Again, begun: int, end: int) -> None:
        """What is said of the training from one epoch to another, with what training again gave."""
        model, state, metadata = again
        for claim in claims:
            for key, value in metadata["identity"].items():
                was = claim.chain.identity.get(key, value)
                shown = 16 if key == "data" else 60  # a hash
                if was != value:
                    self._note(f"{key} was {str(was)[:shown]}, now {str(value)[:shown]}")
            self.differences += _differences(claim, model, state, begun, end)

    def compare_kept(self, path: Path, epoch: int, state: State) -> None:
        """The state that training again gave with the one that was kept, whose optimizer no link knows."""
        if not (path / kept_name(epoch)).is_file() or self.differences:
            return
        if _bits(load_checkpoint(path / kept_name(epoch))[1]) != _bits(state):
            self.differences.append((epoch, "state"))

    def check_scores(self, path: Path, experiment: Any, backend: Backend) -> None:
        """The scores in results.json that have the same bits everywhere, where nothing else differs."""
        if self.differences or self.notes or not (path / RESULTS).is_file() or is_folder(experiment.config.data):
            return
        model, state, _ = load_checkpoint(path / CHECKPOINT)
        content = Results.read(path / RESULTS, "results of ours")
        for part in (part for part in ("train", "validation", "test") if content.get(part) and state.stopped):
            scored = json.loads(json_text(experiment.scored(part, model, backend) or {}))
            for note in _unlike(content[part], {key: scored[key] for key in SCORES if key in scored}, part):
                self._record(state.epoch, note)

    def reproduced(self, claims: list[Claim], again: Again, backend: str, in_spots: bool) -> Reproduced:
        """What came of it."""
        ends = {link.epoch for claim in claims for link in claim.links}
        ends |= {claim.epochs for claim in claims if claim.reached}
        compared = {epoch for epoch in ends for begun, end in self.done if begun <= epoch <= end}
        epochs = max(claim.epochs for claim in claims)
        first = min(self.differences, default=(None, ""))
        if first[0] is None and self.notes:  # nothing that is trained on it comes out otherwise
            first = (epochs, "record")
        return Reproduced(
            first[0] is None,
            epochs,
            first[0],
            first[1],
            tuple(self.notes),
            claims[-1].params if in_spots else again[0].params.sha256(),
            backend,
            len(compared),
            tuple(self.done) if in_spots else (),
        )


def _unlike(said: Any, found: Any, name: str) -> Iterator[str]:
    """What results.json says otherwise than it was found, entry by entry."""
    if isinstance(said, dict) and isinstance(found, dict):
        for key in (key for key in found if key in said):
            yield from _unlike(said[key], found[key], f"{name}.{key}" if name else key)
    elif said != found:
        yield f"{RESULTS}: {name} is {str(said)[:60]}, where {str(found)[:60]} is right"


def _is_of(epoch: int, model: Model, state: State) -> bool:
    """Whether a checkpoint is of an epoch, and its weights those of its last link; its model's may be the best."""
    link, params = state.chain[-1], state.params.sha256()
    shown = {params, *(() if state.best is None else [Parameters(state.best, state.params.sizes).sha256()])}
    return (state.epoch, link.epoch, link.params) == (epoch, epoch, params) and model.params.sha256() in shown


def _bits(state: State) -> list[Any]:
    """All that training goes on from, so that equal means the same bits."""
    arrays = [state.params.flat, state.best, *(state.slots[name] for name in sorted(state.slots))]
    return [
        *(None if array is None else array.tobytes() for array in arrays),
        *(state.random, state.key, state.best_value, state.best_epoch),
    ]


def _differences(claim: Claim, model: Model, state: State, begun: int, end: int) -> list[tuple[int, str]]:
    """The epochs after one, up to another, in which training again gave something else, each with what that was."""
    found, done = [], 0
    now = {link.epoch: link for link in state.chain}
    for link in claim.links:
        if link.epoch > end:
            break
        if link.epoch < begun:
            done = link.epoch
            continue
        other = now.get(link.epoch)
        if link.epoch == state.epoch:
            other = other or link._replace(params=state.params.sha256())
        if other is None or other.params != link.params:
            found.append((link.epoch, "weights"))
        elif history_hash(state.columns, done, link.epoch) != link.history:
            found.append((link.epoch, "history"))
        done = link.epoch
    for name, column in (claim.columns or {}).items():
        before, after = (np.array(values, np.float64).view(np.uint64) for values in (column[:end], state.columns[name]))
        both = min(len(before), len(after))
        other_rows = np.flatnonzero(before[:both] != after[:both])
        if len(other_rows) or len(before) != len(after):
            found.append((int(other_rows[0]) + 1 if len(other_rows) else both + 1, name))
    reached = min(claim.epochs, end)
    if reached != state.epoch:
        found.append((min(reached, state.epoch) + 1, "epochs"))
    elif claim.epochs == state.epoch and (
        claim.reached not in (None, state.params.sha256()) or claim.params != model.params.sha256()
    ):
        found.append((state.epoch, "weights"))
    return found
