"""Imports go one way, without circles, and ``import backprop_ref`` is light."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import backprop_ref

PACKAGE = Path(backprop_ref.__file__).parent
KERNELS = Path(backprop_ref.kernels.__file__).parent

# part -> parts it must never import; what stands last, from arrays to progress, lies below all others
FORBIDDEN = {
    "kernels": {path.stem for path in PACKAGE.iterdir()} - {"kernels", "formulas"},
    "backends": {"mlp", "api", "training", "checkpoint", "conformance", "experiments", "report", "cli", "data"},
    "mlp": {"api", "training", "conformance", "experiments", "report", "cli", "data", "numpy"},
    "data": {"mlp", "api", "backends", "training", "conformance", "experiments", "report", "cli"},
    "api": {"training", "conformance", "experiments", "report", "cli", "data"},
    "training": {"conformance", "experiments", "report", "cli", "data"},
    "conformance": {"training", "experiments", "report", "cli", "data"},
    "report": {"training", "conformance", "experiments", "cli", "data"},
    "exchange": {"training", "conformance", "experiments", "report", "cli", "api", "backends"},
    "experiments": {"cli"},
    "benchmarks": {"cli", "report", "data", "experiments"},
    **{
        low: {"mlp", "api", "backends", "training", "conformance", "experiments", "report", "cli", "data"}
        for low in (
            "arrays",
            "asking",
            "errors",
            "formulas",
            "settings",
            "files",
            "import_path",
            "starting",
            "network",
            "parameters",
            "random",
            "metrics",
            "optimizers",
            "progress",
            "stored",
            "text",
        )
    },
}

# folder -> what is in it, from the ground up; what stands on one line is on one level, and does not import each other
ORDER = {
    "backprop_ref": """
        asking import_path starting version formulas arrays text
        errors showing
        files
        kernels settings progress parameters
        random optimizers
        network
        metrics stored dropout
        sample_weights
        backends ranks
        mlp
        api data
        blocks derivatives
        traces
        training conformance report exchange
        experiments
        checking commands notebook sklearn
        __init__
        benchmarks testing
        cli
        __main__
    """,
    "backprop_ref.conformance": """
        __init__ cases outcomes
        rounding running submissions examples exercises
        catalogue gradcheck
        vectors diagnosis
        judging dissecting
        measuring
        test_backend plugin
    """,
}

# what still goes round in a circle, by name; a circle that is opened has to go from here
OPEN_CIRCLES: set[frozenset[str]] = set()


@functools.cache
def tree_of(file):
    return ast.parse(file.read_text("utf-8"))


def imported(module, file):
    """The dotted names that a module imports anywhere in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def imports(file):
    """Top-level parts of the package, and foreign packages, that a file imports anywhere in it."""
    for name in imported(next(module for module, there in modules().items() if there == file), file):
        first, *rest = name.split(".")
        yield rest[0] if first == "backprop_ref" and rest else first


def files(part):
    folder = KERNELS if part == "kernels" else PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


@functools.cache
def modules():
    """Every module of the package, by its dotted name; a folder's own is ``folder.__init__``."""
    roots = {"backprop_ref": PACKAGE, "backprop_ref.kernels": KERNELS}
    return {
        ".".join([name, *file.relative_to(root).with_suffix("").parts]): file
        for name, root in roots.items()
        for file in root.rglob("*.py")
    }


@functools.cache
def import_graph():
    """module -> modules that it imports."""
    found = modules()

    def module_of(name):
        while name and not {name, f"{name}.__init__"} & found.keys():
            name = name.rpartition(".")[0]
        return name if name in found else f"{name}.__init__"

    return {
        module: {module_of(name) for name in imported(module, file) if name.split(".")[0] == "backprop_ref"} - {module}
        for module, file in found.items()
    }


def inside(folder, graph):
    """The graph of what stands directly in a folder: its modules, and its folders as one each."""
    depth = folder.count(".") + 2

    def child(module):
        return ".".join(module.split(".")[:depth]) if module.startswith(f"{folder}.") else None

    found = {child(module): set() for module in graph if child(module)}
    for module, others in graph.items():
        if child(module):
            found[child(module)] |= {child(other) for other in others} - {None, child(module)}
    return found


def circles(graph):
    """Sets of nodes that all lead to one another."""

    def reached(start):
        seen, left = set(), [start]
        while left:
            new = graph[left.pop()] - seen
            seen |= new
            left += new
        return seen

    while ends := {node for node, others in graph.items() if not others}:  # none of these is in a circle
        graph = {node: others - ends for node, others in graph.items() if node not in ends}
    reach = {node: reached(node) for node in graph}
    return {frozenset(other for other in reach[node] if node in reach[other]) for node in graph if node in reach[node]}


