"""The names that scripts import are there, lazily, and say what they are."""

import importlib
import subprocess
import sys

import pytest

import dovetail


@pytest.mark.parametrize("name", [name for name in dovetail.__all__ if name != "__version__"])
def test_every_public_name_resolves_to_something_callable(name: str) -> None:
    thing = getattr(dovetail, name)
    assert callable(thing)
    assert thing.__doc__


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'estimates'"):
        _ = dovetail.estimates


def test_the_list_of_names_is_sorted_and_complete() -> None:
    assert dir(dovetail) == sorted(dovetail.__all__)
    assert set(dovetail._HOMES) | {"__version__"} == set(dovetail.__all__)


def test_search_is_a_verb_even_after_its_room_was_imported() -> None:
    code = "import dovetail.search; import dovetail as dt; assert callable(dt.search), dt.search"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert callable(importlib.import_module("dovetail").search)
