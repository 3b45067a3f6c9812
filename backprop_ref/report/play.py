"""The page that trains: one HTML file with the engine, its data sets and what it shows, which needs no network."""

from collections.abc import Iterable, Mapping
from string import Template
from typing import Any

from backprop_ref.formulas import ACTIVATIONS, LOSSES, OWN_ACTIVATIONS, together
from backprop_ref.network import loss_name
from backprop_ref.report.derivations import derivation
from backprop_ref.report.derivations.trees import as_data
from backprop_ref.report.embedding import as_json, compressed, hashed, static, styles
from backprop_ref.report.engine import engine
from backprop_ref.version import __version__

SCRIPTS = ("formulas.js", "neurons.js", "diagram.js", "tour.js", "play.js")


def page(content: Mapping[str, Any], activations: Iterable[str] = (), losses: Iterable[tuple[str, str]] = ()) -> str:
    """The whole file as HTML: `content` is what the script finds, with trees of formulas besides.

    activations, losses: those of a run, the losses with the output activation, where they are in no table.
    """
    trees = formulas(activations, losses)
    script = "\n".join(map(static, SCRIPTS))
    style = styles("page.css", "play.css")
    return Template(static("play.html")).substitute(
        policy=_policy(style, engine(), script),
        style=style,
        engine=engine(),
        content=compressed(as_json({**content, "trees": trees})),
        script=script,
        version=__version__,
    )


def _policy(style: str, *scripts: str) -> str:
    """What the browser may do for the page: this style, these scripts, and a worker made of one of them."""
    hashes = " ".join(hashed(script.encode()) for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; worker-src blob:; style-src {hashed(style.encode())}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def formulas(activations: Iterable[str] = (), losses: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """What the page shows and evaluates: of each activation a and delta, of each loss with an output what it gives."""
    names = [name for name in ACTIVATIONS if name not in OWN_ACTIVATIONS]
    pairs = [(loss, output) for loss in LOSSES for output in LOSSES[loss].outputs if output not in OWN_ACTIVATIONS]
    back = tuple(map(derivation.entry, ("z", "a", "da")))
    start = tuple(map(derivation.entry, ("z", "a", "y", "n")))
    return {
        "activations": {
            name: {
                "a": as_data(derivation.forward(name, 2, derivation.Z)),
                "delta": as_data(derivation.backward(name, 2, *back)),
            }
            for name in dict.fromkeys([*names, *activations])
        },
        "losses": {
            f"{loss}/{output}": {
                "error": as_data(derivation.loss_backward(loss_name(loss), output, 2, *start)),
                "together": together(loss, ACTIVATIONS.parts(output)[0]),
            }
            for loss, output in dict.fromkeys([*pairs, *losses])
        },
    }
