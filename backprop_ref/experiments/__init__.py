"""Runs from a configuration: its schema, and the runner that turns one into a trained network in a folder."""
