"""What a known bug is."""

from collections.abc import Callable
from dataclasses import dataclass, field

Change = dict[str, Callable]
"""Functions by the name of the rule that each replaces; they take that rule, the pass, and the rule's arguments."""


@dataclass(frozen=True)
class Bug:
    """A known bug.

    Attributes
    ----------
    id : str
        Stable.
    text : str
        The bug in plain words.
    where : str
        The first quantity to go wrong: z, a, loss, delta of the output, hidden delta, dW, db, update or state.
    right, wrong : str
        The formula as it should be and as it is.
    hint : str
        What to do.
    variants : tuple of dict
        The forms it is met in. None for a bug of state, which only a second call or the arguments show.
    fitted : tuple of dict
        Forms that need a number, which has to be worked out from the submission,
    parameter : str
        the name of that number, such as learning rate, and
    start : float
        a usual value of it.
    acceptable : bool
        A matter of convention, which a checker reports and does not fail.
    """

    id: str
    text: str
    where: str
    right: str
    wrong: str
    hint: str
    variants: tuple[Change, ...] = field(repr=False, default=())
    fitted: tuple[Change, ...] = field(repr=False, default=())
    parameter: str = ""
    start: float = 0.0
    acceptable: bool = False
