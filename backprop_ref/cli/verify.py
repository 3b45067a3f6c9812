"""backprop-ref verify: somebody's backprop, measured rule by rule or held to the golden vectors."""

import fnmatch
from functools import partial

from backprop_ref.cli import show
from backprop_ref.cli.terminal import print_outcome, print_report
from backprop_ref.conformance.judging.decay import Decay
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.judging.page import page
from backprop_ref.conformance.measuring.page import page as outcome_page
from backprop_ref.conformance.measuring.verify import submission_of, verify_submission
from backprop_ref.conformance.submissions.conventions import Declared
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.models import Model
from backprop_ref.conformance.submissions.programs import Answers, Program
from backprop_ref.conformance.submissions.separate import Separate
from backprop_ref.conformance.vectors.documents import question
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.files import check_output, write_output
from backprop_ref.network import ACTIVATIONS, LOSSES

NUMBERS = ("decimal", "hex")


def verify(target, command, answers, chosen, conventions, *, numbers, many, time_limit, strict, html, as_json, network):
    """Judges one submission and prints what comes of it; gives the exit status.

    Parameters
    ----------
    target, command, answers : str or None
        The three ways in, of which one is given.
    chosen : dict
        ``only``, ``hidden``, ``outputs``, ``losses`` and ``layers``: texts that choose cases.
    conventions : dict
        What `Declared` takes.
    network : str or None
        The only one it is made for.
    numbers, many
        How a program is asked: decimal or hex numbers, one case or several to a process.
    """
    given = [name for name, value in (("TARGET", target), ("--command", command), ("--answers", answers)) if value]
    if len(given) != 1:
        said = "nothing to verify" if not given else f"both {' and '.join(given)}"
        raise InvalidInput(f"{said}: give one of file.py:function, --command './mine', --answers FILE")
    if not command and (numbers or many):
        raise InvalidInput(f"{'--numbers' if numbers else '--many'} goes with --command")
    if numbers not in {None, *NUMBERS}:
        raise unknown("--numbers", numbers, NUMBERS)
    check_output("--html", html)
    declared = Declared(**conventions)
    if declared.l2 is not None:
        Decay.parse(declared.l2)
    of_loss = {name: getattr(declared, name) for name in ("loss", "factor", "l2")}  # the vectors are held to these
    if not answers and not any((*chosen.values(), *of_loss.values(), strict)):
        submission = submission_of(target, command, declared, time_limit, numbers or NUMBERS[0], many)
        outcome = verify_submission(submission, target=target or command, network=network)
        return _told(outcome, print_outcome, outcome_page, html, as_json)
    if network:
        values = {"answers": answers, **chosen, **of_loss, "strict": strict}
        flag = next(f"--{name}" for name, value in values.items() if value)
        raise InvalidInput(f"--network is measured, and {flag} is about the golden vectors: give one of them")
    cases = _chosen(shipped_cases(), **chosen)
    submission = _submission(target, command, answers, declared, time_limit, numbers or NUMBERS[0], many)
    reload = submission.function.afresh if target else None
    report = judge(submission, cases, target=target or command or answers, strict=strict, reload=reload)
    if answers and (strangers := submission.unknown(shipped_cases())):
        report.notes.append(f"no such cases: {', '.join(strangers[:5])}{' …' if len(strangers) > 5 else ''}")
    return _told(report, print_report, page, html, as_json)


def _told(said, printed, page, html, as_json):
    """Prints a report or an outcome, writes its page, and gives its exit status."""
    if as_json:
        show.as_json(said.document())
    else:
        printed(said)
    if html is not None:
        write_output("--html", html, page(said))
        if not as_json:
            show.line(f"page: {html}")
    return said.exit


def _submission(target, command, answers, declared, time_limit, numbers, many):
    if command:
        return Program(command, partial(question, numbers=numbers), declared, time_limit, many=many)
    if answers:
        return Answers(answers, declared)
    found = Separate(target, time_limit)
    return (Model if found.outline.is_class else Function)(found, declared)


def _chosen(cases, only, hidden, outputs, losses, layers):
    """The cases with names and networks as asked for."""
    inner, outer = _listed("--hidden", hidden, ACTIVATIONS), _listed("--outputs", outputs, ACTIVATIONS)
    wanted = {_LONG.get(name, name) for name in _listed("--losses", losses, _NAMES)}
    depths = _listed("--layers", layers, sorted({str(case.network.n_layers) for case in cases}))
    found = [
        case
        for case in cases
        if (not only or fnmatch.fnmatch(case.name, only))
        and (not inner or set(case.network.activations[:-1]) <= set(inner))
        and (not outer or case.network.activations[-1] in outer)
        and (not wanted or case.network.loss in wanted)
        and (not depths or str(case.network.n_layers) in depths)
    ]
    if not found:
        flags = "--only, --hidden, --outputs, --losses and --layers"
        raise InvalidInput(f"no case is left by {flags} together; choose fewer of them")
    return found


_LONG = {short: name for name, short in LOSSES.items()}
_NAMES = (*LOSSES, *LOSSES.values())


def _listed(flag, text, known):
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown(f"{flag}:", name, known)
    return names
