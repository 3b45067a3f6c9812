"""Streams of random numbers: pinned words, and what is made of them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_ref import random
from backprop_ref.random import PURPOSES, Stream


def test_words_uniforms_normals_and_permutations_are_pinned():
    assert [hex(word) for word in Stream(1, "init").words(2).tolist()] == ["0xb2f3ed9803ef4f3e", "0x2ca140b2d41c3833"]
    numbers = np.concatenate([Stream(1, "data").uniform(100), Stream(1, "data").normal(101)])
    assert (
        hashlib.sha256(numbers.astype("<f8").tobytes()).hexdigest()
        == "384ab10522c88ca82c9d7976b6c79f7d4d9bbd906166e47fd13bb39a35adbc1c"
    )
    assert Stream(1, "shuffle").permutation(10).tolist() == [1, 3, 4, 0, 2, 7, 5, 9, 8, 6]


def test_purposes_and_seeds_give_other_streams():
    firsts = {Stream(seed, purpose).words(1)[0] for seed in range(20) for purpose in PURPOSES}
    assert len(firsts) == 20 * len(PURPOSES)


@given(st.integers(0, 2**40), st.lists(st.integers(0, 40), max_size=4))
def test_normals_do_not_depend_on_how_many_are_drawn_at_once(seed, sizes):
    """Even counts: a pair is never split."""
    together = Stream(seed, "data")
    apart = Stream(seed, "data")
    pieces = [apart.normal(2 * size) for size in sizes]
    np.testing.assert_array_equal(together.normal(2 * sum(sizes)), np.concatenate([*pieces, np.empty(0)]))


@given(st.integers(0, 2**40), st.integers(0, 50))
def test_permutations_permute(seed, n):
    assert sorted(Stream(seed, "shuffle").permutation(n).tolist()) == list(range(n))


@given(st.integers(0, 2**40), st.integers(0, 30), st.integers(0, 12))
def test_many_permutations_are_one_after_another(seed, count, n):
    together, apart = Stream(seed, "shuffle"), Stream(seed, "shuffle")
    orders = together.permutations(count, n)
    assert orders.shape == (count, n)
    assert [row.tolist() for row in orders] == [apart.permutation(n).tolist() for _ in range(count)]
    assert together.state == apart.state


@pytest.mark.parametrize("n", [1, 2, 1001])
def test_compiled_swaps_give_the_same_permutations(n, monkeypatch):
    plain = Stream(5, "shuffle").permutations(2, n)
    monkeypatch.setattr(random, "COMPILED_FROM", 1)
    assert Stream(5, "shuffle").permutations(2, n).tobytes() == plain.tobytes()


def test_every_permutation_is_as_likely():
    stream, counts = Stream(3, "shuffle"), {}
    for _ in range(6000):
        order = tuple(stream.permutation(3).tolist())
        counts[order] = counts.get(order, 0) + 1
    # chi-squared of 5 degrees of freedom exceeds 30 in one case out of 65,000
    assert len(counts) == 6
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 30.0


def test_words_beyond_the_last_multiple_are_drawn_again(monkeypatch):
    """With bound 2⁶³ + 1 nearly every second word has to be refused."""
    stream, bound = Stream(5, "data"), 2**63 + 1
    drawn = []
    right = Stream.words
    monkeypatch.setattr(Stream, "words", lambda self, n: drawn.append(n) or right(self, n))
    numbers = stream.integers_below([bound] * 50)
    assert sum(drawn) > 60
    assert all(0 <= number < bound for number in numbers.astype(np.uint64).tolist())


def test_a_stream_goes_on_from_its_state():
    stream = Stream(7, "shuffle")
    stream.permutation(5)
    state = stream.state
    following = stream.permutation(9)
    other = Stream(0, "shuffle")
    other.state = state
    np.testing.assert_array_equal(other.permutation(9), following)


@pytest.mark.parametrize("n", [1, 2, 1001])
def test_normal_numbers_are_normal(n):
    assert Stream(1, "data").normal(n).shape == (n,)
    many = np.sort(Stream(2, "data").normal(10_000))
    from scipy.stats import kstest

    assert kstest(many, "norm").pvalue > 1e-6
