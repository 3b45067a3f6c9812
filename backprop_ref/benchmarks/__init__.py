"""Whole training steps of backends, peers and limits: checked first, then timed in turn."""
