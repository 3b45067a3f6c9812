"""The process in which a submission runs: it imports the target, and answers the judge's calls until it is killed.

`backprop_ref.conformance.submissions.separate` starts it. The judge asks one thing at a time: ``{"call": arguments of
one_call}`` or ``{"attempts": [arguments of one_call, …]}`` of a function, ``{"step": …}`` or ``{"sizes": …}`` of a
class, with keywords of one_step or own_sizes.

What lies beside the target can be imported by it, at any time, and by nothing else.
"""

import os
import signal
import socket
import sys
import time

from backprop_ref.conformance.submissions.calling import NotJudged, Refusal, load, run, stand_in
from backprop_ref.conformance.submissions.calls import attempts, one_call, recorded
from backprop_ref.conformance.submissions.composing import composed
from backprop_ref.conformance.submissions.confined import stay_in_group
from backprop_ref.conformance.submissions.outline import Outline
from backprop_ref.conformance.submissions.reading import Shapes, Unreadable
from backprop_ref.conformance.submissions.separate.messages import receive, send
from backprop_ref.conformance.submissions.steps import one_step, own_sizes
from backprop_ref.errors import InvalidInput, blame
from backprop_ref.import_path import importable


def main(descriptor: int):
    """Serves the judge at the other end of a socket."""
    own, channel = os.getpid(), socket.socket(fileno=descriptor)
    started: list[None] = []  # one for each process that calls start
    os.register_at_fork(before=lambda: started.append(None))
    question = receive(channel)
    sys.path[:] = question["path"]
    stand_in()
    found, folder = None, question["folder"]
    stay_in_group()
    try:
        found = composed(load(question["target"], folder))
        reply = Outline.of(found).document()
    except InvalidInput as error:
        reply = {"InvalidInput": str(error)}
    except KeyboardInterrupt as error:
        reply = {"InvalidInput": f"importing {question['target']} failed: {blame(error)}"}
    started.clear()
    while True:
        if os.getpid() != own:
            os._exit(0)  # a copy that the submission made of this process: one of them answers
        send(channel, reply)
        try:
            question = receive(channel)
        except EOFError:
            return
        _open_standard_streams()
        _end_after(2.0 * question["seconds"] + 1.0)
        with importable(folder):
            reply = {**_answer(found, question), "spent": time.process_time(), "started": len(started)}
        _end_after(0.0)


def _open_standard_streams():
    """On nothing: whatever a call did to them, the next one finds them as at the start."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    if nothing > 2:
        os.close(nothing)


def _end_after(seconds):
    """Ends this process if it hangs and the judge, which was to kill it, is gone; 0: no more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _shapes(lists):
    return Shapes(*([tuple(shape) for shape in part] for part in lists))


def _answer(found, question):
    try:
        for name, function in {"call": one_call, "recorded": recorded}.items():
            if asked := question.get(name):
                shapes = _shapes(asked["shapes"])
                return run(function, found, asked["arguments"], asked["keywords"], shapes, limit=None)
        if "attempts" in question:
            calls = [(arguments, keywords, _shapes(shapes)) for arguments, keywords, shapes in question["attempts"]]
            return run(attempts, found, calls, question["traced"], question["seconds"] / 2.0, limit=None)
        if "sizes" in question:
            return run(own_sizes, found, **question["sizes"], limit=None)
        return run(one_step, found, **question["step"], limit=None)._asdict()
    except (Refusal, NotJudged, Unreadable) as error:
        return {type(error).__name__: str(error)}
    except BaseException as error:
        return {"Refusal": blame(error)}
