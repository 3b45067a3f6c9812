"""Lets verify judge the corpus, and prints what it got right.

    python -m tests.corpus.measure --sample 20                    # 20 programs of each group
    python -m tests.corpus.measure --groups single,pair -j 2      # all of two groups
    python -m tests.corpus.measure --seed 10000 --sample 20       # programs that the checker has not met
    python -m tests.corpus.measure --groups every-pair,triple --here -j 2 --out FOLDER --seconds 300   # in pieces

What the folder has is not judged again: the same command goes on where it ended.
Programs come from seeds: those below 10000 are for whoever builds the checker, others show whether it generalises.
In the folder: the programs, results.jsonl with the judgement of each, and failures.txt with what is to be held against
the checker.
"""

import argparse
import contextlib
import importlib
import io
import json
import math
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


def judge_all(
    results: Iterator["Result"], jobs: int, limit: float, here: bool, until: float = math.inf
) -> Iterator["Result"]:
    """Each with its judgement, as they come, each in a process of its own that ends at the time limit.

    None is begun later than ``until`` on the monotonic clock.
    """
    for module in ("backprop_ref.cli.app", "backprop_ref.cli.conformance.verify"):
        importlib.import_module(module)  # once, before the processes part
    context = multiprocessing.get_context("fork")
    running: dict[Any, Any] = {}
    waiting: Result | None = next(results, None)
    while waiting or running:
        while waiting and len(running) < jobs:
            result, waiting = waiting, None if time.monotonic() > until else next(results, None)
            target = f"{result.file}:{result.program.name}"
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_judge_in, args=(sender, judge_here if here else judge, target))
            process.start()
            sender.close()
            running[receiver] = (result, process, time.monotonic())
        for receiver in wait(list(running), timeout=0.2):
            result, process, begun = running.pop(receiver)
            try:
                yield result._replace(judgement=receiver.recv())
            except EOFError:
                ended = Judgement(CRASHED, -1, (), "the process ended", time.monotonic() - begun)
                yield result._replace(judgement=ended)
            process.kill()  # it has said what it had to say
            process.join()
        for receiver, (result, process, begun) in list(running.items()):
            if time.monotonic() - begun > limit:
                process.kill()
                process.join()
                del running[receiver]
                late = Judgement(CRASHED, -1, (), f"no verdict within {limit:g} s", limit)
                yield result._replace(judgement=late)


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


class Record(NamedTuple):
    """What came of a program, as it stands in results.jsonl."""

    asked: str
    seed: int
    group: str = ""
    """Empty: no network shows it."""
    file: str = ""
    expect: str = ""
    bugs: int = 0
    kinds: tuple[str, ...] = ()
    failed: str = ""
    verdict: str = ""
    exit: int = 0
    all_named: bool = False
    all_shown: bool = False
    named_first: bool = False
    seconds: float = 0.0
    processor: float = 0.0
    traits: tuple[str, ...] = ()
    line: str = ""
    """For the list of failures."""


class Result(NamedTuple):
    """A program with its judgement."""

    program: Program
    judgement: Judgement
    file: Path
    asked: str = ""
    seed: int = 0

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

    def record(self) -> Record:
        """Without the program."""
        program, judgement = self.program, self.judgement
        spec = program.spec
        traits = ("spec", *(name for name in ("documented", "float32") if getattr(spec, name))) if spec else ()
        return Record(
            self.asked, self.seed, program.group, self.file.name, program.expect, len(program.planted),
            tuple(bug.id for bug in program.planted), self.failed, judgement.verdict, judgement.exit,
            all(self.named), all(self.shown), self.named_first, judgement.seconds, judgement.processor, traits,
            self.line() if self.failed else "",
        )  # fmt: skip

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


