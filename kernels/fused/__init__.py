"""Whole epochs of training in one compiled call, for the CPU."""
