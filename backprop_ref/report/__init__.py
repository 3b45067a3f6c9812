"""Everything to look at: traces of training, worked steps, pages and plots."""
