"""Where modules are imported from: not from the current folder, whose files may be anybody's.

A file ``torch.py`` that lies there is no library. What a user names may: a backend ``module:object``, or the target of
``backprop-ref verify``, is looked for there too, behind all that is installed (`importable`).

``python -m`` puts the current folder in front of everything. For ``python -m backprop_ref`` it is taken off again as
soon as this module is imported, which is therefore before all others; what Python itself imports until then is out of
reach, but for ``python -P -m backprop_ref``. What PYTHONPATH says, and a Python program that calls this package,
stays as it is.
"""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].endswith("backprop_ref") and not sys.flags.safe_path:
    try:
        here = os.getcwd()  # noqa: PTH109 (pathlib may still be a file that lies here)
    except FileNotFoundError:  # the folder is gone, and Python has left it out
        here = ""
    if here and sys.path[:1] == [here]:
        del sys.path[0]
        if not any(finder.find_spec("backprop_ref", None) for finder in sys.meta_path):
            sys.path.append(here)  # since this package lies here itself

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def importable(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Inside the block, modules in `folder` can be imported, unless one of that name is installed.

    Code that is imported inside, and called outside, finds what it has imported by then. What it imports later has to
    be installed, or in a folder that PYTHONPATH names.
    """
    entry = str(Path(folder).absolute())
    sys.path.append(entry)
    try:
        yield
    finally:
        if entry in sys.path:  # which the code may have changed
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(entry)]


@contextlib.contextmanager
def children_without_current_folder() -> Iterator[None]:
    """Python processes that are started inside the block do not import from the current folder.

    For libraries that start their workers by ``python -m``. A variable of the environment says it, and only inside the
    block: a program of the user's is to find what lies beside it.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
