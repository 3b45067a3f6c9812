"""Somebody's code, in whatever form: how it is called, and how its answers are read."""
