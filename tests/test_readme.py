"""The README and the pages: what they tell a reader to type works on a default install and prints what they say."""

import itertools
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from default_install import DefaultInstall

ROOT = Path(__file__).resolve().parent.parent
PLACES = (".docs/*.md", ".docs/learn/*.md", ".docs/notebooks/*.md", ".github/*.md")  # `make docs` runs notebooks
FILES = [ROOT / "README.md", *(file for place in PLACES for file in sorted(ROOT.glob(place)))]
PAGES = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in FILES}
README = PAGES["README.md"]

# commands of the README that are not run here, and what runs them
RUN_ELSEWHERE = {
    "make demo": "the check of a fresh clone; its command by test_demo.py",
    "make test": "the check of a fresh clone; it runs these tests",
}


class Block(NamedTuple):
    """A block of code: its language ("shell" if it is indented), the file it stands for, its text."""

    language: str
    title: str
    text: str


def blocks(page):
    """The blocks of code of a page, in order."""
    fenced = r'^```(?P<language>\w+|\{[\w-]+\})(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$'
    indented = r"(?<=\n\n)(?P<shell>(?:    [^\n]*\n)+)"
    for found in re.finditer(f"{fenced}|{indented}", page, re.DOTALL | re.MULTILINE):
        if found["shell"]:
            yield Block("shell", "", re.sub(r"^    ", "", found["shell"], flags=re.MULTILINE))
        else:
            yield Block(found["language"], found["title"] or "", found["text"])


def lines_of_shell(block):
    """The command lines of a block, without what is said about them."""
    if block.language == "console":
        return [block.text.partition("\n")[0].removeprefix("$ ")]
    lines = block.text.splitlines() if block.language == "shell" else []
    return [line for line in (re.sub(r"\s+#.*", "", line).strip() for line in lines) if line]


def commands(page):
    """Every command line of a page, in blocks and within sentences."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    yield from itertools.chain.from_iterable(map(lines_of_shell, blocks(page)))
    yield from re.findall(r"`((?:backprop-ref|make|python) [^`\n]*)`", prose)


@pytest.fixture(scope="module")
def default_install(tmp_path_factory):
    return DefaultInstall(tmp_path_factory.mktemp("default") / "install")


def test_a_default_install_has_no_extras(default_install, tmp_path):
    modules = "backprop_ref", "numba", "sklearn", "mpmath", "pytest", "hypothesis"
    missing = f"[name for name in {modules} if not importlib.util.find_spec(name)]"
    done = default_install.run(["python", "-c", f"import importlib.util; print({missing})"], tmp_path)
    assert (done.returncode, done.stdout) == (0, "['pytest', 'hypothesis']\n"), done.stdout


@pytest.mark.few(1)
@pytest.mark.more(name="README.md")  # whose commands take the longest
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_is_what_happens(name, default_install, tmp_path):
    """Programs and consoles of each page, and every command line of the README, in order in one folder."""
    shown = list(blocks(PAGES[name]))
    for block, after in itertools.zip_longest(shown, shown[1:]):
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            done = default_install.run(["python", "-c", block.text], tmp_path)
            assert done.returncode == 0, done.stdout
            assert done.stdout == (after.text if after and after.language == "text" else "")
        elif block.language == "console":
            command, _, excerpt = block.text.removeprefix("$ ").partition("\n")
            assert_excerpt(excerpt, default_install.run(command, tmp_path).stdout)
        elif block.language == "shell" and name == "README.md":
            for command in lines_of_shell(block):
                if command not in RUN_ELSEWHERE:
                    done = default_install.run(command, tmp_path)
                    assert done.returncode == 0, f"{command}\n{done.stdout}"


def assert_excerpt(excerpt, output):
    """The excerpt's lines are whole lines of the output, in that order; a line with dots stands for any others."""
    lines, at, may_skip = output.splitlines(), 0, False
    for part in excerpt.splitlines():
        if part == "…":
            may_skip = True
            continue
        assert part in lines[at:], f"{part!r} is not in\n{output}"
        found = lines[at:].index(part)
        assert found == 0 or may_skip, f"lines are missing before {part!r}"
        at, may_skip = at + found + 1, False
    assert at == len(lines) or may_skip or not "".join(lines[at:]).strip(), f"{lines[at]!r} is not shown"


def test_the_readme_runs_all_that_it_says():
    """No command of the README is out of these tests' sight, and those that run elsewhere still stand there."""
    in_blocks = [line for block in blocks(README) for line in lines_of_shell(block)]
    assert set(RUN_ELSEWHERE) < set(in_blocks)
    assert set(commands(README)) == set(in_blocks)
    assert {line.split()[1] for line in in_blocks if line.startswith("backprop-ref ")} >= {"train", "verify", "report"}


def test_the_readme_is_short_and_names_every_command_once():
    from backprop_ref.cli.app import command

    assert len(README.splitlines()) <= 120
    table = README[README.index("| to | commands |") :].partition("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(
        name for name, each in command().commands.items() if not each.hidden
    )


@pytest.mark.few(2)
@pytest.mark.parametrize("name", PAGES)
def test_commands_and_their_flags_exist(name):
    from backprop_ref.cli.app import command

    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in commands(PAGES[name]):
        program, *words = shlex.split(line.replace("…", ""))
        if program == "backprop-ref" and not words[0].startswith("-"):
            assert words[0] in command().commands, line
            found = command().commands[words[0]]
            found = found.commands[words[1]] if hasattr(found, "commands") else found
            known = {flag for option in found.params for flag in (*option.opts, *option.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= known | {"--help"}, line
        elif program == "make":
            assert {word for word in words if "=" not in word} <= set(targets), line
        elif program == "python" and not words[0].startswith("-"):
            assert (ROOT / words[0]).exists(), line


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", PAGES[name].replace("\n", " ")):
        if target.startswith("https://"):
            continue
        file = (ROOT / name).parent / target if target else ROOT / name
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings}


def test_every_page_is_in_the_list_of_pages():
    linked = set(re.findall(r"\]\((\w[\w/-]*\.md)\)", PAGES[".docs/README.md"]))
    assert linked == {name.removeprefix(".docs/") for name in PAGES if name.startswith(".docs/")} - {"README.md"}


def test_configurations_are_accepted():
    from backprop_ref.experiments.schema import Config

    texts = [block.text for page in PAGES.values() for block in blocks(page) if block.language == "yaml"]
    assert texts
    for text in texts:
        Config(**yaml.safe_load(text))


def test_every_file_that_is_named_exists():
    named = re.findall(r"`((?:backprop_ref|kernels|tests|bench|ci)/[\w/.-]*)`", "".join(PAGES.values()))
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_file_of_the_guide_exists_and_its_tour_is_short():
    guide = PAGES[".github/CONTRIBUTING.md"]
    files = [
        file.as_posix()
        for folder in ("backprop_ref", "kernels", "tests", "bench", "ci")
        for file in (ROOT / folder).rglob("*.*")
    ]
    named = re.findall(r"`([\w/]+\.(?:py|cu|c))`", guide)
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []
    tour = re.findall(r"^\| (NumPy|Numba|CUDA).* \| (`.*→.*) \|$", guide, re.MULTILINE)
    assert {name for name, _ in tour} == {"NumPy", "Numba", "CUDA"}
    assert all(way.count("→") < (4 if name == "NumPy" else 6) for name, way in tour)
