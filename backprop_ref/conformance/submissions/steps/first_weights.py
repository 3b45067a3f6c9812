"""Models that make their first weights anew in each training: they get ours instead."""

import contextlib
import copy

import numpy as np


def keep_ours(model, slots) -> None:
    """Puts the weights that a model has now in the place of what is first assigned to them, with the same shapes."""
    places = [path for path in (*slots.weights, *(slots.biases or ())) if path and isinstance(path[0], str)]
    names = {path[0] for path in places} & vars(model).keys()
    ours = {name: copy.deepcopy(vars(model)[name]) for name in names}
    keyed = [name for name in names if isinstance(ours[name], dict)]
    for name in keyed:
        keys = {path[1] for path in places if path[0] == name and len(path) == 2}
        vars(model)[name] = _Given(vars(model)[name], {key: ours[name][key] for key in keys})
    made = type(model)

    class Given(made):  # type: ignore[misc, valid-type]
        def __setattr__(self, name, value):
            if name in ours and _form(value) == _form(ours[name]):
                value = _shaped(ours.pop(name), value)
            super().__setattr__(name, value)

    Given.__name__ = made.__name__
    with contextlib.suppress(TypeError):  # of a class with slots it stays as it is
        model.__class__ = Given


class _Given(dict):
    """A dictionary that takes ours for the first value of some keys."""

    def __init__(self, there, ours):
        super().__init__(there)
        self._ours = ours

    def __setitem__(self, key, value):
        if key in self._ours and _form(value) == _form(self._ours[key]):
            value = _shaped(self._ours.pop(key), value)
        super().__setitem__(key, value)


def _form(value):
    """The shapes in what holds weights."""
    if isinstance(value, dict):
        return {name: _form(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_form(part) for part in value]
    return [length for length in np.shape(value) if length != 1]


def _shaped(ours, value):
    """Ours in the shape of an array, which may be a row or a column."""
    return ours.reshape(value.shape) if isinstance(ours, np.ndarray) and isinstance(value, np.ndarray) else ours
