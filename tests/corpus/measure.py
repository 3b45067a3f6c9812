"""Lets verify judge the corpus, and prints what it got right.

    python -m tests.corpus.measure --sample 20                    # 20 programs of each group
    python -m tests.corpus.measure --groups single,pair -j 2      # all of two groups
    python -m tests.corpus.measure --seed 10000 --sample 20       # programs that the checker has not met

Programs come from seeds: those below 10000 are for whoever builds the checker, others show whether it generalises.
In the folder: the programs, truth.json, results.jsonl, and failures.txt with what is to be held against the checker.
"""

import argparse
import contextlib
import importlib
import io
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from . import classes, functions, loops, updates, whole
from .program import Planted, Program

ACCEPTED = ("RIGHT", "RIGHT IN ITS OWN TERMS", "CONVENTION")
NOT_JUDGED, WRONG, CRASHED = "NOT JUDGED", "WRONG", "CRASHED"
SHOWN_IN = {
    "factor": {"factor", "delta", "dW", "db", "loss", "output"},
    "loss": {"loss"},
    "forward": {"z", "a", "forward", "loss", "output"},
    "output": {"output", "delta", "labels", "loss"},
    "slope": {"slope", "delta"},
    "carry": {"carry", "delta", "da"},
    "dW": {"dW"},
    "batch": {"dW", "db", "batch", "delta"},
    "db": {"db"},
    "decay": {"decay", "dW", "db", "loss", "penalty"},
    "state": {"state"},
    "update": {"update", "W", "b", "state"},
}
"""Quantities of a finding that show a rule."""


class Finding(NamedTuple):
    """What the checker says of one rule."""

    id: str
    layer: Any = None
    quantity: str = ""
    text: str = ""


class Judgement(NamedTuple):
    """What the checker says of one program."""

    verdict: str
    exit: int
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    processor: float = 0.0
    """Processor seconds of the judge and of what it started."""


# ---- the checker ---------------------------------------------------------------------------------------------------


def judge(target: str) -> Judgement:
    """The checker's word on ``file.py:name``: the only place that knows how it is asked and how it answers."""
    from backprop_ref.cli import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(["verify", target, "--json"])
    if not out.getvalue().strip():
        return Judgement(NOT_JUDGED if status == 2 else CRASHED, status, (), err.getvalue().strip()[-300:])
    return _read(json.loads(out.getvalue()))


def judge_here(target: str) -> Judgement:
    """The same by ``br.verify``, with the program in this very process: no interpreter is started for it."""
    import backprop_ref as br
    from backprop_ref.conformance.submissions.calling import folder_of, load
    from backprop_ref.errors import InvalidInput

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            return _read(br.verify(load(target, folder_of(target))).document())
        except InvalidInput as error:
            return Judgement(NOT_JUDGED, 2, (), str(error)[-300:])


def _read(report) -> Judgement:
    findings = tuple(
        Finding(one["id"], one["layer"], one["quantity"], one["text"])
        for one in report["findings"]
        if one["id"] != "unknown" or one["quantity"]
    )
    return Judgement(report["verdict"], report["exit"], findings, report["reason"])


def _judge_in(connection, judge, target):
    begun = time.perf_counter()
    try:
        judged = judge(target)
    except BaseException as error:
        judged = Judgement(CRASHED, -1, (), f"{type(error).__name__}: {error}"[:300])
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in used)
    connection.send(judged._replace(seconds=time.perf_counter() - begun, processor=processor))


def judge_all(targets: list[str], jobs: int, limit: float, here: bool) -> Iterator[tuple[int, Judgement]]:
    """The judgement on each, as they come, each in a process of its own that ends at the time limit."""
    for module in ("backprop_ref.cli.app", "backprop_ref.cli.conformance.verify"):
        importlib.import_module(module)  # once, before the processes part
    context = multiprocessing.get_context("fork")
    waiting, running = list(enumerate(targets))[::-1], {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, target = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_judge_in, args=(sender, judge_here if here else judge, target))
            process.start()
            sender.close()
            running[receiver] = (number, process, time.monotonic())
        for receiver in wait(list(running), timeout=0.2):
            number, process, begun = running.pop(receiver)
            try:
                yield number, receiver.recv()
            except EOFError:
                yield number, Judgement(CRASHED, -1, (), "the process ended", time.monotonic() - begun)
            process.kill()  # it has said what it had to say
            process.join()
        for receiver, (number, process, begun) in list(running.items()):
            if time.monotonic() - begun > limit:
                process.kill()
                process.join()
                del running[receiver]
                yield number, Judgement(CRASHED, -1, (), f"no verdict within {limit:g} s", limit)


# ---- what it is worth ----------------------------------------------------------------------------------------------


def names(finding: Finding, bug: Planted, program: Program) -> bool:
    """Whether a finding is the bug by name, or by the name of a kind that gives the same numbers."""
    return finding.id in {bug.id, *bug.also} or functions.same_numbers(program, bug, finding.id)


