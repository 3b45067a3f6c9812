"""The README's example prints what the README says; its configuration is one."""

import contextlib
import io
import re
from pathlib import Path

import yaml

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL).group(1)


def test_the_example_prints_what_it_says():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "README.md", "exec"), {})
    assert printed.getvalue() == block("text")


def test_the_configuration_is_accepted():
    from backprop_ref.experiments.schema import Config

    config = Config(**yaml.safe_load(block("yaml")))
    assert config.network.hidden_layers == [128, 64, 32]
    assert config.data.n_samples == 1000


def test_every_file_it_names_exists():
    root = Path(__file__).parent.parent
    named = re.findall(r"`((?:backprop_ref|kernels|tests)/[\w/.]*)`", README)
    assert len(named) > 10
    assert [name for name in named if not (root / name).exists()] == []
