"""Asking a submission for networks and batches made on the spot, and finding out in which form it is to be asked."""

import functools
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.conformance.cases import Values
from backprop_ref.conformance.dissecting.comparing import same
from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.networks import EXAMPLE
from backprop_ref.conformance.submissions import widths
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.confined import lifted
from backprop_ref.conformance.submissions.conventions import Layout, layouts
from backprop_ref.conformance.submissions.forms import FLAT
from backprop_ref.conformance.submissions.functions import Function, is_outer, outer_layers, two_answers
from backprop_ref.network import Network

HALF_THE_DIGITS = {"float64": 2.0**-26, "float32": 2.0**-12}
"""Two formulas are told apart by half the digits that a number has: right ones agree in more, wrong ones in fewer."""


REMEDIES = {
    "it returned None": "",
    "it returned the text": "",
    "no answer within": "have it return after one step, or give it longer: {longer}",
    "not asked": "have it return after one step, or give it longer: {longer}",
    "EOFError": "nobody is there to type; take what it asks for as an argument",
    "SystemExit": "have it return instead",
    "its process": "",
    "each weight moves": "have it return its gradients, or keep them in attributes",
    "its argument '": "",
    **dict.fromkeys(("it takes no x and y;", "it takes no weights, x and y;", "it takes no weights:"), ""),
}
"""How reasons begin that have nothing to do with sizes or layouts, and what helps."""
OF_SHAPES = ("not aligned", "could not be broadcast", "matmul: Input", "have other shapes", "cannot reshape array")
"""What reasons say that have to do with sizes or layouts alone."""
BEST = 3
"""The score of a layout that suits."""
CLASSIC = ((2, 2, 1), (2, 2, 2))
"""Sizes of examples worked by hand, which much code is written for, neuron by neuron."""
LOOPED = 3
"""So many networks that loops over fixed ranges tell of are tried at once."""
SECONDS = 3.0
"""Sizes that code is written for are looked for no longer."""
ENOUGH = 12
"""Where so many sizes, for batches or single samples, give gradients of their shapes, and none suits, a bug does
that."""
SEARCH = 3.0
"""So many processor seconds are spent on usual sizes and layouts where none gives an answer."""


class Asked(NamedTuple):
    """One answer, with what it was asked for."""

    case: Any
    values: Values
    slack: Values | None
    again: Values | None
    changed: tuple[str, ...]
    odd: dict[int, str]
    """The known bug that gives db its shape, if one does, in layers where that is not the shape of b."""

    @property
    def loss(self):
        return None if self.values.loss is None else float(self.values.loss)


class Asker:
    """Asks a submission in its layout.

    Attributes
    ----------
    problem : str
        Why the last call gave no answer; empty if it did.
    calls : int
    changed : dict of str
        Names of the arguments that some call changed in place.
    dear : bool
        Whether each call starts a program, so that there should be few.
    by_samples : bool
        Whether a db had an entry for each sample, so that one entry of a single sample's does not stand for its layer.
    ways : int
        In so many layouts the submission is looked at.
    """

    def __init__(self, submission, ways=1):
        self.submission, self.problem, self.calls, self.ways = submission, "", 0, ways
        self.changed: dict[str, None] = {}
        self.by_samples = False
        self.dear = submission.kind == "program" and not submission.many

    def __call__(self, network, params, x, y, *, twice=False, weight_decay=0.0) -> Asked | None:
        """The answer for a batch, in our layout and in float64; None if there is none that fits."""
        case = replace(material.case(network, params, x, y), weight_decay=weight_decay)
        self.calls += 1
        answer: Answer = self.submission.answer(case, twice=twice)
        self.by_samples |= _by_samples(answer.values and answer.values.db, network.sizes, len(x))
        values = None if answer.values is None else checked(answer.values, network.sizes, not self.by_samples)
        if values is None:
            self.problem = answer.problem or answer.left_out or "its gradients have other shapes than its weights"
            return None
        self.problem = ""
        self.changed |= dict.fromkeys(answer.changed)
        again = None if answer.again is None else checked(answer.again, network.sizes, not self.by_samples)
        odd = _odd(answer.values and answer.values.db, network.sizes, len(x), not self.by_samples)
        return Asked(case, values, answer.slack, again, answer.changed, odd)

    def losses(self, network, every, x, y) -> list[float | None]:
        """The losses for one batch and each of several `Parameters`; None for those where there is none."""
        cases = [material.case(network, params, x, y) for params in every]
        self.calls += len(cases)
        if isinstance(self.submission, Function):
            return self.submission.losses(cases, self.submission.layout)
        answers = (self.submission.answer(case, twice=False).values for case in cases)
        return [None if values is None or values.loss is None else float(values.loss) for values in answers]


