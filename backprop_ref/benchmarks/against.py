"""A run of the benchmark against an older one on the same kind of machine.

Two runs never alternate, and the machine is busier in one of them than in the other. So what is compared is a step's
time in times of the products alone, which ran in the same rounds. A case is slower where even the lower quartile of
now lies above the older upper one by more than 5 %, which is what the place of code in memory alone may change.
"""

import json
from pathlib import Path
from typing import NamedTuple

from backprop_ref.benchmarks.timing import Spread
from backprop_ref.errors import InvalidInput

FORMAT = "backprop_ref-bench-1"
ALLOWED = 1.05
YARDSTICK = "products"


class Change(NamedTuple):
    """A case before and now, as quotients of its time and the yardstick's."""

    rung: str
    dtype: str
    name: str
    before: Spread
    now: Spread

    @property
    def verdict(self):
        """Slower, faster, or nothing."""
        if self.now.low > ALLOWED * self.before.high:
            return "SLOWER"
        return "faster" if ALLOWED * self.now.high < self.before.low else ""


def read(path):
    """What an earlier run wrote."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}; give the bench.json of an earlier run") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InvalidInput(f"{path}: no bench.json; give the one that an earlier run wrote")
    try:
        for case in _timed(found):
            Spread(**case["of_limit"].get(YARDSTICK, {"median": 0.0, "low": 0.0, "high": 0.0}))
        _kind(found["machine"])
    except (TypeError, KeyError, AttributeError):
        raise InvalidInput(f"{path}: damaged; give the one that an earlier run wrote") from None
    return found


def check(path, old, machine):
    """Refuses a run of another kind of machine, where the yardstick is another one."""
    before, now = _kind(old["machine"]), _kind(machine)
    other = [f"{what} {before[what]}, here {now[what]}" for what in now if before[what] != now[what]]
    if other:
        raise InvalidInput(f"{path}: measured elsewhere ({'; '.join(other)}); measure it anew here")


def changes(old, new):
    """The backends' cases that both have, as `Change`."""
    earlier = {_key(case): case for case in _timed(old)}
    return [
        Change(*_key(case), *(Spread(**one["of_limit"][YARDSTICK]) for one in (earlier[_key(case)], case)))
        for case in _timed(new)
        if _key(case) in earlier and YARDSTICK in case["of_limit"] and YARDSTICK in earlier[_key(case)]["of_limit"]
    ]


def _kind(machine):
    blas = sorted({str(library["architecture"]) for library in machine["libraries"] if library["architecture"]})
    return {
        "processor": machine["processor"],
        "BLAS kernel": ", ".join(blas),
        "threads": machine["threads"] or "not set",
        "cores": machine["cores_allowed"],
    }


def _timed(result):
    return [case for case in result["cases"] if case["kind"] == "backend" and case["step_seconds"]]


def _key(case):
    return case["rung"], case["dtype"], case["name"]
