"""A backward pass taken to pieces: which rule gives each of its numbers, right or with known bugs."""