def checked(values: Values, sizes, of_all=True) -> Values | None:
    """The answer in float64, if it holds something and its shapes are those of a network of these sizes; else None.

    A db of another shape is left out: see `_odd`; one number stands for a whole layer, if `of_all`.
    """
    shapes = list(zip(sizes, sizes[1:], strict=False))

    def fits(arrays, due):
        return arrays is None or (
            len(arrays) == len(due)
            and all(array is None or array.shape == shape for array, shape in zip(arrays, due, strict=True))
        )

    if values.db is not None and len(values.db) == len(sizes) - 1:
        every = [_of_all(db, n) if of_all else db for db, n in zip(values.db, sizes[1:], strict=True)]
        fitting = [None if db is None or db.shape != (n,) else db for db, n in zip(every, sizes[1:], strict=True)]
        values = values._replace(db=fitting if any(db is not None for db in fitting) else None)
    right = fits(values.dW, shapes) and fits(values.db, [(n,) for n in sizes[1:]])
    if not right or (values.dW is None and values.loss is None):
        return None
    lists = {name: getattr(values, name) for name in ("z", "a", "delta", "dW", "db", "W", "b")}
    double = {
        name: [None if array is None else np.asarray(array, dtype=np.float64) for array in arrays]
        for name, arrays in lists.items()
        if arrays
    }
    return values._replace(**double)


def _of_all(db, n):
    """One number for a whole layer as what it adds to each bias."""
    return np.full(n, db.reshape(())) if db is not None and db.size == 1 else db


def _by_samples(biases, sizes, batch):
    """Whether a db has an entry for each of several samples, and not for each neuron."""
    pairs = zip(biases or (), sizes[1:], strict=False)
    return batch > 1 and any(db is not None and db.shape == (batch,) != (n,) for db, n in pairs)


def _odd(biases, sizes, batch, of_all=True):
    """The layers whose db has another shape than b, and the known bug that gives it that, if one does."""
    found = {}
    for layer, (db, n) in enumerate(zip(biases or (), sizes[1:], strict=False)):
        if db is None or (of_all and db.size == 1):
            continue
        if db.shape in {(batch, n), (n, batch)}:
            found[layer] = "bias-not-summed"
        elif db.shape == (batch,) != (n,):
            found[layer] = "bias-wrong-axis"
        elif db.shape != (n,):
            found[layer] = "bias-of-other-layer" if db.shape in {(size,) for size in sizes} else ""
    return found


def precision_of(values: Values) -> str:
    """The precision in which gradients were computed, as their bits show."""
    arrays = [array for array in (*(values.dW or ()), *(values.db or ())) if array is not None]
    single = all(np.array_equal(array, array.astype(np.float32)) for array in arrays)
    return "float32" if arrays and single and any(np.any(array) for array in arrays) else "float64"


class Form(NamedTuple):
    """In which sizes and layout a submission answers."""

    sizes: tuple[int, ...]
    layout: Layout
    hard: bool
    """Whether it is asked with one-hot labels only."""
    biases: tuple[bool, ...]
    """Which layers have one: where code is given none, or returns no db, there is none."""


