"""A chain of hashes through a training with reproducible numerics, and the certificate that is made of it.

Kept are the parameters after epoch 0 and after each epoch with at most `DIGITS` significant binary digits: all up to
16, then eight for each doubling. A link's hash is over the line of JSON ``[hash before, epoch, params, history]``: the
hash of the parameters (`Parameters.sha256`), and that of the history of the epochs since the link before, its columns'
numbers as little-endian binary64, epoch by epoch. The hash before the first is over the line of JSON for `ORIGIN`:
arithmetic, version of the package, and all that has to be the same for the same bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.training.state import Link, State
from backprop_ref.version import __version__

FORMAT, ARITHMETIC, DIGITS = "backprop_ref-certificate-1", 1, 4
ORIGIN = ("arithmetic", "version", "identity")
EACH_ITS_OWN = ("backend", "logging", "trace", "run")
"""Sections of a configuration that make no difference to the bits, but for the dtype."""


class Chain(NamedTuple):
    """What a run's chain begins with."""

    version: str
    identity: dict[str, Any]

    @classmethod
    def of(cls, identity: Mapping[str, Any], begun: Mapping[str, Any] | None) -> Chain | None:
        """The chain of a run of this identity; of one that was `begun` before, with the version of then; None in fast
        numerics, whose bits are those of one machine.
        """
        if identity["numerics"] != "reproducible":
            return None
        told = {key: value for key, value in identity.items() if key != "backend"}
        return cls(__version__ if begun is None else begun["version"], told)

    @property
    def origin(self) -> str:
        """The hash before the first link."""
        return hashed(dict(zip(ORIGIN, (ARITHMETIC, self.version, self.identity), strict=True)))

    def link(self, state: State) -> Link:
        """The link for a state, behind those that it has."""
        before, done = (state.chain[-1].hash, state.chain[-1].epoch) if state.chain else (self.origin, 0)
        epoch, params, history = state.epoch, state.params.sha256(), history_hash(state.columns, done, state.epoch)
        return Link(epoch, params, history, hashed([before, epoch, params, history]))

    def with_link(self, state: State) -> State:
        """The state with its link, if its epoch is kept and has none yet."""
        if next_kept(state.epoch - 1) != state.epoch or (state.chain and state.chain[-1].epoch >= state.epoch):
            return state
        return state._replace(chain=(*state.chain, self.link(state)))

    def certificate(self, state: State, params: str, config: Mapping[str, Any] | None) -> dict[str, Any]:
        """What proves a training to whoever trains it again: the same whatever backend, threads or folder."""
        links = [*state.chain]
        if not links or links[-1].epoch < state.epoch:
            links.append(self.link(state))
        content = {
            "format": FORMAT,
            **dict(zip(ORIGIN, (ARITHMETIC, self.version, self.identity), strict=True)),
            "configuration": None if config is None else _configuration(config),
            "epochs": state.epoch,
            "stopped": state.stopped,
            "best_epoch": state.best_epoch,
            "params": params,
            "columns": list(state.columns),
            "chain": [list(link) for link in links],
        }
        return {**content, "sha256": hashed(content)}


def history_hash(columns: Mapping[str, Sequence[float]], done: int, epoch: int) -> str:
    """The hash of the history's rows behind those that are `done`, up to an epoch."""
    rows = np.ascontiguousarray(np.array([column[done:epoch] for column in columns.values()], "<f8").T)
    return hashlib.sha256(rows.data).hexdigest()


def next_kept(epoch: int) -> int:
    """The first epoch after this one whose parameters are kept."""
    step = 1 << max(0, (epoch + 1).bit_length() - DIGITS)
    return -(-(epoch + 1) // step) * step


def first_break(origin: str, links: Sequence[Link]) -> int | None:
    """The epoch of the first link that does not follow from the one before; None if all do."""
    before = origin
    for link in links:
        if link.hash != hashed([before, link.epoch, link.params, link.history]):
            return link.epoch
        before = link.hash
    return None


def hashed(value: Any) -> str:
    """The hash of a value's JSON: keys as they come, no blanks."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def _configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what each machine has of its own; of a path, the file's name."""
    told = {name: section for name, section in config.items() if name not in EACH_ITS_OWN}
    told["backend"] = {"numerics": "reproducible", "dtype": (config.get("backend") or {}).get("dtype")}
    data = dict(told.get("data") or {})
    for key in ("path", "validation_path"):
        if isinstance(data.get(key), str):
            data[key] = data[key].replace("\\", "/").rpartition("/")[2]
    return {**told, "data": data}
