"""The table of formulas against a witness that shares nothing with it: SymPy differentiates each forward formula.

A row has `WIDTH` entries. Each entry's sign is known to SymPy, and a number that it stands near, so that every choice
in a formula is made, and every side of it is looked at.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import sympy

from backprop_ref import formulas
from backprop_ref.conformance import gradcheck
from backprop_ref.conformance.rounding import rules, truth
from backprop_ref.formulas import ACTIVATIONS, LOSSES, TERMS

PAGE = Path(__file__).parent.parent / "ci/formulas_page.py"
WIDTH = 2
SIGNS = list(itertools.product(("positive", "negative"), repeat=WIDTH))
PLACES = {"positive": 1, "negative": -1, "far above": 15, "far below": -15}
"""Where entries stand, in thirds."""
FAR = [*SIGNS, ("far above", "far below"), ("far below", "positive")]
NAMES = [*ACTIVATIONS, "elu(0.5)", "leaky_relu(0.25)"]


class Row:
    """A row of expressions; operators act entry by entry."""

    def __init__(self, entries):
        self.entries = list(entries)

    def _with(self, other, operation):
        others = other.entries if isinstance(other, Row) else [_exact(other)] * len(self.entries)
        return Row(operation(a, b) for a, b in zip(self.entries, others, strict=True))

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._with(other, lambda a, b: a / b)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return -self + other

    def __rtruediv__(self, other):
        return self._with(other, lambda a, b: b / a)

    def __neg__(self):
        return Row(-a for a in self.entries)

    def __abs__(self):
        return Row(abs(a) for a in self.entries)

    def __gt__(self, other):
        return self._with(other, lambda a, b: a > b)

    def __ge__(self, other):
        return self._with(other, lambda a, b: a >= b)

    def __lt__(self, other):
        return self._with(other, lambda a, b: a < b)

    def __le__(self, other):
        return self._with(other, lambda a, b: a <= b)


IRRATIONAL = {float(exact): exact for exact in (sympy.sqrt(2) / 2, 1 / sympy.sqrt(2 * sympy.pi))}


def _exact(number):
    if not isinstance(number, float):
        return number
    return IRRATIONAL.get(number) or sympy.nsimplify(number, rational=True)


class Symbolic(formulas.Arithmetic):
    """The words of the formulas over rows; the largest of a row is a symbol of its own, as it has to cancel."""

    def __getattr__(self, name):
        own = {"log1p": lambda x: sympy.log(1 + x), "expm1": lambda x: sympy.exp(x) - 1}
        function = own.get(name) or getattr(sympy, name)
        return lambda x: Row(map(function, x.entries))

    def where(self, condition, yes, no):
        yes, no = (each if isinstance(each, Row) else Row([_exact(each)] * WIDTH) for each in (yes, no))
        decided = [sympy.sympify(one).subs(near) for one in condition.entries]
        assert {*decided} <= {sympy.true, sympy.false}, "a choice that the numbers near do not decide"
        return Row(
            a if holds == sympy.true else b for holds, a, b in zip(decided, yes.entries, no.entries, strict=True)
        )

    def width(self, x):
        return Row([sympy.Integer(WIDTH)] * WIDTH)

    def largest(self, x):
        return Row([sympy.Symbol("largest", real=True)] * WIDTH)

    def total(self, x):
        return Row([sympy.Add(*x.entries)] * WIDTH)


M = Symbolic()


near = {}
"""A number near each symbol."""


def symbols(name, places=None):
    found = []
    for j in range(WIDTH):
        place = PLACES[places[j]] if places else 0
        found.append(sympy.Symbol(f"{name}{j}", **{"positive" if place > 0 else "negative" if place else "real": True}))
        near[found[-1]] = sympy.Rational(place, 3)
    return Row(found)


def assert_equal(found, wanted):
    for a, b in zip(found.entries, wanted, strict=True):
        assert sympy.simplify((a - b).rewrite(sympy.exp)) == 0


@pytest.mark.few(None, 40)
@pytest.mark.parametrize("signs", FAR, ids="-".join)
@pytest.mark.parametrize("name", NAMES)
def test_each_backward_formula_is_the_derivative_of_its_forward_one(name, signs):
    rule, z, da = ACTIVATIONS[name], symbols("z", signs), symbols("da")
    a = rule.forward(M, z)
    wanted = [
        sum(da_i * sympy.diff(a_i, z_j) for da_i, a_i in zip(da.entries, a.entries, strict=True)) for z_j in z.entries
    ]
    assert_equal(rule.backward(M, z, a, da), wanted)
    assert rule.by_rows == any(
        sympy.simplify(sympy.diff(a_i, z_j)) != 0 for a_i, z_j in ((a.entries[0], z.entries[1]),)
    )
    if rule.z_for_a and not rule.by_rows:
        numbers = {entry: near[entry] for entry in z.entries}
        values = Row(sympy.sympify(entry).subs(numbers) for entry in a.entries)
        without_z, with_z = rule.backward(M, values, values, da), rule.backward(M, Row(numbers.values()), values, da)
        assert_equal(without_z, with_z.entries)


@pytest.mark.parametrize("signs", SIGNS, ids="-".join)
@pytest.mark.parametrize(
    ("loss", "output"),
    [*((name, output) for name, loss in LOSSES.items() for output in loss.together), ("cross_entropy(0.1)", "softmax")],
)
def test_each_error_is_the_derivative_of_the_loss_and_the_output_activation_as_one(loss, output, signs):
    z, y = symbols("z", signs), symbols("y")
    pair, a = LOSSES[loss].with_output(output), ACTIVATIONS[output].forward(M, z)
    total = sympy.Add(*pair.terms(M, z, a, y).entries)
    assert_equal(pair.error(M, z, a, y), [sympy.diff(total, z_j) for z_j in z.entries])


@pytest.mark.parametrize("loss", [*(name for name, loss in LOSSES.items() if loss.alone is not None), "huber(0.5)"])
@pytest.mark.parametrize("signs", FAR, ids="-".join)
def test_each_error_of_a_loss_by_itself_is_its_derivative(loss, signs):
    """a − y has the sign of a, as y is near 0; labels of both signs."""
    a, y = symbols("a", signs), symbols("y", signs[::-1] if loss.endswith("hinge") else None)
    pair = LOSSES[loss].with_output("linear")
    total = sympy.Add(*pair.terms(M, None, a, y).entries)
    derivative = [sympy.diff(total, a_j) for a_j in a.entries]
    assert_equal(settled(pair.error(M, None, a, y)), settled(Row(derivative)).entries)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("wrong", [lambda a: a * 2, lambda a: a + 1, lambda a: -a], ids=["twice", "more", "sign"])
@pytest.mark.few(6)
def test_a_wrong_backward_formula_is_noticed(name, wrong):
    rule, z, da = ACTIVATIONS[name], symbols("z", ["positive"] * WIDTH), symbols("da")
    planted = wrong(rule.backward(M, z, rule.forward(M, z), da))
    with pytest.raises(AssertionError):
        assert_equal(planted, rule.backward(M, z, rule.forward(M, z), da).entries)


def settled(row):
    """The row with the sign of each a − y as it is near the numbers that a and y stand for."""

    def sign(x):
        return sympy.sign(x.subs(near))

    return Row(
        sympy.sympify(entry).replace(sympy.sign, sign).replace(sympy.Abs, lambda x: sign(x) * x)
        for entry in row.entries
    )


def missing(name):
    """What has not been told of an activation, in words: which witness, and where."""
    conformance = Path(gradcheck.__file__).parent
    slope = name in WITHOUT_SLOPE or hasattr(rules.Rules, f"{name}_slope")
    witnesses = {
        "has no exact form: conformance/rounding/truth.py (ENTRYWISE)": name in truth.ENTRYWISE or name == "softmax",
        "has no complex form: conformance/gradcheck.py (COMPLEX)": name in gradcheck.COMPLEX,
        "has no bound: conformance/rounding/rules.py (Rules)": hasattr(rules.Rules, name) and slope,
        "is not in the example in C: conformance/examples/mlp.c": f'"{name}"'
        in (conformance / "examples/mlp.c").read_text("utf-8"),
    }
    return [f"{name} {what}" for what, there in witnesses.items() if not there]


WITHOUT_SLOPE = {"softmax", "linear", "relu", "leaky_relu"}
"""Whose errors the bounds carry back by other rules than a slope."""


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_witness_knows_every_activation(name):
    assert missing(name) == []


def missing_of_loss(name):
    """The same of a loss: which of the witnesses does not have its name."""
    files = {
        "has no exact form": "rounding/truth.py",
        "has no complex form": "gradcheck.py",
        "has no bound": "rounding/rules.py",
        "is not in the example in C": "examples/mlp.c",
    }
    conformance = Path(gradcheck.__file__).parent
    texts = {what: (conformance / file).read_text("utf-8") for what, file in files.items()}
    return [f"{name} {what}: conformance/{files[what]}" for what, text in texts.items() if f'"{name}"' not in text]


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in formulas.USUAL_LOSSES])
def test_every_witness_knows_every_rare_loss(name):
    assert missing_of_loss(name) == []
    assert len(missing_of_loss(f"{name} that is none")) == 4


def test_what_a_new_activation_lacks_is_said():
    assert missing("unheard_of") == [
        "unheard_of has no exact form: conformance/rounding/truth.py (ENTRYWISE)",
        "unheard_of has no complex form: conformance/gradcheck.py (COMPLEX)",
        "unheard_of has no bound: conformance/rounding/rules.py (Rules)",
        "unheard_of is not in the example in C: conformance/examples/mlp.c",
    ]


def test_the_page_lists_them():
    done = subprocess.run([sys.executable, PAGE, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_pair_has_one_name():
    every = [*LOSSES.values(), LOSSES["cross_entropy(0.1)"]]
    assert {loss.terms(output) for loss in every for output in loss.outputs} == set(TERMS)
    assert len({loss.short for loss in LOSSES.values()}) == len(LOSSES)