def forms(submission, network=None) -> tuple[list[Form], str]:
    """Sizes and layouts in which a submission answers, the best first; and why it does not, where it never does.

    Parameters
    ----------
    submission
    network : Network, optional
        The only one that is asked for.
    """
    if not hasattr(submission, "layouts"):  # it reads the conventions with each case
        sizes = tuple(network.sizes if network else (3, 5, 4))
        return [Form(sizes, submission.layout, False, (True,) * (len(sizes) - 1))], ""
    problem: str = ""
    doubtful: list[tuple[float, list[Form]]] = []
    unfit: set[tuple] = set()
    said: set[str] = set()
    sure: set[str] = set()
    for sizes, kind, known, hard in _tries(submission, network, doubtful, said):
        if any(map(problem.startswith, REMEDIES)) or lifted(problem):
            break
        if (sizes, hard, *known) in unfit:  # the kind of network has nothing to do with it
            continue
        found, reasons = _scored(submission, kind, known, hard)
        problem = getattr(submission, "missing", "") or problem or next(filter(None, reasons), "")
        said.update(reasons)
        if found:
            if len(set(sizes)) == len(sizes):
                sure |= {layout.weights for _, layout, _ in found}
            elif len(sure) == 1 and not _by_chance(submission, doubtful):  # a transposed dW suits a transposed W
                found = [one for one in found if one[1].weights in sure] or found
            found = _with_biases(found)
            best = max(score for score, _, _ in found)
            if hard:  # one-hot labels are asked for only where soft ones give no answer
                hard = not all(_score(submission, kind, layout, False)[0] for _, layout, _ in found)
            chosen = [Form(tuple(sizes), layout, hard, biased) for score, layout, biased in found if score == best]
            if best > BEST - 1:
                return chosen, ""
            doubtful.append((best, chosen))
        elif all(any(part in said for part in OF_SHAPES) for said in reasons):
            unfit.add((sizes, hard, *known))
    if doubtful:
        return max(doubtful, key=lambda one: one[0])[1], ""
    remedy = (
        ""
        if network or lifted(problem)
        else f"if it is made for one network only, say which: {ask('--network', EXAMPLE)}"
    )
    remedy = next(
        (said.format(longer=ask("--time-limit", 60)) for start, said in REMEDIES.items() if problem.startswith(start)),
        remedy,
    )
    if not problem:
        return [], "it has an argument for each single weight; have it take an array for each layer, such as W1 and b1"
    return [], f"{problem}; {remedy}" if remedy else problem


def _with_biases(found):
    """The layouts with biases, where none without is much better."""
    biased = [one for one in found if one[1].biases != "none"]
    best = max(score for score, _, _ in found)
    return biased if biased and max(score for score, _, _ in biased) >= best - 1 else found


def _scored(submission, kind, known, hard):
    """The layouts that give an answer, each with its score and which layers have a bias; and what else was said."""
    found, reasons = [], []
    for layout in known:
        score, said, biased = _score(submission, kind, layout, hard)
        reasons.append(said)
        if score:
            if layout.biases == "none" or (submission.explicit_biases and not any(biased)):
                biased = _all(layout, len(biased))
            without = layout.biases == "none" and submission.explicit_biases  # other sizes may suit
            found.append((score - without, layout, biased))
    return found, reasons


def _tries(submission, network, doubtful, said):
    """Sizes, network and layouts to be tried: usual sizes with several kinds of networks, then with one output, then
    those that are looked for, unless there are `doubtful` answers; what takes batches is asked for them before it is
    asked for one sample at a time. Where all that is `said` so far is the same, usual sizes get a third of the time."""
    known = submission.layouts(layouts(submission.declared.layout()))
    batches, single = ([one for one in known if one.one_sample is alone] for alone in (False, True))
    first, depths = _sizes(submission, network)
    if network is None and first and not submission.sizes():  # where layers have to be alike, one layer hides the bug
        first = [first[0], (3,) * len(first[0]), *first[1:]]
    begun = _spent(submission)
    for one in _usual_tries(submission, network, first, depths, batches, single):
        if _spent(submission) - begun > (SEARCH / 3 if _nothing_else(said) else SEARCH):
            break
        yield one
    if network is not None or (doubtful and not _by_chance(submission, doubtful)):
        return
    told, seen = set(widths.told(getattr(submission, "pairs", ()), depths)), set()
    for sizes in _searched(submission, depths, known, doubtful, told):
        for some in (batches, single) if sizes not in seen else ():
            yield sizes, _first_kinds(sizes)[0], some, True
        seen.add(sizes)
        if (sizes in told or len(doubtful) > ENOUGH) and doubtful and not _by_chance(submission, doubtful):
            return  # the code tells of these sizes, and gives gradients of their shapes, right or not


