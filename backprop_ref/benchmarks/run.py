"""A run of the benchmark: every contestant on every rung, checked, then timed in turn; the result is JSON-ready."""

import time
from dataclasses import dataclass, field
from functools import partial

from backprop_ref.backends import names
from backprop_ref.benchmarks.against import FORMAT
from backprop_ref.benchmarks.check import Checks, LeftOut
from backprop_ref.benchmarks.contestants import STEPS_AHEAD, Limit, OnBackend, backend_of
from backprop_ref.benchmarks.ladder import LADDER, QUICK, Task, fitted_exponent, rung_of, scaling_tasks
from backprop_ref.benchmarks.machine import machine, memory_bandwidth
from backprop_ref.benchmarks.timing import in_turn, ratio, spread, warmed_up
from backprop_ref.errors import BackpropRefError
from backprop_ref.progress import Bar

# array_api_strict is there to find mistakes; the loops of python are the same under either numerics
NOT_BY_DEFAULT = {("array_api_strict", "fast"), ("array_api_strict", "reproducible"), ("python", "fast")}
LIMITS = ("products", "update")
NUMERICS = ("fast", "reproducible")


@dataclass
class Plan:
    """What to run: rungs of the `LADDER`, each in each dtype, for so many rounds of so many seconds.

    `makers` have, by name, what makes a contestant of a `Task`, or raises `LeftOut` or a `BackpropRefError` if it
    cannot; `scaling` names those whose time is taken against width, batch and depth as well.
    """

    makers: dict
    rungs: list[str] = field(default_factory=lambda: list(LADDER))
    dtypes: list[str] = field(default_factory=lambda: ["float64"])
    rounds: int = 7
    round_seconds: float = 0.1
    threads: int | None = None
    scaling: list[str] = field(default_factory=list)
    quick: bool = False
    limits: dict = field(default_factory=lambda: {name: partial(Limit, part=name) for name in LIMITS})
    """Makers of parts of a step that are timed beside."""

    @classmethod
    def quickly(cls, makers, **options):
        """A few small rungs, few and short rounds."""
        return cls(makers, rungs=list(QUICK), rounds=3, round_seconds=0.01, quick=True, **options)


def backend_makers(chosen=None, threads=None, steps_ahead=STEPS_AHEAD):
    """Makers of contestants for backends, under either numerics: all, or those `chosen`, which then have to be
    usable.
    """
    makers = {}
    for name in chosen or names():
        kinds = [kind for kind in NUMERICS if chosen or (name, kind) not in NOT_BY_DEFAULT]
        usable = 0
        for kind in kinds:
            try:
                backend = backend_of(name, kind, threads=threads)
            except BackpropRefError as error:
                problem = error
                continue
            usable += 1
            makers[f"{name} {kind}"] = partial(OnBackend, backend=backend, steps_ahead=steps_ahead)
        if chosen and not usable:
            raise problem
    return makers


def run(plan, progress=None):
    """Carries out a `Plan`; Ctrl-C ends it with what was measured so far. The result is JSON-ready."""
    result = {
        "format": FORMAT,
        "machine": machine(plan.threads),
        "settings": {
            "rounds": plan.rounds,
            "round_seconds": plan.round_seconds,
            "threads": plan.threads,
            "rungs": plan.rungs,
            "dtypes": plan.dtypes,
        },
        "interrupted": False,
        "memory_bandwidth": None,
        "cases": [],
        "scaling": [],
    }
    tasks = [Task(rung_of(name), dtype, plan.threads) for name in plan.rungs for dtype in plan.dtypes]
    series = scaling_tasks(plan.dtypes[0], plan.threads, plan.quick) if plan.scaling else {}
    total = len(tasks) + sum(map(len, series.values()))
    try:
        with Bar("rung", total, progress) as bar:
            result["memory_bandwidth"] = memory_bandwidth()._asdict()
            for done, task in enumerate(tasks, 1):
                result["cases"] += _timed(plan, task, plan.makers, result)
                bar.update(done)
            for vary, chosen in series.items():
                done = _scaling(plan, vary, chosen, result, bar, done)
    except KeyboardInterrupt:
        result["interrupted"] = True
    return result


