"""The files of a training run: checkpoint.safetensors, from which it goes on to the same bits, history.csv, and the
certificate of one in reproducible numerics.

While training goes on, the history is in history.csv alone, which grows, and the checkpoint says how much of it counts;
at the end the checkpoint holds everything.
"""

import contextlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput, OtherBits
from backprop_ref.files import Content, Name, beside_which, create, json_text, refuse_links, remove_torn, replace
from backprop_ref.network import Network
from backprop_ref.network.model_file import model_parts
from backprop_ref.text import numbered
from backprop_ref.training.chain import Chain
from backprop_ref.training.history_file import HISTORY, Counted, HistoryFile
from backprop_ref.training.state import Plan, State

CHECKPOINT, CERTIFICATE = "checkpoint.safetensors", "certificate.json"
KEPT = "checkpoints"
"""The folder of those that are kept, each as checkpoint.safetensors is at the end."""


def fingerprint(*arrays: npt.NDArray[Any] | None) -> str:
    """Hash of the values, shapes and dtypes of the arrays that a run trains on; None is none."""
    import hashlib

    digest = hashlib.sha256()
    for array in (array for array in arrays if array is not None):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Folder:
    """A run's folder, created if needed.

    Network, preprocessing and configuration are kept in the checkpoint. `identity` is whatever has to be the same for a
    resumed run to give the same bits, `call` what else makes a run another one. `resume` says whether the folder has to
    hold a checkpoint. Otherwise, one that it holds has to be of the same call, up to `epochs`, which gives it again; or
    `force` replaces it. `threads` are those that the bits of fast numerics depend on. `keeps` says whether checkpoints
    are kept, one for each link of the chain.
    """

    def __init__(
        self,
        path: Path,
        network: Network,
        preprocessing: dict[str, Any] | None,
        config: dict[str, Any] | None,
        identity: dict[str, Any],
        call: dict[str, Any],
        epochs: int,
        resume: bool,
        force: bool = False,
        threads: int | None = None,
        keeps: bool = False,
    ) -> None:
        self.path, self.network, self.identity, self.call = path, network, identity, call
        self.preprocessing, self.config, self.threads = preprocessing, config, threads
        self.again = not resume and any(os.path.lexists(path / name) for name in (CHECKPOINT, HISTORY))
        """Whether what the folder holds is trained anew."""
        self.chain = Chain.of(identity, None)
        """That of the run; None in fast numerics."""
        if keeps and self.chain is None:
            raise InvalidInput(
                f"{ask('--keep-checkpoints')}: nothing is proved from them in fast numerics; leave it out, or give "
                f"{ask('--numerics', 'reproducible')}"
            )
        self.keeps = keeps
        names = {CHECKPOINT, HISTORY, CERTIFICATE, *(kept_name(epoch) for epoch in kept_epochs(path))}
        self._written = names if resume or self.again else set()
        if self._written or keeps:
            refuse_links(path, KEPT, *self._written)
        self._history = HistoryFile(path, there=bool(self._written))
        self._held = 0
        """The epoch of the checkpoint."""
        if resume and not (path / CHECKPOINT).exists():
            raise InvalidInput(f"{path}: no {CHECKPOINT} to resume from; give the folder of an earlier run")
        try:
            json.dumps([preprocessing, config])
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"preprocessing and config have to be JSON-ready: {error}") from None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = locked(path)
        except OSError as error:
            raise InvalidInput(
                f"{path}: cannot be created ({error.strerror}); give a folder you may write to"
            ) from None
        if self.again:
            try:
                self._check_replaceable(epochs, force)
            except BaseException:
                self.close()
                raise
        remove_torn(path, *self._written)
        if self._written and (path / KEPT).is_dir():
            remove_torn(
                path / KEPT, *(torn.name for hidden in (path / KEPT).glob(".*") if (torn := beside_which(hidden)))
            )

    def _check_replaceable(self, epochs: int, force: bool) -> None:
        """Refuses to train anew in a folder that holds something else than the same call gives again."""
        from backprop_ref.training.stored_checkpoint import load_checkpoint

        try:
            model, earlier, metadata = load_checkpoint(self.path / CHECKPOINT)
        except InvalidInput:
            raise InvalidInput(
                f"{self.path}: already holds a {CHECKPOINT} or {HISTORY} that is no run which could be made again; "
                "move it away, or give another run_dir"
            ) from None
        if metadata.get("config") != self.config and metadata.get("config") is not None:
            raise InvalidInput(f"{self.path}: already holds a run of backprop-ref train; give another run_dir")
        before, done = metadata["identity"] | metadata.get("call", {}), earlier.epoch
        now = self.identity | self.call
        other = [
            f"{key} was {str(before.get(key))[:40]}, now {str(value)[:40]}"
            for key, value in now.items()
            if before.get(key) != value
        ]
        if model.preprocessing != self.preprocessing:
            other.append("its preprocessing is another one")
        if done > epochs:
            other.append(f"it has {done} epochs, now {epochs}")
        if other and not force:
            raise InvalidInput(
                f"{self.path}: already holds another run ({other[0]}); give another run_dir, or force=True to replace "
                "it"
            )

    def close(self) -> None:
        """Lets others use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, state: State, plan: Plan) -> None:
        """The history, once there is an epoch or none to come, then the checkpoint that counts on it; each file is
        whole at any moment.
        """
        over = state.stopped is not None
        try:
            if state.epoch == 0 and not over and self.again:
                self._history.remove()
                for name in self._written - {CHECKPOINT, HISTORY}:
                    (self.path / name).unlink(missing_ok=True)
            counted = self._history.write(state) if state.epoch > 0 or over else None
            self._put(CHECKPOINT, self._content(state, plan, None if over else counted))
            self._held = state.epoch
            if over and self.chain is not None:
                certificate = self.chain.certificate(state, state.reached(plan).sha256(), self.config)
                self._put(CERTIFICATE, json_text(certificate) + "\n")
        except OSError as error:
            raise self._not_written(error) from None

    def keep(self, state: State, plan: Plan) -> None:
        """Keeps the checkpoint of an epoch that the chain has a link for, if this is asked for and training goes on."""
        if not self.keeps or state.epoch == 0 or state.stopped is not None or state.begun is not None:
            return
        if not state.chain or state.chain[-1].epoch != state.epoch:
            return
        try:
            (self.path / KEPT).mkdir(exist_ok=True)
            self._put(kept_name(state.epoch), self._content(state, plan))
        except OSError as error:
            raise self._not_written(error) from None

    def _content(self, state: State, plan: Plan, counted: Counted | None = None) -> Content:
        """A checkpoint, with the history unless that is `counted` in its file."""
        tensors, metadata = state.packed(with_history=counted is None)
        begun = None if self.chain is None else {"version": self.chain.version, "links": [*map(list, state.chain)]}
        metadata |= {"identity": self.identity, "config": self.config, "call": self.call, "chain": begun}
        metadata |= {"threads": self.threads}
        if counted is not None:
            metadata["counted"] = list(counted)
        return model_parts(self.network, state.reached(plan), self.preprocessing, tensors, metadata)

    def _not_written(self, error: OSError) -> InvalidInput:
        return InvalidInput(
            f"{self.path}: cannot be written to ({error.strerror}); free some space or give another folder"
        )

    def what_is_kept(self, epoch: int) -> str:
        """What the folder holds of so many epochs, and how to go on, where no more can be written."""
        if not (self.path / CHECKPOINT).exists():
            return f"{self.path} was moved or removed, and {numbered(epoch, 'epoch')} with it"
        held = f"{self._held:,} of {numbered(epoch, 'epoch')}"
        return f"{self.path} holds {held}, and goes on from there by {ask('--resume')}"

    def _put(self, name: str, content: Content) -> None:
        """Writes a file for the first time, over nothing, or once more."""
        path = self.path / name
        if name in self._written:
            replace(path, content)
            return
        try:
            create(path, content)
        except FileExistsError:
            raise
        except BaseException:  # Ctrl-C, after which the file may have its name already
            if os.path.lexists(path):
                self._written.add(name)
            raise
        self._written.add(name)

    def restore(self, state: State, epochs: int) -> State:
        """A fresh `state` put where the checkpoint left off, on its way to so many epochs."""
        from backprop_ref.training.stored_checkpoint import load_checkpoint

        file = self.path / CHECKPOINT
        model, earlier, metadata = load_checkpoint(file)
        identity = metadata["identity"]
        different = [key for key in self.identity if identity.get(key) != self.identity[key]]
        if different:
            key = different[0]
            instead = "leave the number of epochs as it was, or " if different == ["schedule"] else ""
            raise InvalidInput(
                f"{file}: cannot be resumed with another {', '.join(different)} "
                f"({key} was {identity.get(key)}, now {self.identity[key]}); {instead}start a new run instead"
            )
        found = model.network, earlier.params.dtype, list(earlier.columns), set(earlier.slots)
        if found != (self.network, state.params.dtype, list(state.columns), set(state.slots)):
            raise InvalidInput(f"{file}: damaged, as its tensors are of another run; start a new run instead")
        if earlier.epoch > epochs:
            raise InvalidInput(f"epochs={epochs}: the run in {self.path} has {earlier.epoch} already; ask for more")
        self.call, self._held = metadata.get("call", self.call), earlier.epoch
        self.chain = Chain.of(self.identity, metadata.get("chain"))
        before = metadata.get("threads")
        if None not in (before, self.threads) and before != self.threads and 0 < earlier.epoch < epochs:
            warnings.warn(
                f"{self.path}: fast numerics on {self.threads} threads, where it had {before}: it goes on, but not to "
                f"the bits that it would have had; for these give threads={before} (--threads {before})",
                OtherBits,
                stacklevel=3,
            )
        return earlier._replace(stopped=None)


def kept_name(epoch: int) -> str:
    """Where the checkpoint of an epoch is kept in a run folder."""
    return f"{KEPT}/epoch-{epoch}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """Those whose checkpoints are kept in a run folder, by their names."""
    found = set()
    for path in (folder / KEPT).glob("epoch-*.safetensors"):
        with contextlib.suppress(ValueError):
            found.add(int(path.name.removeprefix("epoch-").removesuffix(".safetensors")))
    return sorted(epoch for epoch in found if epoch > 0 and (folder / kept_name(epoch)).is_file())


def load_state(path: Name) -> State:
    """The state of a training from a run folder, a checkpoint, or a file that ``br.save(…, state=…)`` wrote.

    Raises
    ------
    InvalidInput
        The file is missing, damaged, or holds a model without a state.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> result = br.train(network, network.init(), [[1.0]], [[2.0]], epochs=2)
    >>> br.save("reached.safetensors", network, result.params, state=result.state)
    >>> br.load_state("reached.safetensors").epoch
    2
    """
    from backprop_ref.training.stored_checkpoint import load_with_state

    return load_with_state(path)[1]


def locked(path: Path) -> int | None:
    """A lock on a folder, as an open file; None on systems without such locks."""
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InvalidInput(f"{path}: another run is writing to this folder; wait for it, or give another one") from None
    return handle
