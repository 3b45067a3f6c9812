"""A folder of data larger than memory: what is in it, how it is split, and the statistics that normalise it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.blocks import files, looking
from backprop_ref.blocks.looking import Figures
from backprop_ref.blocks.part import Part
from backprop_ref.data import Preprocessing, split
from backprop_ref.data.columns import Column
from backprop_ref.data.preprocessing import NORMALIZATIONS, REACHED, shift_and_scale, within
from backprop_ref.data.tables import MOST_CLASSES, TASKS, are_classes
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.files import Name, path_of
from backprop_ref.random import Stream
from backprop_ref.ranks.ranks import Communicator


class Folder:
    """Data in a folder, looked at once from front to end; `open_folder` makes it.

    Attributes
    ----------
    name, task : str
    classes : tuple of str, or None for quantities
    block_rows : int
    rows : int
    notes : list of str
        What was decided, to be said.
    """

    def __init__(
        self,
        path: Path,
        opened: files.Files,
        block_rows: int | None,
        task: str | None,
        ids: Sequence[str],
        comm: Any,
        progress: bool | None,
    ) -> None:
        self.path, self.name, self.files, self.ids = path, path.name.split(".")[0] or "data", opened, ids
        self.block_rows = block_rows or opened.usual_rows
        self.blocks = opened.blocks(self.block_rows)
        self.rows = sum(block.rows for block in self.blocks)
        self.seen = looking.look_at_all(opened, self.blocks, comm, progress)
        counts = looking.counts(self.seen) if len(opened.targets) == 1 else None
        self.task = task or self._task(counts)
        self.classes = self._classes(counts) if self.task == "classification" else None
        what = f"{len(self.classes)} classes" if self.classes else "numbers"
        self.notes = [
            f"{self.rows:,} rows of {len(opened.features)} features in {_blocks(len(self.blocks))} of at most "
            f"{max(block.rows for block in self.blocks):,}; target {', '.join(opened.targets)}: {what}"
        ]
        if opened.empty:
            self.notes.append(f"without a row: {files.some([path.name for path in opened.empty])}")
        if opened.unread:
            self.notes.append(f"left out, as no data files of this kind: {files.some(opened.unread)} in {path}")

    def _task(self, counts: dict[str, int] | None) -> str:
        """By the looks of the target, as of tables."""
        if self.files.of_texts:
            return "classification"
        if counts is None:
            return "regression"
        try:
            distinct = np.array([float(text) for text in counts])
        except ValueError:
            return "classification"
        if (distinct != np.floor(distinct)).any():
            return "regression"
        order = np.argsort(distinct)
        found = are_classes(distinct[order], np.array(list(counts.values()))[order])
        return "classification" if found else "regression"

    def _classes(self, counts: dict[str, int] | None) -> tuple[str, ...]:
        """The classes, in the order that tables have them in."""
        name = self.files.targets[0]
        other = f"name another column by {ask('--target')}"
        if len(self.files.targets) > 1:
            raise InvalidInput(f"{self.path}: several targets are quantities, not classes; give one {ask('--target')}")
        if counts is None or len(counts) > max(MOST_CLASSES, self.rows // 2):
            many = f"{len(counts):,}" if counts else f"over {looking.MOST_DISTINCT:,}"
            raise InvalidInput(f"{self.path}: {many} different values in column '{name}'; {other}")
        if len(counts) < 2:
            raise InvalidInput(
                f"{self.path}: only one class ('{next(iter(counts))[:30]}') in column '{name}'; at least two are "
                f"needed; {other}"
            )
        try:
            return tuple(sorted(counts, key=lambda text: (float(text), text)))
        except ValueError:
            return tuple(sorted(counts))

    def parts(
        self,
        *,
        test_size: float = 0.2,
        validation_size: float = 0.0,
        seed: int = 1,
        normalize: str = "standardize",
        one_column: bool = False,
        output: str = "linear",
        readers: int = 1,
    ) -> dict[str, Part | None]:
        """The blocks to train on, and those that are set aside: 'train', 'validation', 'test'; None for those without.

        Parameters
        ----------
        test_size, validation_size : float
            Shares of the blocks, and of the others; whole blocks, drawn by `seed`.
        normalize : str
            By the statistics of the blocks to train on; see `looking`.
        one_column : bool
            Two classes as one output, 0 or 1.
        output : str
            The activation that targets are scaled for.
        readers : int
            Threads that read ahead; 0: none. They change no bit.
        """
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        stream = Stream(seed, "split")
        rest, test = split(len(self.blocks), test_size, stream)
        training, validation = split(len(rest), validation_size, stream)
        chosen = {"train": rest[training], "validation": rest[validation], "test": test}
        for part, share in (("test", test_size), ("validation", validation_size)):
            if share > 0.0 and not len(chosen[part]):
                smaller = self._smaller(test_size, validation_size)
                flag, what = ask(f"--{part}-size", 0), _blocks(len(self.blocks))
                raise InvalidInput(
                    f"{self.path}: {what} {'is' if len(self.blocks) == 1 else 'are'} too few to set {share:g} of them "
                    "aside; give " + (f"smaller ones ({ask('--block-rows', smaller)}), or {flag}" if smaller else flag)
                )
        seen = [self.seen[i] for i in chosen["train"].tolist()]
        targets = looking.joined([each.targets for each in seen if each.targets]) if self.classes is None else None
        preprocessing = self._preprocessing(looking.joined([each.features for each in seen]), targets, normalize,
                                            one_column, output)  # fmt: skip
        return {
            part: self._part(rows.tolist(), preprocessing, readers) if len(rows) else None
            for part, rows in chosen.items()
        }

    def _smaller(self, test_size: float, validation_size: float) -> int | None:
        """Rows of blocks of which there are enough for these shares; None if there are none."""
        rows = max(block.rows for block in self.blocks)
        while rows > 1:
            rows = max(1, rows // 10)
            stays, enough = len(self.files.blocks(rows)), True
            for share in (test_size, validation_size):
                out = len(split(stays, share, Stream(1, "split"))[1])
                stays, enough = stays - out, enough and (out > 0 or share == 0.0)
            if enough:
                return rows
        return None

    def _part(self, rows: Sequence[int], preprocessing: Preprocessing, readers: int) -> Part:
        seen = [self.seen[i] for i in rows]
        targets = looking.joined([each.targets for each in seen if each.targets]) if self.classes is None else None
        return Part(self.files, [self.blocks[i] for i in rows], seen, preprocessing, targets, readers)

    def _preprocessing(
        self, features: Figures, targets: Figures | None, normalize: str, one_column: bool, output: str
    ) -> Preprocessing:
        opened = self.files
        shift, scale = _shift_and_scale(normalize, opened.features, features)
        target_shift, target_scale = [0.0], [1.0]
        if targets is not None:
            target_shift, target_scale = _shift_and_scale(normalize, opened.targets, targets)
            if output in REACHED:
                extremes = np.stack([targets.least, targets.most])
                target_shift, target_scale = within(extremes, output, normalize, target_scale)
        several = len(opened.targets) > 1
        return Preprocessing(
            tuple(opened.features),
            ", ".join(opened.targets),
            self.classes,
            tuple(shift),
            tuple(scale),
            tuple(target_shift) if several else target_shift[0],
            tuple(target_scale) if several else target_scale[0],
            one_column and len(self.classes or ()) == 2,
            normalize,
            tuple(self._rules()),
            targets=tuple(opened.targets) if several else (),
            named=opened.named,
        )

    def _rules(self) -> list[Column]:
        """What becomes of each column, for `predict`."""
        opened = self.files
        rules = [Column(name, "number") for name in opened.features]
        rules += [
            Column(name, "id") if name in self.ids else Column(name, "left out", why="as asked")
            for name in opened.others
        ]
        kinds = [Column(name, "number") for name in opened.targets]
        return rules + (kinds if self.classes is None else [Column(opened.targets[0], "category", values=self.classes)])


def _blocks(count: int) -> str:
    return f"{count:,} block{'' if count == 1 else 's'}"


def _shift_and_scale(normalize: str, names: Sequence[str], of: Figures) -> tuple[list[float], list[float]]:
    return shift_and_scale(normalize, names, of.least, of.most, of.mean, np.sqrt(of.squares / of.rows))


def open_folder(
    path: Name,
    target: str | Sequence[str] | None = None,
    *,
    task: str | None = None,
    drop: Sequence[str] = (),
    id: Sequence[str] = (),
    block_rows: int | None = None,
    comm: Communicator | None = None,
    progress: bool | None = None,
) -> Folder:
    """The data of a folder, larger than memory, for `train`: reads all of it once.

    Parameters
    ----------
    path : path-like
        A folder with X.npy and y.npy; or Arrow IPC files; or Parquet files. Several files are of one schema, in the
        order of their names.
    target : str or sequence of str, optional
        Columns to learn; several are quantities. Default: the last.
    task : str, optional
        'classification' or 'regression'; default: by the looks of the target.
    drop, id : sequence of str
        Columns that are left out.
    block_rows : int, optional
        Rows that are read and shuffled together; part of what fixes the bits of a training. Default: those of the
        largest row group of Parquet, else 65,536.
    comm : mpi4py.MPI.Intracomm, optional
        Each of its processes reads its share, and has the same figures.
    progress : bool, optional
        A bar; default: on a terminal.

    Raises
    ------
    InvalidInput
        Anything that cannot be used, with file, row and column, and what to do about it.

    Examples
    --------
    >>> import numpy as np, os
    >>> import backprop_ref as br
    >>> os.mkdir("points")
    >>> np.save("points/X.npy", np.arange(60.0).reshape(30, 2))
    >>> np.save("points/y.npy", np.arange(30) % 3)
    >>> folder = br.open_folder("points", block_rows=5)
    >>> folder.task, folder.classes, len(folder.blocks)
    ('classification', ('0', '1', '2'), 6)
    >>> parts = folder.parts(test_size=0.2)
    >>> network = br.Network([2, 3], ["softmax"], "cross_entropy")
    >>> br.train(network, network.init(), parts["train"], epochs=2).epochs
    2
    """
    folder = path_of(path, "path")
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: no folder; give one that holds {files.KINDS}")
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    if block_rows is not None and (isinstance(block_rows, bool) or not isinstance(block_rows, int) or block_rows < 1):
        raise InvalidInput(f"block_rows={block_rows!r}: a whole number, 1 or more, is needed")
    named = (target,) if isinstance(target, str) else target
    return Folder(folder, files.open_folder(folder, named, (*drop, *id)), block_rows, task, id, comm, progress)