def shows(finding: Finding, bug: Planted) -> bool:
    """Whether a finding is about the rule and a layer of the bug."""
    words = {finding.quantity, *finding.quantity.replace("hidden ", "").split(" of ")[:1]}
    right_rule = bool(words & SHOWN_IN[bug.rule])
    layers = {*bug.layers, *(layer - 1 for layer in bug.layers if bug.rule == "carry")}
    return right_rule and (finding.layer is None or finding.layer in layers)


class Result(NamedTuple):
    """A program with its judgement."""

    program: Program
    judgement: Judgement
    file: Path

    @property
    def named(self) -> list[bool]:
        """For each bug, whether any finding is it."""
        return [any(names(f, bug, self.program) for f in self.judgement.findings) for bug in self.program.planted]

    @property
    def shown(self) -> list[bool]:
        """For each bug, whether any finding names it or is about its rule and layer."""
        return [
            named or any(shows(f, bug) for f in self.judgement.findings)
            for named, bug in zip(self.named, self.program.planted, strict=True)
        ]

    @property
    def named_first(self) -> bool:
        """Whether the first finding is a bug that is there."""
        return any(names(f, bug, self.program) for f in self.judgement.findings[:1] for bug in self.program.planted)

    @property
    def failed(self) -> str:
        """What is to be held against the checker; empty: nothing."""
        verdict = self.judgement.verdict
        if verdict in {CRASHED, NOT_JUDGED}:
            return verdict.lower()
        if self.program.expect != "wrong":
            return "called wrong" if verdict == WRONG else ""
        if verdict in ACCEPTED:
            return "passed"
        if len(self.program.planted) == 1 and not self.named_first:
            return "not named first"
        return "" if all(self.named) else "not all named"

    def line(self) -> str:
        """For the list of failures."""
        planted = "; ".join(f"{bug.id} ({bug.rule}, layers {list(bug.layers)})" for bug in self.program.planted)
        found = "; ".join(f"{f.id} ({f.quantity}, layer {f.layer})" for f in self.judgement.findings[:5])
        said = ": ".join(filter(None, (self.judgement.verdict, found, self.judgement.reason)))
        return (
            f"{self.failed}: {self.file}:{self.program.name}\n    {self.program.about}\n"
            f"    truth: {planted or 'right'}\n    said:  {said}"
        )


def share(some: int, whole: int) -> str:
    return f"{some} of {whole} ({100 * some / whole:.1f} %)"