def _nothing_else(said):
    """Whether one thing is said for all that is tried, other than what code says of cases that it does not claim."""
    return len(said) < 2 and not any(one.startswith("NotImplementedError") for one in said)


def _searched(submission, depths, known, doubtful, told):
    """Sizes of examples worked by hand, then those that are looked for; what takes layers of several equal widths is
    written for none."""
    if submission.kind != "function":
        yield from (sizes for depth in depths for sizes in material.WIDTHS.get(depth, ())[1:])
        return
    yield from ((3,) * (depth + 1) for depth in depths if depth in material.WIDTHS)
    yield from (sizes for sizes in CLASSIC if len(sizes) - 1 in depths)
    equal = {form.sizes for _, some in doubtful for form in some if len(set(form.sizes)) == 1}
    if told or len(equal) < 2 or _by_chance(submission, doubtful):
        yield from widths.suiting(submission, depths, known, _labelled, SECONDS)


def _by_chance(submission, doubtful):
    """Whether all that fits is the length of a vector, as weights of other sizes may have it."""
    layouts = [form.layout for score, some in doubtful for form in some if score <= 1]
    found = [getattr(submission, "forms", {}).get(layout) for layout in layouts]
    return len(layouts) == sum(len(some) for _, some in doubtful) and all(
        one is not None and one.params in FLAT for one in found
    )


def _spent(submission):
    """Processor seconds here and in the submission's process."""
    return time.process_time() + getattr(getattr(submission, "function", None), "spent", 0.0)


def _usual_tries(submission, network, first, depths, batches, single):
    """Those but for the sizes that are looked for."""
    for sizes in first:
        kinds = [network] if network else _first_kinds(sizes)
        for kind in kinds if submission.takes_network else kinds[:1]:
            yield sizes, kind, batches, False
    for sizes in _looped(submission, depths):
        for some in (batches, single):
            yield sizes, _first_kinds(sizes)[0], some, True
    for sizes in first:
        yield sizes, network or _first_kinds(sizes)[0], batches, True
    alone = [] if network else [material.OTHER_WIDTHS[depth][-1] for depth in depths if depth in material.OTHER_WIDTHS]
    for sizes, some in (*((one, batches) for one in alone), *((one, single) for one in (*first, *alone))):
        if some:
            yield sizes, network or _first_kinds(sizes)[0], some, True


def _looped(submission, depths):
    """Sizes over which the code loops, the deepest networks first."""
    ranges = getattr(submission, "ranges", ())
    return widths.told(ranges, sorted((depth for depth in depths if depth > 1), reverse=True))[:LOOPED]


@functools.lru_cache(1024)
def _labelled(sizes, layout):
    """A case with one-hot labels."""
    params = material.parameters(sizes, biases=_all(layout, len(sizes) - 1))
    x, y = material.batch(sizes, material.SAMPLES, hard=True)
    return material.case(_first_kinds(sizes)[0], params, x, y)


def _sizes(submission, network):
    """Sizes that most code takes, one of each depth; and the depths in which others are looked for."""
    if network is not None:
        return [network.sizes], []
    fixed = submission.sizes()
    if fixed:
        return fixed, []
    guess = submission.depth if submission.depth in material.WIDTHS else None  # numbers in names may mean neurons
    depth = submission.n_layers or guess
    depths = [depth] if depth else [2, 1, 3, 4]
    return [material.WIDTHS[depth][0] for depth in depths if depth in material.WIDTHS], depths