def folders(graph):
    return sorted(module.removesuffix(".__init__") for module in graph if module.endswith(".__init__"))


def test_circles_are_found():
    graph = {"a.b": {"a.c"}, "a.c": {"a.d.e"}, "a.d.e": {"a.b", "a.d.f"}, "a.d.f": set()}
    assert circles(graph) == {frozenset({"a.b", "a.c", "a.d.e"})}
    assert circles({**graph, "a.d.e": {"a.d.f"}, "a.d.f": {"a.c"}}) == {frozenset({"a.c", "a.d.e", "a.d.f"})}
    acyclic = {"a.b": {"a.d.e"}, "a.d.e": set(), "a.d.f": {"a.b"}}
    assert circles(acyclic) == set()
    assert circles(inside("a", acyclic)) == {frozenset({"a.b", "a.d"})}


def test_no_module_and_no_folder_imports_itself_through_others():
    graph = import_graph()
    found = circles(graph).union(*(circles(inside(folder, graph)) for folder in folders(graph)))
    assert found == OPEN_CIRCLES


@pytest.mark.parametrize("folder", ORDER)
def test_imports_go_down(folder):
    levels = [line.split() for line in ORDER[folder].strip().splitlines()]
    level_of = {f"{folder}.{name}": level for level, names in enumerate(levels) for name in names}
    found = inside(folder, import_graph())
    assert found.keys() == level_of.keys(), "what is in the folder, and what its order names"
    up = {
        f"{module} imports {other}"
        for module, others in found.items()
        for other in others
        if level_of[other] >= level_of[module] and not any({module, other} <= circle for circle in OPEN_CIRCLES)
    }
    assert not up


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_go_one_way(part):
    found = {(str(file.name), name) for file in files(part) for name in imports(file) if name in FORBIDDEN[part]}
    assert not found


def prints(file):
    """Lines of a file that print, by whatever name."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "typer.echo", "click.echo", "Console"}:
            yield f"{file.name}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout.write", "sys.stderr.write"}:
            yield f"{file.name}: {ast.unparse(node)}"


def test_commands_print_by_show_which_leaves_nothing_that_a_terminal_acts_on():
    through = {"show.py", "terminal.py", "naive_lists.py", "sheets.py"}  # two print by `printable`; two programs
    found = [line for part in FORBIDDEN for file in files(part) if file.name not in through for line in prints(file)]
    assert [line for line in found if "__version__" not in line and "get_help" not in line] == [
        "numba_trainer.py: print(f'backprop-ref: {what} (kept for the next time)', file=sys.stderr)",
        "progress.py: Console(stderr=True)",
    ]
    assert list(prints(PACKAGE / "cli/__init__.py")) == [
        "__init__.py: print('error:', printable(said), file=sys.stderr)",
        "__init__.py: print('note:', printable(str(message)), file=sys.stderr)",
    ]


def test_mlp_imports_no_array_library_and_stays_small():
    assert set(imports(PACKAGE / "mlp.py")) <= {"typing", "collections", "backends", "network"}
    assert len((PACKAGE / "mlp.py").read_text().splitlines()) <= 170


def test_the_import_loads_numpy_and_nothing_heavier():
    code = (
        "import sys, numpy; before = set(sys.modules); import backprop_ref; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout)) - {"backprop_ref", "numpy"}
    assert loaded <= set(sys.stdlib_module_names) | {"__editable___backprop_ref_finder"}


# where nothing but the command line reads what is said
COMMANDS_ONLY = ("cli", "plugin", "processes", "notes", "kernels")
SAID = {"ask", "called", "key", "Axis"}
"""Calls in which a flag stands by itself, or is described."""


def texts_with_flags(tree):
    """The texts in some code, apart from docstrings, that name a flag of the command line to whoever reads them."""
    spared = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in SAID:
            spared |= {id(each) for each in ast.walk(node)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            spared.add(id(node.value))
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in spared)
    for text in (node.value for node in constants if isinstance(node.value, str) and "backprop-ref " not in node.value):
        if re.search(r"(?<![\w(-])--[a-z]+\b(?!:)", text) and not re.fullmatch(r"--[a-z0-9-]+", text):
            yield text


def test_messages_name_flags_by_ask():
    """From Python, what is called ``--batch-size`` on the command line is ``batch_size``: `ask` knows where it is."""
    found = {
        module: texts
        for module, file in modules().items()
        if not set(module.split(".")) & set(COMMANDS_ONLY) and (texts := [*texts_with_flags(tree_of(file))])
    }
    assert found == {}
