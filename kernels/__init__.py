"""Leaf code: numbers in, numbers out; nothing here knows what a network is."""
