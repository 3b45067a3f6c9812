"""A few of the mutations that ``python tests/mutated.py`` tries by the million."""

import pytest
from mutated import made, tried

import backprop_ref as br


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return made(tmp_path_factory.mktemp("mutated"))


@pytest.mark.more
def test_the_files_themselves_are_taken(readers):
    """Else their mutations would say little."""
    for reader in readers:
        reader.use(reader.path)


@pytest.mark.few(1, 10)
@pytest.mark.parametrize("part", range(40))
def test_files_may_be_anything(readers, part):
    ends, found = tried(readers, range(200 * part, 200 * (part + 1)), seed=0)
    assert not found
    assert {"taken", "refused"} <= {ended for _, ended in ends}


class Breaks:
    """A reader that does not refuse what it should."""

    name, weight, content = "breaks", 1, b"x"

    def __init__(self, path, use):
        self.path, self.use = path, use

    def mutate(self, content, chance):
        return content + b"y"


def unhandled(path):
    raise KeyError(path.read_text())


def mute(path):
    from backprop_ref.errors import InvalidInput

    raise InvalidInput("")


@pytest.mark.parametrize(("use", "said"), [(unhandled, "KeyError: 'xy'"), (mute, "refused without a word")])
def test_what_breaks_is_found(tmp_path, use, said):
    ends, found = tried([Breaks(tmp_path / "file", use)], range(3), seed=0)
    assert ends == {("breaks", "found"): 3}
    assert [words.partition(" (")[0] for _, words in found] == [said]


def test_a_table_of_nothing(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": null, "b": null}\n' * 2)
    with pytest.raises(br.InvalidInput, match="nothing in any row"):
        br.read_table(tmp_path / "t.jsonl")