def table(records: list[Record]) -> list[tuple[str, str]]:
    """The figures that issue 14 asks for."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    rows = []
    for group, members in groups.items():
        figures = right_figures(members) if members[0].expect != "wrong" else wrong_figures(members)
        rows += [(f"{group}: {what}", figure) for what, figure in figures]
    for what in ("seconds", "processor"):
        times = sorted(getattr(record, what) for record in records)
        late, longest = times[int(0.95 * (len(times) - 1))], times[-1]
        figure = f"median {statistics.median(times):.2f} s, 95 % {late:.2f} s, longest {longest:.2f} s"
        rows.append(("time for a program" if what == "seconds" else "processor time for a program", figure))
    return rows


def part(members: list[Record], condition: Callable[[Record], bool]) -> str:
    return share(sum(map(condition, members)), len(members))


def right_figures(members: list[Record]) -> Iterator[tuple[str, str]]:
    """What became of right programs."""
    yield "accepted", part(members, lambda r: r.verdict in ACCEPTED)
    for what in ("called wrong", "not judged", "crashed"):
        yield what, part(members, lambda r, what=what: r.failed == what)
    said = Counter(r.verdict for r in members)
    yield "verdicts", ", ".join(f"{verdict} {n}" for verdict, n in said.most_common())
    for what, trait in (
        ("of those f(network, weights, biases, x, y), accepted", "documented"),
        ("of those with float32 inside, accepted", "float32"),
    ):
        if some := [r for r in members if trait in r.traits]:
            yield what, part(some, lambda r: not r.failed)


def wrong_figures(members: list[Record]) -> Iterator[tuple[str, str]]:
    """What became of wrong programs."""
    yield "passed (exit 0)", part(members, lambda r: r.exit == 0)
    yield "called wrong", part(members, lambda r: r.verdict == WRONG)
    yield "not judged", part(members, lambda r: r.verdict in {NOT_JUDGED, CRASHED})
    if all(r.bugs == 1 for r in members):
        yield "named first", part(members, lambda r: r.verdict == WRONG and r.named_first)
    yield "all named", part(members, lambda r: r.all_named)
    yield "all named or shown (rule and layer)", part(members, lambda r: r.all_shown)
    if documented := [r for r in members if "documented" in r.traits]:
        yield "of those f(network, weights, biases, x, y), all named", part(documented, lambda r: r.all_named)


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


def drawn(
    groups: list[str],
    sample: int | None,
    seed: int,
    folder: Path,
    known: dict[tuple[str, int], Record],
    unfit: Callable[[Record], None],
) -> Iterator[Result]:
    """The programs asked for and not yet judged, each written into the folder; ``unfit`` is told of the others."""
    for group in groups:
        size, make = GROUPS[group]
        number = min(size, sample or size)
        order = sorted(range(size), key=lambda i: (i * number) % size)  # the first ones are spread over the group
        found = 0
        for i in order:
            if found == number:
                break
            if before := known.get((group, seed + i)):
                found += bool(before.group)
                continue
            try:
                program = make(seed + i)
            except functions.Unfit:
                unfit(Record(group, seed + i))
                continue
            found += 1
            file = folder / f"{program.key.replace('-', '_')}.py"
            file.write_text(program.source)
            yield Result(program, Judgement(NOT_JUDGED, 2), file, group, seed + i)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ",".join(group for group in GROUPS if group != "every-pair")
    parser.add_argument("--groups", default=usual, help=f"which of {', '.join(GROUPS)}, with commas between")
    parser.add_argument("--sample", type=int, help="at most so many programs of each group, spread over it")
    parser.add_argument("--seed", type=int, default=0, help="where the seeds begin")
    parser.add_argument("--out", type=Path, default=Path("runs/corpus"), help="folder for what is written")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="programs judged at the same time")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no program after so many")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a program")
    parser.add_argument("--here", action="store_true", help="start no interpreter for each: cheaper, the same verdicts")
    parser.add_argument("--write-only", action="store_true", help="write the programs and their truth, and judge none")
    options = parser.parse_args()
    if unknown := set(options.groups.split(",")) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    groups, folder = options.groups.split(","), options.out
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.jsonl"
    lines = [] if options.write_only or not file.exists() else file.read_text().splitlines()
    known = {(r.asked, r.seed): r for r in (Record(**json.loads(line)) for line in lines)}
    until = time.monotonic() + options.seconds
    with file.open("a") as record:

        def kept(one: Record) -> None:
            known[one.asked, one.seed] = one
            print(json.dumps(one._asdict(), ensure_ascii=False), file=record, flush=True)

        results = drawn(groups, options.sample, options.seed, folder, dict(known), kept)
        if options.write_only:
            print(f"{len(list(results))} programs: {folder}")
            return 0
        for result in judge_all(results, options.jobs, options.limit, options.here, until):
            kept(result.record())
            if sys.stderr.isatty():
                print(f"\r{len(known)}", end="", file=sys.stderr)
    records = sorted((r for r in known.values() if r.group), key=lambda r: (r.asked, r.seed))
    failures = [r.line for r in records if r.failed]
    (folder / "failures.txt").write_text("\n".join([*failures, ""]))
    if len(known) > len(records):
        print(f"{len(known) - len(records)} pairs that no network shows are left out")
    rows = table(records)
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name:<{width}}  {figure}")
    print(f"{len(failures)} to look at: {folder / 'failures.txt'}")
    if time.monotonic() > until:
        print("the time is up: the same command goes on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
