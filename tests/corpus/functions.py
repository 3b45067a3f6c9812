"""Functions, right and wrong, written from seeds."""

import contextlib
import dataclasses
import functools
import itertools
import random

from . import truth
from .kinds import BY_ID, KINDS, Kind, returning_loss, returning_no_loss
from .plan import Plan
from .program import Planted, Program
from .spec import ENTROPY, SQUARED, Spec, draw, draw_net, unusual

FACTORS = {"factor", "loss"}
RATED = {"updated-within-batch", "updated-weights", "updated-going-back"}
TRIES = 400


class Unfit(Exception):
    """A draw that shows nothing."""


def right(seed: int) -> Program:
    """A right function."""
    rng = random.Random(f"right {seed}")
    spec = without_undeclared_penalty(unusual(rng, draw(rng, draw_net(rng))))
    if spec.signature == "network" and not spec.penalty and rng.random() < 0.2:
        spec = dataclasses.replace(spec, decay_keyword=True)
    source = Plan(spec).source()
    if rng.random() < 0.3:  # relu'(0) = 1 is a convention
        source = source.replace("return (z > 0).astype", "return (z >= 0).astype")
    return Program(f"right-{seed}", "right", source, spec.name, "right", about=about(spec), spec=spec)


def unknown(seed: int, bug: bool) -> Program:
    """A function with an activation or a loss that the project has not; each returns its own loss."""
    rng = random.Random(f"unknown {seed} {bug}")
    for _ in range(TRIES):
        spec = draw(rng, draw_net(rng, unknown=True), simple=True)
        spec = returning_loss(dataclasses.replace(spec, penalty=0.0))
        group = "unknown-wrong" if bug else "unknown-right"
        if not bug:
            return Program(
                f"{group}-{seed}", group, Plan(spec).source(), spec.name, "own", about=about(spec), spec=spec
            )
        kind = rng.choice([kind for kind in KINDS if kind.rule in {"slope", "carry", "dW", "db", "output"}])
        try:
            return planted(rng, (kind,), spec, f"{group}-{seed}", group)
        except Unfit:
            continue
    raise Unfit(f"nothing was found for {group}-{seed}")


def rare(seed: int) -> Program:
    """A right function with an activation or a loss that few use."""
    rng = random.Random(f"rare {seed}")
    spec = draw(rng, draw_net(rng, rare=True), simple=True)
    spec = returning_loss(dataclasses.replace(spec, penalty=0.0))
    return Program(
        f"rare-right-{seed}", "rare-right", Plan(spec).source(), spec.name, "right", about=about(spec), spec=spec
    )


def single(seed: int) -> Program:
    """A function with one bug; the kinds take turns."""
    kind = KINDS[seed % len(KINDS)]
    return wrong(f"single-{seed}", "single", lambda rng: (kind,))


def pair(seed: int) -> Program:
    """A function with two bugs that act on different rules, drawn."""
    return wrong(f"pair-{seed}", "pair", lambda rng: several(rng, 2))


def every_pair(seed: int) -> Program:
    """The pairs in turn; raises `Unfit` for those that no network shows, such as a softmax's with a sigmoid's."""
    pairs = compatible_pairs()
    kinds = pairs[seed % len(pairs)]
    return wrong(f"pair-{kinds[0].id}-{kinds[1].id}-{seed // len(pairs)}", "pair", lambda rng: kinds)


@functools.cache
def compatible_pairs() -> list[tuple[Kind, ...]]:
    """Pairs of kinds that act on different rules, in an order that spreads them."""
    kinds = [kind for kind in KINDS if not kind.alone]
    pairs: list[tuple[Kind, ...]] = [pair for pair in itertools.combinations(kinds, 2) if apart(pair)]
    random.Random("pairs").shuffle(pairs)
    return pairs


def triple(seed: int) -> Program:
    """A function with three."""
    return wrong(f"triple-{seed}", "triple", lambda rng: several(rng, 3))


