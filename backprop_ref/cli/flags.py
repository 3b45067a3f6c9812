"""Command-line flags made from the configuration's schema, so that each key is a flag and each flag a key."""

import inspect
import typing
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from backprop_ref.errors import CommandInterrupted
from backprop_ref.experiments.schema import flags as schema_flags
from backprop_ref.starting import as_usual

BASIC = {
    "--data-path": "A table; for train a folder, too.",
    "--target": "Column to learn; default: the last.",
    "--task": "classification or regression.",
    "--drop": "Columns to leave out.",
    "--missing": "error, drop, mean, median, most-frequent.",
    "--folds": "Parts, of which each is the test once.",
    "--test-size": "Share of the rows for the test, as 0.2.",
    "--validation-size": "Share of the others, for validation.",
    "--hidden": "Widths of hidden layers: 64,32 or none.",
    "--activation": "Of the hidden layers, such as relu.",
    "--loss": "Such as mse or cross_entropy.",
    "--epochs": "Passes over the training rows.",
    "--learning-rate": "Step size; default: sgd 0.1, adam 0.001.",
    "--batch-size": "Rows per update, or full.",
    "--optimizer": "sgd or adam.",
    "--from": "Run from whose weights to start.",
    "--seed": "Seed of everything; default: 1.",
    "--backend": "numpy, numba, torch, jax or cupy.",
    "--run-dir": "New folder; default: ./runs/NAME-N.",
    "--resume": "Folder of a run to go on with.",
    "--json": "Print the results as JSON.",
}
"""What ``--help`` lists, in a line each; ``--help-all`` lists every flag, and says all about it."""


class _Plain:
    """Help in which a flag that takes no value shows none."""

    def get_params(self, ctx):
        parameters = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return parameters


class Command(_Plain, TyperCommand):
    """A command."""

    def invoke(self, ctx):
        try:
            as_usual()  # not before: typer would make of Ctrl-C a status without a word
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise CommandInterrupted from None


class Group(_Plain, TyperGroup):
    """The command of commands."""


def _show_all(context: typer.Context, asked: bool):
    """Help with every flag."""
    if asked:
        for parameter in context.command.params:
            parameter.hidden = False  # type: ignore[attr-defined]
            if parameter.opts[0] in (known := schema_flags()):
                panel, help = _described(*known[parameter.opts[0]])
                parameter.rich_help_panel, parameter.help = panel, help  # type: ignore[attr-defined]
        typer.echo(context.get_help())
        raise typer.Exit


HELP_ALL = typer.Option("--help-all", help="Show every flag.", is_eager=True, callback=_show_all)


def with_flags(sections=None, only=None, exclude=()):
    """A decorator that gives a command the schema's flags in place of its ``**flags``.

    The command receives them as a dictionary, flag -> value as text, of those that were given.
    """
    chosen = {
        flag: entry
        for flag, entry in schema_flags().items()
        if flag not in exclude and (only is None or flag in only) and (sections is None or entry[0] in sections)
    }

    def decorate(function):
        names = {flag.removeprefix("--").replace("-", "_") + "_": flag for flag in chosen}

        def command(**arguments):
            arguments.pop("help_all", None)
            given = {flag: arguments.pop(name) for name, flag in names.items()}
            whole = ("--missing-value",)  # in which a comma is part of the text
            values = {flag: value for flag, value in given.items() if value not in (None, [], ())}
            values = {flag: list(value) if flag in whole else _joined(value) for flag, value in values.items()}
            return function(**arguments, **values)

        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        parameters += [_parameter(name, flag, only is None, *chosen[flag]) for name, flag in names.items()]
        if only is None:
            parameters.append(
                inspect.Parameter(
                    "help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, HELP_ALL]
                )
            )
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _described(section, key, info):
    """The panel of a flag, and all about it."""
    return section.capitalize(), f"{info.description} ({section}.{key})"


def _parameter(name, flag, brief, section, key, info):
    kinds = set(_kinds(info.annotation))
    panel, help = (None, BASIC.get(flag)) if brief else _described(section, key, info)
    rare: dict[str, Any] = {"hidden": help is None, "show_default": False}
    if bool in kinds:
        declared = flag if key == "json" else f"{flag}/--no-{flag.removeprefix('--')}"
        option = typer.Option(declared, help=help, rich_help_panel=panel, **rare)
        annotation: object = Annotated[bool | None, option]
    else:
        numeric = bool(kinds & {int, float})
        metavar = "VALUE" if numeric and str in kinds else "NUMBER" if numeric else "NAME"
        option = typer.Option(flag, help=help, metavar=metavar, rich_help_panel=panel, **rare)
        annotation = Annotated[list[str] | None if list in kinds else str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kinds(annotation):
    """The plain types inside an annotation, list included."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(typing.get_args(annotation)[0])
    elif origin is typing.Literal:
        yield str
    elif origin is None:
        yield annotation
    else:
        if origin is list:
            yield list
        for part in typing.get_args(annotation):
            yield from _kinds(part)


def _joined(value):
    """``--hidden 64,32 --hidden 16`` as ['64', '32', '16']; 'none' as no item."""
    if not isinstance(value, list | tuple):
        return value
    items = [item.strip() for text in value for item in text.split(",")]
    return [] if items == ["none"] else items
