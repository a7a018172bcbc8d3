"""Names to things: found by listing a package, answered with the nearest name, loaded only when asked."""

import sys
import textwrap

import pytest

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.registry import Registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules that register three names, as a user's plugin folder would hold."""
    folder = tmp_path / "fictional_things"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from dovetail.core.registry import Registry\nTHINGS = Registry('thing', __name__)\n"
    )
    module = "from {0} import THINGS\n\n@THINGS.register({1})\ndef make():\n    return {2}\n"
    (folder / "first.py").write_text(module.format("fictional_things", "'saw', 'fretsaw'", 1))
    (folder / "second.py").write_text(module.format("fictional_things", "'chisel'", 2))
    monkeypatch.syspath_prepend(tmp_path)
    import fictional_things

    yield fictional_things
    for name in [name for name in sys.modules if name.startswith("fictional_things")]:
        del sys.modules[name]


def test_modules_come_in_at_the_first_look_up(package):
    assert "fictional_things.first" not in sys.modules
    assert package.THINGS["chisel"]() == 2
    assert "fictional_things.first" in sys.modules


def test_names_are_listed_in_order(package):
    assert list(package.THINGS) == ["chisel", "fretsaw", "saw"]
    assert "saw" in package.THINGS
    assert "hammer" not in package.THINGS
    assert package.THINGS["saw"] is package.THINGS["fretsaw"]


def test_an_unknown_name_is_answered(package):
    with pytest.raises(DovetailError, match=r"unknown thing 'chissel'.*did you mean 'chisel'") as caught:
        package.THINGS["chissel"]
    assert caught.value.exit_code == 2


def test_a_name_is_taken_once():
    things = Registry("thing", "fictional")
    things.register("saw")(1)
    with pytest.raises(ValueError, match="'saw' is registered twice"):
        things.register("plane", "saw")(2)


def test_a_broken_module_is_not_swallowed(package, tmp_path):
    """An import error of a plugin shows as itself, at every look-up, instead of a name that is silently missing."""
    (tmp_path / "fictional_things" / "third.py").write_text(textwrap.dedent("import no_such_library_anywhere\n"))
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_library_anywhere"):
            package.THINGS["saw"]


@pytest.mark.parametrize(("name", "known", "answer"), [
    ("w4a61", ["w4a16", "w8a8", "fp8"], "did you mean 'w4a16'?"),
    ("H100", ["h100-sxm", "h200-sxm", "l4"], "'h100-sxm'"),
    ("zzz", ["a", "b"], "one of a, b"),
    ("zzz", [f"n{i:02}" for i in range(20)], "…"),
    ("x", [], "one of "),
])  # fmt: skip
def test_hints(name, known, answer):
    assert answer in did_you_mean(name, known)