def table(results: list[Result]) -> list[tuple[str, str]]:
    """The figures that issue 14 asks for."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.program.group, []).append(result)
    rows = []
    for group, members in groups.items():
        figures = right_figures(members) if members[0].program.expect != "wrong" else wrong_figures(members)
        rows += [(f"{group}: {what}", figure) for what, figure in figures]
    for what in ("seconds", "processor"):
        times = sorted(getattr(result.judgement, what) for result in results)
        late, longest = times[int(0.95 * (len(times) - 1))], times[-1]
        figure = f"median {statistics.median(times):.2f} s, 95 % {late:.2f} s, longest {longest:.2f} s"
        rows.append(("time for a program" if what == "seconds" else "processor time for a program", figure))
    return rows


def part(members: list[Result], condition: Callable[[Result], bool]) -> str:
    return share(sum(map(condition, members)), len(members))


def right_figures(members: list[Result]) -> Iterator[tuple[str, str]]:
    """What became of right programs."""
    yield "accepted", part(members, lambda r: r.judgement.verdict in ACCEPTED)
    for what in ("called wrong", "needs a flag", "not judged", "crashed"):
        yield what, part(members, lambda r, what=what: r.failed == what)
    said = Counter(r.judgement.verdict for r in members)
    yield "verdicts", ", ".join(f"{verdict} {n}" for verdict, n in said.most_common())
    with_spec = [r for r in members if r.program.spec]
    for what, some in (
        ("of those f(network, weights, biases, x, y), accepted", [r for r in with_spec if r.program.spec.documented]),
        ("of those with float32 inside, accepted", [r for r in with_spec if r.program.spec.float32]),
    ):
        if some:
            yield what, part(some, lambda r: not r.failed)


def wrong_figures(members: list[Result]) -> Iterator[tuple[str, str]]:
    """What became of wrong programs."""
    yield "passed (exit 0)", part(members, lambda r: r.judgement.exit == 0)
    yield "called wrong", part(members, lambda r: r.judgement.verdict == WRONG)
    yield "not judged", part(members, lambda r: r.judgement.verdict in {NOT_JUDGED, CRASHED})
    if all(len(r.program.planted) == 1 for r in members):
        yield "named first", part(members, lambda r: r.judgement.verdict == WRONG and r.named_first)
    yield "all named", part(members, lambda r: all(r.named))
    yield "all named or shown (rule and layer)", part(members, lambda r: all(r.shown))
    documented = [r for r in members if r.program.spec and r.program.spec.documented]
    if documented:
        yield "of those f(network, weights, biases, x, y), all named", part(documented, lambda r: all(r.named))


def the_class(seed: int, expect: str) -> Program:
    """A class; from some seed on, with other names for its methods and attributes."""
    programs = [program for program in classes.programs(others=False) if program.expect == expect]
    others = [program for program in classes.programs(others=True) if program.expect == expect]
    return (others if seed >= len(programs) else programs)[seed % len(programs)]


_BUGS = sum(len(tutorial.bugs) for tutorial in classes.TUTORIALS)
GROUPS: dict[str, tuple[int, Callable[[int], Program]]] = {
    "right": (200, loops.right),
    "class-right": (len(classes.TUTORIALS), lambda seed: the_class(seed, "right")),
    "rare-right": (100, functions.rare),
    "unknown-right": (100, lambda seed: functions.unknown(seed, bug=False)),
    "single": (2 * (len(functions.KINDS) + len(loops.NESTED_BUGS)), loops.single),
    "pair": (300, functions.pair),
    "triple": (500, functions.triple),
    "every-pair": (len(functions.compatible_pairs()), functions.every_pair),
    "update": (2 * len(updates.BUGS), lambda seed: updates.made(seed, bug=True)),
    "update-right": (100, lambda seed: replace(updates.made(seed, bug=False), group="update-right")),
    "unknown-wrong": (100, lambda seed: functions.unknown(seed, bug=True)),
    "class-wrong": (_BUGS, lambda seed: the_class(seed, "wrong")),
}
GROUPS |= {
    f"{kind}-{expect}": (100, partial(whole.program, kind, bug=expect == "wrong"))
    for kind in whole.KINDS
    for expect in ("right", "wrong")
}
"""How many programs there are of each group, and how one is made from a seed."""


def drawn(groups: list[str], sample: int | None, seed: int, documented: bool) -> tuple[list[Program], int]:
    """The programs asked for, and how many pairs no network shows."""
    programs, unfit = [], 0
    for group in groups:
        size, make = GROUPS[group]
        chosen: list[Program] = []
        number = min(size, sample or size)
        order = sorted(range(size), key=lambda i: (i * number) % size)  # the first ones are spread over the group
        for i in order:
            if len(chosen) == number:
                break
            try:
                program = make(seed + i)
            except functions.Unfit:
                unfit += 1
                continue
            if not documented or (program.spec and program.spec.documented):
                chosen.append(program)
        programs += chosen
    return programs, unfit


def written(programs: list[Program], folder: Path) -> list[Path]:
    """A file for each program, and truth.json beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{program.key.replace('-', '_')}.py" for program in programs]
    truths = []
    for program, file in zip(programs, files, strict=True):
        file.write_text(program.source)
        planted = [bug._asdict() for bug in program.planted]
        told = {name: getattr(program, name) for name in ("name", "group", "expect", "about")}
        truths.append({"file": file.name, **told, "planted": planted})
    (folder / "truth.json").write_text(json.dumps(truths, indent=1, ensure_ascii=False))
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ",".join(group for group in GROUPS if group != "every-pair")
    parser.add_argument("--groups", default=usual, help=f"which of {', '.join(GROUPS)}, with commas between")
    parser.add_argument("--sample", type=int, help="at most so many programs of each group, spread over it")
    parser.add_argument("--seed", type=int, default=0, help="where the seeds begin")
    parser.add_argument("--documented", action="store_true", help="only functions f(network, weights, biases, x, y)")
    parser.add_argument("--out", type=Path, default=Path("runs/corpus"), help="folder for what is written")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="programs judged at the same time")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a program")
    parser.add_argument("--here", action="store_true", help="start no interpreter for each: cheaper, the same verdicts")
    parser.add_argument("--write-only", action="store_true", help="write the programs and their truth, and judge none")
    options = parser.parse_args()
    if unknown := set(options.groups.split(",")) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    programs, unfit = drawn(options.groups.split(","), options.sample, options.seed, options.documented)
    if not programs:
        parser.error("no program is left: take another group, or leave out --documented")
    files = written(programs, options.out)
    if unfit:
        print(f"{unfit} pairs that no network shows are left out")
    if options.write_only:
        return 0
    results: dict[int, Result] = {}
    targets = [f"{file}:{program.name}" for program, file in zip(programs, files, strict=True)]
    with (options.out / "results.jsonl").open("w") as record:
        for number, judgement in judge_all(targets, options.jobs, options.limit, options.here):
            result = results[number] = Result(programs[number], judgement, files[number])
            said = {"file": files[number].name, "failed": result.failed, **judgement._asdict()}
            print(json.dumps(said, ensure_ascii=False), file=record, flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(results)} of {len(targets)}", end="", file=sys.stderr)
    ordered = [results[number] for number in sorted(results)]
    failures = [result.line() for result in ordered if result.failed]
    (options.out / "failures.txt").write_text("\n".join([*failures, ""]))
    rows = table(ordered)
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name:<{width}}  {figure}")
    print(f"{len(failures)} to look at: {options.out / 'failures.txt'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
