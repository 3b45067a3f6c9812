"""backprop-ref verify: somebody's backprop, measured rule by rule or held to the golden vectors."""

import sys
from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.cli.conformance.terminal import print_outcome
from backprop_ref.conformance.measuring.verify import submission_of, verify_answers, verify_file, verify_submission
from backprop_ref.conformance.outcomes.page import page
from backprop_ref.conformance.submissions.calling import check_time_limit
from backprop_ref.conformance.submissions.confined import LEFT, nothing_left, trusted
from backprop_ref.conformance.submissions.conventions import Declared
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.files import check_output, write_output
from backprop_ref.training.ctrl_c import tidied

NUMBERS = ("decimal", "hex")


def verify(target, command, answers, conventions, *, network, numbers, many, time_limit, html, as_json, trust):
    """Judges one submission and prints what comes of it; gives the exit status.

    Parameters
    ----------
    target, command, answers : str or None
        The three ways in, of which one is given.
    conventions : dict
        What `Declared` takes.
    network : str or None
        The only one it is made for.
    numbers, many
        How a program is asked: decimal or hex numbers, one case or several to a process.
    """
    _check_file(target)
    given = [name for name, value in (("TARGET", target), ("--command", command), ("--answers", answers)) if value]
    if len(given) != 1:
        said = "nothing to verify" if not given else f"both {' and '.join(given)}"
        raise InvalidInput(f"{said}: give one of file.py, file.py:function, --command './mine' and --answers FILE")
    if not command and (numbers or many):
        raise InvalidInput(f"{'--numbers' if numbers else '--many'} goes with --command")
    if numbers not in {None, *NUMBERS}:
        raise unknown("--numbers", numbers, NUMBERS)
    if answers and network:
        raise InvalidInput("--network goes with a function, class or program; a file names the cases that it answers")
    check_output("--html", html)
    check_time_limit(time_limit)
    declared = Declared(**conventions)
    with tidied(), trusted(trust), nothing_left():
        if answers:
            outcome = verify_answers(answers, declared)
        elif target and target.endswith(".py"):
            outcome = verify_file(target, declared, time_limit, network)
        else:
            submission = submission_of(target, command, declared, time_limit, numbers or NUMBERS[0], many)
            outcome = verify_submission(submission, target=target or command, network=network)
    if not trust and LEFT in outcome.not_prevented and sys.platform == "linux":
        outcome.not_prevented.remove(LEFT)
        outcome.prevented.append(LEFT)
    if as_json:
        show.as_json(outcome.document())
    else:
        print_outcome(outcome)
    if html is not None:
        write_output("--html", html, page(outcome))
        if not as_json:
            show.line(f"page: {html}")
    return outcome.exit


def _check_file(target):
    if target and Path(target).is_dir():
        raise InvalidInput(f"{target} is a folder: {show.ONE_AT_A_TIME.format(place=target.rstrip('/'))}")