def _timed(plan, task, makers, result, limits=None):
    """The cases of one task; if Ctrl-C comes while it is timed, those of the rounds done go to `result`."""
    cases, ready = _admitted(task, makers)
    beside = {name: make(task) for name, make in (plan.limits if limits is None else limits).items()}
    cases |= {name: _case(task, contestant, name) for name, contestant in beside.items()}
    ready |= beside
    epochs = {name: warmed_up(contestant, plan.round_seconds) for name, contestant in ready.items()}
    rounds: list[dict[str, float]] = []
    try:
        in_turn(ready, epochs, plan.rounds, rounds)
    except KeyboardInterrupt:
        result["cases"] += _with_times(cases, ready, epochs, rounds)
        raise
    return _with_times(cases, ready, epochs, rounds)


def _admitted(task, makers):
    """By name, the cases of all, and the contestants that may be timed."""
    checks, cases, ready = Checks(task), {}, {}
    for name, make in makers.items():
        started = time.perf_counter()
        try:
            contestant = make(task)
            verdict = checks.verdict(contestant)
        except (BackpropRefError, LeftOut) as error:
            cases[name] = _case(task, None, name, left_out=str(error), error=type(error).__name__)
            continue
        ready[name] = contestant
        cases[name] = _case(task, contestant, name, verdict=verdict, ready_seconds=time.perf_counter() - started)
    return cases, ready


def _case(task, contestant, name, **more):
    return {
        "rung": task.rung.name,
        "sizes": list(task.network.sizes),
        "activations": list(task.network.activations),
        "loss": task.network.loss,
        "batch": task.batch,
        "multiplications": task.rung.multiplications,
        "parameters": task.network.n_parameters,
        "dtype": task.dtype,
        "name": name,
        "kind": getattr(contestant, "kind", None),
        "verdict": None,
        "left_out": None,
        "error": None,
        "ready_seconds": None,
        "compile_seconds": getattr(contestant, "compile_seconds", None),
        "extra": getattr(contestant, "extra", None),
        "step_seconds": None,
        "rounds": [],
        "steps_a_round": None,
        "of_limit": {},
        **more,
    }


def _with_times(cases, ready, epochs, rounds):
    """The cases with what the rounds gave."""
    for name, contestant in ready.items() if rounds else ():
        cases[name] |= {
            "rounds": [seconds[name] for seconds in rounds],
            "step_seconds": spread(seconds[name] for seconds in rounds)._asdict(),
            "steps_a_round": epochs[name] * contestant.steps,
            "of_limit": {limit: ratio(rounds, name, limit)._asdict() for limit in LIMITS if limit in ready},
        }
    return list(cases.values())


def _scaling(plan, vary, chosen, result, bar, done):
    """Times against one quantity, with the exponent fitted; returns how many tasks are done."""
    makers = {name: make for name, make in plan.makers.items() if name in plan.scaling}
    series = {name: {"name": name, "vary": vary, "dtype": plan.dtypes[0], "points": []} for name in makers}
    result["scaling"] += series.values()
    for value, task in chosen:
        for case in _timed(plan, task, makers, {"cases": []}, limits={}):
            if case["step_seconds"]:
                series[case["name"]]["points"].append({vary: value, "step_seconds": case["step_seconds"]})
        for one in series.values():
            values = [point[vary] for point in one["points"]]
            medians = [point["step_seconds"]["median"] for point in one["points"]]
            one["exponent"] = fitted_exponent(values, medians)
        done += 1
        bar.update(done)
    return done


def best(cases, kind, rung, dtype):
    """The quickest case of a kind on a rung, or None."""
    found = [
        case
        for case in cases
        if (case["kind"], case["rung"], case["dtype"]) == (kind, rung, dtype) and case["step_seconds"]
    ]
    return min(found, key=lambda case: case["step_seconds"]["median"], default=None)