def several(rng: random.Random, number: int) -> tuple[Kind, ...]:
    """Kinds that act on different rules; half of the draws need no loss to be told from a convention."""
    needs_loss = rng.random() < 0.5
    pool = [kind for kind in KINDS if not kind.alone and (needs_loss or not kind.needs_loss)]
    while True:
        kinds = tuple(rng.sample(pool, number))
        if apart(kinds):
            return kinds


def apart(kinds: tuple[Kind, ...]) -> bool:
    """Whether they act on different rules, at most one of them by a factor on everything or on the loss."""
    rules = {"dW" if kind.rule == "batch" else kind.rule for kind in kinds}
    return len(rules) == len(kinds) and len(FACTORS & rules) < 2 and not _cancel(kinds)


def _cancel(kinds):
    """Whether two of them may make one factor of a third kind."""
    ids = {kind.id for kind in kinds}
    scaled = {
        "bias-mean",
        "bias-sum",
        "weights-mean-twice",
        "weights-missing-mean",
        "mean-each-layer",
        "factor-of-one-tensor",
        "decay-of-gradient",
        "bias-in-weight-loop",
    }
    return len(ids & scaled) > 1 or (ids & scaled and any(kind.rule in FACTORS for kind in kinds))


def wrong(key: str, group: str, choose) -> Program:
    """The first draw that shows all of its bugs."""
    rng = random.Random(key)
    for _ in range(TRIES):
        kinds = choose(rng)
        spec = draw(rng, draw_net(rng, depth=rng.choice([1, 1, 1, 2, 2, 3])), simple=rng.random() < 0.8)
        spec = dataclasses.replace(spec, float32=False, update="" if spec.update == "difference" else spec.update)
        if not any(kind.needs_loss for kind in kinds) and rng.random() < 0.4:
            spec = returning_no_loss(spec)
        try:
            return planted(rng, kinds, spec, key, group)
        except Unfit:
            continue
    raise Unfit(f"nothing was found for {key}")


def planted(rng, kinds, spec: Spec, key: str, group: str) -> Program:
    """That spec with those bugs, each of which makes a difference."""
    for kind in kinds:
        spec = kind.prepare(returning_loss(spec) if kind.needs_loss else spec)
    spec = without_undeclared_penalty(spec)
    if any(kind.prepare(spec) != spec for kind in kinds):  # one undid what another needs
        raise Unfit
    placed = []
    for kind in kinds:
        choices = kind.choices(spec)
        if not choices or (kind.needs_loss and not spec.has_loss):
            raise Unfit
        placed.append((kind, rng.choice(choices), rng.randrange(kind.forms)))
    source = text(spec, placed)
    keywords = {"weight_decay": 0.3} if spec.decay_keyword else {}
    if not differs(spec, source, text(spec, []), placed, keywords):
        raise Unfit
    for left_out in range(len(placed)) if len(placed) > 1 else ():
        fewer = [one for number, one in enumerate(placed) if number != left_out]
        if not differs(spec, source, text(spec, fewer), [placed[left_out]], keywords):
            raise Unfit
    if not spec.has_loss and _fewer_with_another_loss(spec, source, placed, keywords):
        raise Unfit
    witness = text(spec.plain(), placed)
    if not keywords and all(kind.rule != "state" for kind in kinds) and right_in_its_own_terms(spec, witness):
        raise Unfit
    truths = tuple(Planted(kind.id, kind.rule, layers, kind.also, form) for kind, layers, form in placed)
    return Program(key, group, source, spec.name, "wrong", truths, about(spec), spec, witness)


def text(spec, placed) -> str:
    """The source with those bugs."""
    plan = Plan(spec)
    for kind, layers, form in placed:
        kind.apply(plan, layers, form)
    return plan.source()


def _with_other_losses(spec):
    """The same spec with each other loss that its output may have: where none is returned, nobody can tell."""
    output = spec.net.activations[-1]
    losses = {"sigmoid": ("squared", "bce"), "softmax": ("squared", "ce")}.get(output, ())
    for loss in losses:
        if loss != spec.net.loss:
            plain = spec.reduction.removeprefix("half-").replace("half", "sum")
            halved = ["half" if plain == "sum" else f"half-{plain}"] if loss == "squared" else []
            for reduction in (*halved, plain):
                net = spec.net._replace(loss=loss)
                yield dataclasses.replace(spec, net=net, reduction=reduction, together=True, logits=False)


