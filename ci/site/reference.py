"""The pages that are made of the code: names of Python, commands, keys of a configuration, formulas."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from figures import ACTIVATION_FIGURES, activation

import backprop_ref as br
from backprop_ref.cli.app import command
from backprop_ref.experiments.schema import Config
from backprop_ref.formulas import ACTIVATIONS, LOSSES, UPDATES
from backprop_ref.report.derivations.documents import Equation, Html
from backprop_ref.report.derivations.trees import Symbol, Symbolic

VECTORS = Path(br.__file__).parent / "conformance/data/vectors"

# group of public names -> the parts of the package that they are defined in
GROUPS = {
    "Networks and parameters": ("network", "parameters"),
    "Gradients": ("api", "derivatives", "dropout", "backends.base.Trace"),
    "Training": (
        "training",
        "optimizers",
        "traces",
        "commands.run",
        "commands.reproduce",
        "commands.sweep",
        "commands.report",
    ),
    "In notebooks": ("commands.explorer", "notebook"),
    "Checking": ("checking", "conformance", "commands"),
    "Data": ("data", "blocks"),
    "Other libraries": ("exchange",),
    "Where it is computed": ("backends", "settings"),
    "Errors": ("errors",),
}


ROUTING = "set_fit_request, set_partial_fit_request, set_score_request"
"""Methods that scikit-learn adds, whose docstrings are of its own site."""


def reference() -> dict[str, str]:
    """Every page by its place on the site."""
    return {
        "reference/api.md": api(),
        "reference/commands.md": commands(),
        "reference/configuration.md": configuration(),
        "reference/formulas.md": formulas(),
        "reference/vectors.md": vectors(),
    }


def api() -> str:
    """Every public name, in groups; a name that is in none is an error."""
    left = {
        name: f"{getattr(br, name).__module__}.{name}".removeprefix("backprop_ref.")
        for name in br.__all__
        if name != "__version__"
    }
    parts = ["# Python\n\n`import backprop_ref as br`; every name is typed, and every example is run by the tests.\n"]
    for title, prefixes in GROUPS.items():
        names = sorted((name for name, place in left.items() if place.startswith(prefixes)), key=str.lower)
        parts += [f"## {title}\n", documented("backprop_ref", names)]
        left = {name: place for name, place in left.items() if name not in names}
    assert not left, f"in no group of ci/site/reference.py: {', '.join(left)}"
    import backprop_ref.sklearn as estimators

    parts += ["## Estimators\n", documented("backprop_ref.sklearn", estimators.__all__)]
    parts += ["## In tests\n", documented("backprop_ref.testing", ["assert_gradients_right"])]
    return "\n".join(parts)


def documented(module: str, names: Iterable[str]) -> str:
    """Directives for autodoc."""
    lines = ["```{eval-rst}"]
    for name in names:
        thing = getattr(__import__(module, fromlist=[name]), name)
        kind = "function" if not isinstance(thing, type) else "exception" if issubclass(thing, Exception) else "class"
        lines += [
            f".. auto{kind}:: {module}.{name}",
            *(["   :members:", f"   :exclude-members: {ROUTING}"] if kind == "class" else []),
            "",
        ]
    return "\n".join([*lines, "```\n"])


def commands() -> str:
    """What each command takes, as ``--help-all`` tells it."""
    whole = command()
    parts = [
        "# Commands\n\n`backprop-ref COMMAND --help` says the same. `train` takes every flag of "
        "[Configuration](configuration.md).\n"
    ]
    for name, each in whole.commands.items():
        if not each.hidden:
            below = getattr(each, "commands", {})
            parts += described(name, each)
            for inner, one in below.items():
                parts += described(f"{name} {inner}", one)
    return "\n".join(parts)


def described(name: str, each: Any) -> Iterator[str]:
    """A command: what it is for, an example, its arguments and flags."""
    yield f"## {name}\n"
    yield f"{escaped(each.help or '')}\n"
    examples = [line for line in (each.epilog or "").splitlines() if line.startswith("backprop-ref")]
    if examples:
        yield "```sh\n" + "\n".join(examples) + "\n```\n"
    shown = [each for each in each.params if not getattr(each, "hidden", False) and each.help and each.name != "help"]
    if shown:
        yield "| | |\n|---|---|"
        for parameter in shown:
            flags = (
                parameter.metavar or parameter.name
                if parameter.opts[0][0] != "-"
                else ", ".join([*parameter.opts, *parameter.secondary_opts])
            )
            yield f"| `{flags}` | {escaped(parameter.help)} |"
        yield ""


def configuration() -> str:
    """Every key of the YAML file, with its flag."""
    parts = ["# Configuration\n\nKeys of a file for `--config`, and their flags. [Training](../training.md) has one.\n"]
    for section, part in Config.model_fields.items():
        of: Any = part.annotation
        parts += [f"## {section}\n", "| key | flag | default | |\n|---|---|---|---|"]
        for name, info in of.model_fields.items():
            default = "" if info.default is None else f"`{info.default}`"
            flag = info.json_schema_extra["flag"]
            parts.append(f"| `{info.alias or name}` | `{flag}` | {default} | {escaped(info.description)} |")
        parts.append("")
    return "\n".join(parts)


def formulas() -> str:
    """Every activation with its formulas and a picture, every loss, every update rule."""
    m, z, a, da = Symbolic(0), *(Symbol(name) for name in ("z", "a", "da"))
    parts = [
        "# Formulas\n\nMade of the table that every backend computes by, `backprop_ref/formulas.py`: what is "
        "written here is what runs. [Gradients](../gradients.md) says what the losses average over, and "
        "[Arithmetic](../arithmetic.md) in which order.\n",
        "## Activations\n",
    ]
    for name, rule in ACTIVATIONS.items():
        parts.append(f"### {name}\n")
        if name not in ACTIVATION_FIGURES:
            parts.append(
                "Each output depends on every z of its row: aⱼ = exp(zⱼ) / Σᵢ exp(zᵢ), and δⱼ = aⱼ·(daⱼ − Σᵢ daᵢ·aᵢ).\n"
            )
            continue
        parts += [
            equations(("a", rule.forward(m, z)), ("δ", rule.backward(m, z, a, da))),
            f"<figure>\n{activation(name)}\n</figure>\n",
        ]
    parts.append("## Losses\n\n| loss | is the mean of |\n|---|---|")
    parts += [f"| `{name}` | {escaped(loss.meaning)} |" for name, loss in LOSSES.items()]
    parts.append("\n## Update rules\n\n| rule | does |\n|---|---|")
    parts += [f"| {name} | {escaped(rule.step.__doc__ or '')} |" for name, rule in UPDATES.items()]
    return "\n".join(parts) + "\n"


def vectors() -> str:
    """What the golden vectors hold, as their own index and schema say it."""
    index, schema = (json.loads((VECTORS / name).read_text("utf-8")) for name in ("index.json", "schema.json"))
    parts = [
        f"# Golden vectors\n\n{len(index['cases'])} cases, a JSON file each, in "
        f"`backprop_ref/conformance/data/vectors/cases/`: format {index['format']}, [arithmetic](../arithmetic.md) "
        f"{index['arithmetic']}. [Verify](../verify.md) says how to answer them, and each names the "
        "[bugs](../bugs.md) that show on it.\n",
        "## Conventions\n\n| | |\n|---|---|",
    ]
    parts += [f"| {escaped(name)} | {escaped(meaning)} |" for name, meaning in index["conventions"].items()]
    parts.append("\n## A case\n\n| key | |\n|---|---|")
    for name, key in schema["properties"].items():
        inner = "; ".join(
            f"{inside}: {of['description']}" for inside, of in key.get("properties", {}).items() if "description" in of
        )
        parts.append(f"| `{name}` | {escaped(key.get('description') or inner or said_by_type(key))} |")
    return "\n".join(parts) + "\n"


def said_by_type(key: dict[str, Any]) -> str:
    """What a key is, where its schema says no more."""
    if "const" in key:
        return f"always {key['const']}"
    return str(key.get("$ref", key.get("type", ""))).removeprefix("#/$defs/")


def equations(*named: tuple[str, Any]) -> str:
    """Formulas as MathML."""
    page = Html(5, 8)
    return "\n".join(page._block(Equation(((Symbol(name), {}), (tree, {})))) for name, tree in named) + "\n"


def escaped(text: str) -> str:
    """Text for a cell or a paragraph of Markdown."""
    for sign in "\\*_<>|[]$":
        text = text.replace(sign, f"\\{sign}")
    return text
