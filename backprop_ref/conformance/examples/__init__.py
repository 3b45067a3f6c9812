"""Implementations of backpropagation to check, each as its author might have written it."""