def _fewer_with_another_loss(spec, source, placed, keywords) -> bool:
    """Whether a program with fewer of these bugs, and with another loss that nobody sees, gives the same numbers.

    What moves weights by a rate that nobody knows does the same with gradients of another size: it is left out.
    """
    unrated = [one for one in placed if one[0].id not in RATED]
    if 0 < len(unrated) < len(placed):
        placed, source = unrated, text(spec, unrated)
    mine = functools.partial(truth.load(source, spec.name), **keywords)
    for other in _with_other_losses(spec):
        for left_out in range(len(placed)):
            fewer = [one for number, one in enumerate(placed) if number != left_out]
            with contextlib.suppress(ValueError, IndexError, TypeError, KeyError):
                theirs = functools.partial(truth.load(text(other, fewer), spec.name), **keywords)
                if truth.harmless(spec, mine, theirs):
                    return True
    return False


def differs(spec, source, other, placed, keywords) -> bool:
    """Whether two sources differ by more than a convention and rounding."""
    if any(kind.rule == "state" for kind, _, _ in placed):
        return source != other
    try:
        first, second = (truth.load(one, spec.name) for one in (source, other))
        first, second = (functools.partial(one, **keywords) for one in (first, second))
        return not truth.harmless(spec, first, second)
    except (ValueError, IndexError) as error:  # shapes that do not fit
        raise Unfit from error


def right_in_its_own_terms(spec, witness) -> bool:
    """Whether the bugs make up another right program, such as one that never uses b and has no gradient for it."""
    return truth.is_own_gradient(spec.plain(), truth.load(witness, spec.name), seeds=(21, 22, 23), every_entry=False)


def without_undeclared_penalty(spec):
    """A penalty only where the loss shows it."""
    return spec if spec.has_loss else dataclasses.replace(spec, penalty=0.0)


SHOWN = ("labels", "folded", "looped", "inner", "logits", "late", "update", "hard", "float32", "epsilon", "penalty")
"""What is told of a spec where it is so."""


def about(spec) -> str:
    """The spec in one line."""
    layout, special = spec.layout, [(name, getattr(spec, name)) for name in SHOWN]
    biased = "" if all(spec.biased) else f" biases={''.join('10'[not has] for has in spec.biased)}"
    return (
        f"{spec.net.describe()} loss={spec.reduction} W={layout.weights} samples={layout.samples} b={layout.biases} "
        f"f={spec.signature} returns={spec.returns}{biased}"
        + "".join(f" {name}" if value is True else f" {name}={value}" for name, value in special if value)
    )


def same_numbers(program: Program, bug: Planted, kind_id: str) -> bool:
    """Whether a kind instead of that bug, in some form and layers, gives the same numbers but for a convention.

    Where no loss is returned, that of the network may be another one; a factor may be that of another mean or sum.
    """
    spec, kind = program.spec, BY_ID.get(kind_id)
    if spec is None or kind is None or any(one.id not in BY_ID for one in program.planted):
        return False
    keywords = {"weight_decay": 0.3} if spec.decay_keyword else {}
    mine = functools.partial(truth.load(program.source, spec.name), **keywords)
    placed = [(BY_ID[one.id], one.layers, one.form) for one in program.planted]
    place = program.planted.index(bug)
    others = [] if spec.has_loss else list(_with_other_losses(spec))
    if bug.rule in FACTORS:  # what a mean lacks, a sum has
        reductions = SQUARED if spec.net.loss == "squared" else ENTROPY
        others += [dataclasses.replace(spec, reduction=reduction) for reduction in reductions]
    for said in [spec, *others]:
        for layers, form in itertools.product(sorted(set(kind.choices(said))), range(kind.forms)):
            try:
                source = text(said, [*placed[:place], (kind, layers, form), *placed[place + 1 :]])
                other = functools.partial(truth.load(source, spec.name), **keywords)
                if truth.harmless(spec, mine, other):
                    return True
            except Exception:  # it does not fit this program
                continue
    return False