@functools.lru_cache(64)
def _first_kinds(sizes):
    """A few networks of different kinds: code for some of them only answers one of these."""
    hidden = ["sigmoid", "relu", "tanh"] if len(sizes) > 2 else ["linear"]
    last = [("sigmoid", "sse"), ("softmax", "ce"), ("linear", "mse"), ("sigmoid", "bce")]
    last = [pair for pair in last if sizes[-1] > 1 or pair[0] != "softmax"]
    return [Network(sizes, [inner] * (len(sizes) - 2) + [outer], loss) for outer, loss in last for inner in hidden]


def score(submission, network, layout, hard) -> float:
    """How well a layout suits: see `_score`."""
    return _score(submission, network, layout, hard)[0]


def _score(submission, network, layout, hard):
    """How well a layout suits, why there is no answer, and which layers have a bias by it.

    0: no answer; 1: gradients of fitting shapes; 2: those of the first layer are x times something, sample by sample;
    `BEST`: and those of every layer something times db, or, in sizes that are all distinct, times anything. Half a
    point less where db has another shape than b.
    """
    every = _all(layout, network.n_layers)
    params = material.parameters(network.sizes, biases=every)
    x, y = material.batch(network.sizes, material.SAMPLES, hard=hard)
    one = submission.answer(material.case(network, params, x, y), layout, twice=False)
    values = None if one.values is None else checked(one.values, network.sizes)
    if values is None:
        return 0, one.problem or one.left_out or "its gradients have other shapes than its weights", every

    of_all = not _by_samples(one.values.db, network.sizes, len(x))

    def answer(row, label):
        single = submission.answer(material.case(network, params, row, label), layout, twice=False)
        return None if single.values is None else checked(single.values, network.sizes, of_all)

    biased = tuple(part is not None for part in one.values.db or [None] * len(values.dW or ()))
    for s in range(len(x)):
        values, second = two_answers(functools.partial(answer, x[s : s + 1]), y)
        if values is None or values.dW is None or np.any(values.dW[0]):  # relus may let nothing of a sample through
            break
    if values is None or values.dW is None:
        return (0, "it returns a loss and no gradients", every) if values is not None else (1, "", every)
    if second is None or second.dW is None:
        return 1, "", biased
    distinct = len(set(network.sizes)) == len(network.sizes)
    if same(second.dW[0], values.dW[0], 1e-9):  # another label changes nothing there, as where delta is a slope alone
        alike = network.n_layers > 1 and is_outer(x[s], None, values.dW[0]) and np.any(values.dW[0])
        above = alike and distinct and outer_layers(x[s], values, second) >= network.n_layers - 1
        return (BEST - 0.5 if above else 1), "", biased
    form = getattr(submission, "forms", {}).get(layout)
    if form is not None and form.ones and values.db and second.db and all(map(np.array_equal, values.db, second.db)):
        return 1, "", biased  # code without biases leaves those alone that we put into W
    suits = _suiting(x[s], values, second)
    if suits < 2 and distinct:  # no other layout has these shapes: it is db
        suits = max(suits, _suiting(x[s], values._replace(db=None), second._replace(db=None)))
    odd = bool(_odd(one.values.db, network.sizes, len(x)))
    across = suits == 2 and _across(submission, network, layout, hard)
    return (1, 2, BEST)[suits] - (0.5 if odd else 0.0) - across, "", biased


def _across(submission, network, layout, hard):
    """Whether b stands across single samples, so that adding it makes several of one: what turns b takes a batch."""
    if not layout.one_sample or (layout.samples, layout.biases) not in {("rows", "column"), ("columns", "row")}:
        return False
    return not _score(submission, network, layout._replace(one_sample=False), hard)[0]


def _suiting(x, one, two):
    """0: no outer product in the first layer; 1: one there; 2: in every layer; a db of zeros tells nothing."""
    one, two = (part._replace(db=part.db and [_told(db) for db in part.db]) for part in (one, two))
    if not outer_layers(x, *(part._replace(dW=part.dW[:1], db=part.db and part.db[:1]) for part in (one, two))):
        return 0
    return 2 if outer_layers(x, one, two) == len(one.dW) else 1


def _told(db):
    return db if db is not None and np.any(db) else None


def _all(layout, n_layers):
    """Biases in every layer, or in none."""
    return (layout.biases != "none",) * n_layers
