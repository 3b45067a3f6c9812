"""JavaScript of every activation, loss and update rule, written by the rules of `backprop_ref.formulas` themselves.

Each is a function over a row of binary64 numbers. With the elementary functions that they call they are the part of
the page that trains which no hand has written.
"""

import json
from collections.abc import Mapping
from typing import ClassVar

from backprop_ref.formulas import (
    ACTIVATIONS,
    LOSSES,
    OWN_ACTIVATIONS,
    TERMS,
    UPDATES,
    Settings,
    Update,
    clipped,
    decay,
    decoupled_decay,
    lasso,
)

from .cuda_rules import NUMBER, with_number
from .expressions import WORDS, Node, leaf, leaves
from .plain_code import JavaScript, elementary, number

LOOP = "for (let j = 0; j < n_out; ++j)"
SCRATCH = "scratch_j[j]"


class Rules(JavaScript):
    """JavaScript in which the root is the language's own, which IEEE 754 rounds correctly."""

    words: Mapping[str, str] = {**JavaScript.words, "sqrt": "Math.sqrt"}
    constants: ClassVar[Mapping[str, str]] = {"bits": "", "bias": "", "field": "", "round": ""}


def source() -> str:
    """All of them, as declarations of functions and of the tables ACTIVATIONS, TERMS, LOSSES and UPDATES."""
    texts = [text.format(**Rules.constants) for text in Rules.functions.values()]
    for name, body in elementary("float64").items():
        writer = Rules((body,), "float64")
        texts.append(Rules.function(name, {"x": "number"}, [*writer.lines, f"return {writer.results[0]};"]))
    texts.append(
        _table("ACTIVATIONS", {name: _activation(name) for name in ACTIVATIONS if name not in OWN_ACTIVATIONS})
    )
    texts.append(_table("TERMS", {name: _terms(name) for name in TERMS}))
    texts.append(f"const LOSSES = {json.dumps({name: _loss(name) for name in LOSSES}, indent=2)};\n")
    W, g, limit, strength = map(leaf, ("W", "g", "limit", "strength"))
    texts.append(_scalar("clipped", clipped(WORDS, g, limit), "g", "limit"))
    texts.append(_scalar("lasso", lasso(WORDS, W, g, strength), "W", "g", "strength"))
    texts.append(_scalar("decay", decay(W, g, strength), "W", "g", "strength"))
    texts.append(_scalar("decoupled_decay", decoupled_decay(W, strength), "W", "strength"))
    texts.append(_table("UPDATES", {name: _update(rule) for name, rule in UPDATES.items()}))
    return "\n".join(texts)


def _table(name: str, entries: Mapping[str, list[str]]) -> str:
    inside = "".join(
        f"  {key}: {{\n" + "".join(f"    {line}\n" for line in body) + "  },\n" for key, body in entries.items()
    )
    return f"const {name} = {{\n{inside}}};\n"


def _scalar(name: str, result: Node, *arguments: str) -> str:
    writer = Rules((result,), "float64")
    given = dict.fromkeys(arguments, "number")
    return Rules.function(name, given, [*writer.lines, f"return {writer.results[0]};"])


def _leaves(by_rows: bool, *names: str) -> list[Node]:
    return [leaf(f"{name}_j[j]", in_row=by_rows) for name in names]


def _activation(name: str) -> list[str]:
    rule, given = with_number(ACTIVATIONS, name)
    z, a, da = _leaves(rule.by_rows, "z", "a", "da")
    forward = _over(rule.forward(WORDS, z), rule.by_rows, "a_j[j] = {};", "a_j[j]")
    backward = _over(rule.backward(WORDS, z, a, da), rule.by_rows, "delta_j[j] = {};", "delta_j[j]")
    return [
        *([f"{NUMBER}: {number(ACTIVATIONS.families[name].default)},"] if given else []),
        f"by_rows: {json.dumps(rule.by_rows)},",
        *_method(f"forward(z_j, a_j, n_out, {NUMBER})", forward),
        *_method(f"backward(z_j, a_j, da_j, delta_j, n_out, {NUMBER})", backward),
    ]


def _terms(name: str) -> list[str]:
    pair, given = with_number(TERMS, name)
    z, a, y = _leaves(pair.by_rows, "z", "a", "y")
    terms = _over(leaf("loss") + pair.terms(WORDS, z, a, y), pair.by_rows, "loss = {};")
    error = _over(pair.error(WORDS, z, a, y) / leaf("n"), pair.by_rows, "error_j[j] = {};")
    return [
        *([f"{NUMBER}: {number(TERMS.families[name].default)},"] if given else []),
        f"threshold: {number(pair.threshold)},",
        *_method(f"terms(z_j, a_j, y_j, n_out, loss, {NUMBER})", [*terms, "return loss;"]),
        *_method(f"error(z_j, a_j, y_j, n, error_j, n_out, {NUMBER})", error),
    ]


def _loss(name: str) -> dict[str, object]:
    loss = LOSSES[name]
    return {
        "short": loss.short,
        "over_outputs": loss.over_outputs,
        "alone": loss.alone,
        "together": dict(loss.together),
        "outputs": [each for each in loss.outputs if each not in OWN_ACTIVATIONS],
    }


def _over(result: Node, by_rows: bool, stored: str, row: str = SCRATCH) -> list[str]:
    """Statements that compute a result for each entry of a row, and store it."""
    writer = Rules((result,), "float64", row if by_rows else None)
    last = stored.format(writer.results[0])
    if not by_rows:
        return [f"{LOOP} {{", *(f"  {line}" for line in [*writer.lines, last]), "}"]
    assert SCRATCH not in " ".join(writer.lines), "a rule that needs a row of its own"
    return [*writer.lines, LOOP, f"  {last}"]


def _method(head: str, lines: list[str]) -> list[str]:
    return [f"{head} {{", *(f"  {line}" for line in lines), "},"]


def _update(rule: Update) -> list[str]:
    given = Settings(*map(leaf, Settings._fields))
    state = [f"{name}_i[i]" for name in rule.state]
    results = rule.step(WORDS, given, leaf("W_i[i]"), leaf("g_i[i]"), *map(leaf, state))
    writer = Rules(results, "float64")
    used = {name for result in results for name in leaves(result)} & {*Settings._fields}
    places = zip(reversed(["W_i[i]", *state]), reversed(writer.results), strict=True)
    lines = [*writer.lines, *(f"{place} = {result};" for place, result in places)]
    return [
        f"state: {json.dumps(list(rule.state))},",
        *_method(
            f"step(W_i, g_i, [{', '.join(f'{name}_i' for name in rule.state)}], settings)",
            [
                f"const {{ {', '.join(name for name in Settings._fields if name in used)} }} = settings;",
                "for (let i = 0; i < W_i.length; ++i) {",
                *(f"  {line}" for line in lines),
                "}",
            ],
        ),
    ]
