"""Builds the documentation into build/docs: `python ci/site`, or `make docs`. Warnings are errors.

The sources are the pages of .docs, the README, the changelog, the guide of contributors and the specification of the
arithmetic, as they are, and what `reference.py` and `figures.py` make of the code. They are laid out in
build/docs-source, where links among them become links of the site. Nothing on it asks another machine for anything.
"""

import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

from elsewhere import requests_elsewhere
from figures import FIGURES
from reference import reference
from sphinx.cmd.build import main as sphinx

from backprop_ref.experiments.playing import page_of

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE, SITE = ROOT / "build/docs-source", ROOT / "build/docs"

NOTEBOOKS = (
    *("in-a-notebook", "learn-backprop", "teach-a-class", "your-table"),
    *("check-your-code", "write-a-backend", "compare-frameworks"),
)
# part of the site -> its pages, in order; what is in none of them is a warning of Sphinx
STRUCTURE = {
    "Learn": ("learn/neuron", "learn/layers", "learn/whole-network", "learn/wrong-gradients", "learn/exercises"),
    "How to": (
        "training",
        "reproduce",
        "estimators",
        "data",
        "verify",
        "traces-and-reports",
        "play",
        "sweeps",
        "backends",
        "machines",
        "ranks",
        "exchange",
        "trust",
    ),
    "Notebooks": tuple(f"notebooks/{name}" for name in NOTEBOOKS),
    "Reference": (
        "reference/api",
        "reference/commands",
        "reference/configuration",
        "reference/formulas",
        "reference/vectors",
        "bugs",
    ),
    "Explanation": ("design", "gradients", "arithmetic", "benchmarks", "results"),
    "The project": ("found-in-the-wild", "pages", "contributing", "changelog"),
}

PLACES = {
    "README.md": "index.md",
    ".docs/README.md": "pages.md",
    ".github/CONTRIBUTING.md": "contributing.md",
    ".github/CHANGELOG.md": "changelog.md",
    "backprop_ref/conformance/data/vectors/arithmetic.md": "arithmetic.md",
}
LIVE = "live.html"
PLAY = f"""\
```{{raw}} html
<iframe class="play" src="{LIVE}#data=xor&amp;hide=settings,formulas,layers,bugs,command,tour"
title="A network that trains in this page" loading="lazy"></iframe>
<p>Press <em>Train</em>: it computes the bits that Python computes. <a href="{LIVE}">The whole page</a>.</p>
```

[What it can do](play.md), and how to have it as a file.

"""
LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
TITLED = re.compile(r'^```(\w+) title="([^"]*)"$', re.MULTILINE)
FIGURE = re.compile(r"^<!-- figure: ([\w-]+): (.*?) -->$", re.MULTILINE | re.DOTALL)


def places() -> dict[str, str]:
    """Where each page of the project is on the site."""
    pages = (path.relative_to(ROOT).as_posix() for path in sorted((ROOT / ".docs").rglob("*.md")))
    return {**{page: page.removeprefix(".docs/") for page in pages}, **PLACES}


def page_of_site(page: str, text: str, found: dict[str, str], repository: str) -> str:
    """A page with the site's links, with titles of files as captions, and with its figures."""
    here = (ROOT / page).parent
    up = "../" * found[page].count("/")

    def link(match: re.Match[str]) -> str:
        target = (here / match[1]).resolve().relative_to(ROOT).as_posix()
        if target in found:
            return f"]({up}{found[target]}{match[2] or ''})"
        if target.startswith(".images/"):
            return f"]({up}{target.removeprefix('.')})"
        if not (ROOT / target).exists():
            sys.exit(f"{page}: a link leads to {match[1]}, which does not exist")
        return f"]({repository}/blob/HEAD/{target})"

    def figure(match: re.Match[str]) -> str:
        return f"<figure>\n{FIGURES[match[1]]()}\n<figcaption>{match[2]}</figcaption>\n</figure>"

    text = FIGURE.sub(figure, LINK.sub(link, text))
    return TITLED.sub(r"```{code-block} \1\n:caption: \2", text)


def lay_out() -> None:
    """All sources of the site, in a new folder."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / ".images", SOURCE / "images")
    found = places()
    pages = {to: page_of_site(page, (ROOT / page).read_text("utf-8"), found, repository) for page, to in found.items()}
    pages |= reference()
    pages["index.md"] = pages["index.md"].replace("## Two commands", f"{PLAY}## Two commands", 1)
    for name in NOTEBOOKS:
        pages[f"notebooks/{name}.md"] += f"\n{{nb-download}}`As a Jupyter notebook, executed <{name}.ipynb>`\n"
    for part, names in STRUCTURE.items():
        pages["index.md"] += f"\n```{{toctree}}\n:hidden:\n:caption: {part}\n\n" + "\n".join(names) + "\n```\n"
    for name, text in pages.items():
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / name).write_text(text, "utf-8")


def quiet_kernels() -> None:
    """Notebooks run without the profile of whoever builds, and without what kernels say of their transport."""
    profile = SOURCE / ".ipython/profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n", "utf-8")
    os.environ["IPYTHONDIR"] = str(profile.parent)


def main() -> int:
    lay_out()
    quiet_kernels()
    shutil.rmtree(SITE, ignore_errors=True)
    flags = [
        "-b",
        "html",
        "-c",
        str(ROOT / ".docs"),
        "-d",
        str(ROOT / "build/docs-trees"),
        "-E",
        "-q",
        "-W",
        "--keep-going",
    ]
    status = sphinx([*flags, str(SOURCE), str(SITE)])
    (SITE / LIVE).write_text(page_of("xor"), "utf-8")
    elsewhere = [] if status else [*requests_elsewhere(SITE)]
    for line in elsewhere:
        print(f"loads from elsewhere: {line}", file=sys.stderr)
    if not status and not elsewhere:
        print(f"build/docs/index.html: {len([*SITE.rglob('*.html')])} pages, no warning, nothing from elsewhere")
    return status or bool(elsewhere)


if __name__ == "__main__":
    sys.exit(main())
