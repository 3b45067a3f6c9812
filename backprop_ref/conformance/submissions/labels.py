"""Labels as indices of classes, of which the largest is that of the last class, whether a batch has it or not.

Much code takes ``y.max() + 1`` or ``len(np.unique(y))`` for the number of classes, which is right for its data set and
for no single sample.
"""

from typing import Any

import numpy as np


class Labels(np.ndarray):
    """Whole numbers that know how many classes there are."""

    classes = 0

    def __array_finalize__(self, other):
        self.classes = getattr(other, "classes", 0)

    def max(self, *arguments, **keywords):
        """The last class; of what was computed from labels, the largest."""
        whole = self.dtype.kind == "i" and self.classes > 0 and keywords.get("axis") is None and not any(arguments)
        return self.classes - 1 if whole else np.asarray(self).max(*arguments, **keywords)

    def __array_function__(self, function, types, arguments, keywords):
        """As of an array, but that np.unique gives all classes."""
        inverse = keywords == {"return_inverse": True}
        whole = self.dtype.kind == "i" and self.classes and len(arguments) == 1 and arguments[0] is self
        if function is np.unique and whole and (inverse or not keywords):
            return (np.arange(self.classes), np.asarray(self)) if inverse else np.arange(self.classes)
        return super().__array_function__(function, types, arguments, keywords)


def labels(argument: Any, classes: int) -> Any:
    """An argument as `Labels` if it holds whole numbers, else as it is."""
    if not isinstance(argument, np.ndarray) or argument.dtype != np.int64 or argument.ndim != 1 or not classes:
        return argument
    found = argument.view(Labels)
    found.classes = classes
    return found
