"""Every number of a run, to be looked at: traces of training, worked steps."""
