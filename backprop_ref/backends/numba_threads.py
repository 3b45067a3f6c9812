"""Numba's threads: how many there are, and who may use them."""

import os
import threading

import numba

# What Numba was started with; it cannot be raised later.
MOST_THREADS: int = numba.config.NUMBA_NUM_THREADS

# Numba's own thread pool must not be entered from two threads at once: who comes second computes alone.
POOL = threading.Lock()

# Nor does the pool survive a fork: a child, whose parent may have started it, computes alone.
FORKED = threading.Event()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=FORKED.set)
