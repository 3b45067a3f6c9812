"""Timing rivals in turn, so that what slows the machine for a while slows them all."""

import gc
import statistics
import time
from typing import NamedTuple

from backprop_ref.benchmarks.ladder import LEARNING_RATE
from backprop_ref.random import Stream

SETTLE_SECONDS = 0.15
"""Threads that wait for work spin for a while before they sleep, OpenBLAS's for about 0.1 s: nobody's time should be
spent on a rival's."""


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values):
    """The `Spread` of some numbers."""
    values = list(values)
    if len(values) < 2:
        return Spread(*values * 3)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high)


def timed(contestant, epochs):
    """Seconds that a contestant takes for so many epochs, from the initial parameters, until all is computed."""
    with contestant.scope():
        contestant.restart(LEARNING_RATE)
        gc.disable()
        try:
            started = time.perf_counter()
            contestant.run(epochs)
            return time.perf_counter() - started
        finally:
            gc.enable()


def warmed_up(contestant, round_seconds):
    """How many epochs fill a round, after as many calls as it takes to find out; they are the warm-up."""
    epochs = 1
    while (spent := timed(contestant, epochs)) < round_seconds and epochs < 10**7:
        epochs = max(2 * epochs, int(epochs * round_seconds / max(spent, 1e-7)))
    return epochs


def in_turn(contestants, epochs, rounds, done, seed=1):
    """Appends to `done`, for each round, a dict of name to seconds per step; each round in an order of its own.

    `epochs` says how many each contestant runs in a round; `done` keeps the complete rounds should Ctrl-C come.
    """
    stream, names = Stream(seed, "check"), list(contestants)
    for _ in range(rounds):
        seconds = {}
        for place in stream.permutation(len(names)):
            name = names[place]
            time.sleep(SETTLE_SECONDS)
            seconds[name] = timed(contestants[name], epochs[name]) / (epochs[name] * contestants[name].steps)
        done.append({name: seconds[name] for name in names})


def ratio(rounds, ours, theirs):
    """The `Spread` over the rounds of one's time divided by another's in the same round."""
    return spread(seconds[ours] / seconds[theirs] for seconds in rounds)
