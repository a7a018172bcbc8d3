"""Equality and hashing by content: equal contents are equal, any difference shows, and kinds are not confused."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dovetail.core.content import ByContent, digest


@dataclass(frozen=True, slots=True, eq=False)
class Point(ByContent):
    a: Any
    b: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Other(ByContent):
    a: Any
    b: Any = None


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
ARRAYS = arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.int8]),
    array_shapes(max_dims=3, max_side=4),
    elements=st.integers(-9, 9),
)
VALUES = st.recursive(
    SCALARS | ARRAYS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=8
)


def copied(value):
    """The same content in other objects: tuples for lists, reordered mappings, non-contiguous arrays."""
    if isinstance(value, np.ndarray):
        return np.asfortranarray(value).copy(order="F")
    if isinstance(value, dict):
        return MappingProxyType({key: copied(value[key]) for key in reversed(value)})
    return tuple(copied(item) for item in value) if isinstance(value, list) else value


@given(VALUES)
def test_equal_contents_are_equal(value):
    assert digest(value) == digest(copied(value))
    assert Point(value) == Point(copied(value))
    assert hash(Point(value)) == hash(Point(copied(value)))


@given(VALUES, VALUES)
def test_a_pair_is_not_its_swap(one, two):
    if digest(one) != digest(two):
        assert Point(one, two) != Point(two, one)
        assert Point(one) != Point(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0, None),
        ("1", 1),
        (b"a", "a"),
        ("", ()),
        ([], {}),
        ([[1], 2], [1, [2]]),
        ([1, 2], [12]),
        (["a", "b"], ["ab"]),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (np.array([1, 2]), np.array([[1, 2]])),
        (np.array([1, 2]), np.array([2, 1])),
        (np.float32(1), np.array(1.0)),
        ({"a": 1}, {"b": 1}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
        ([[], [1]], [[1], []]),
        ({"a": [1], "b": 2}, {"a": [1, "b", 2]}),
    ],
    ids=str,
)
def test_what_must_differ(one, two):
    assert digest(one) != digest(two)


def test_kinds_of_things_differ():
    assert Point(1) != Other(1)
    assert Point(1) != 1
    assert digest(np.float64(0.5)) == digest(0.5)


def test_usable_as_keys_with_arrays_inside():
    seen = {Point(np.arange(3)): "first"}
    assert seen[Point(np.arange(3))] == "first"
    assert Point(np.arange(4)) not in seen


def test_what_has_no_content_is_refused():
    with pytest.raises(TypeError, match="object"):
        digest(object())
    with pytest.raises(TypeError, match="ndarray"):
        digest(np.array([object()]))
    with pytest.raises(TypeError, match="set"):
        digest({"a": {1, 2}})


def test_stable_across_processes():
    """Python's own string hash changes from process to process; a saved digest must not."""
    import subprocess
    import sys

    code = "from dovetail.core.content import digest; print(digest({'a': [1, 'x', 2.5], 'b': None}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {digest({"b": None, "a": [1, "x", 2.5]}) + "\n"}
