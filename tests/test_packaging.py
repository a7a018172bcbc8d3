"""What a fresh machine is promised: five small dependencies, one torch, and one way to run everything."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dovetail.runtime.kernels import build as building


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_the_base_is_five_packages(project: dict[str, Any]) -> None:
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "pyyaml", "pydantic", "typer", "rich"}


def test_one_version_of_torch_everywhere(root: Path, project: dict[str, Any]) -> None:
    (pinned,) = (r for r in project["optional-dependencies"]["torch"] if r.startswith("torch=="))
    assert f"'{pinned}'" in (root / "Makefile").read_text()


def test_every_command_of_the_readme_is_a_target(root: Path) -> None:
    for target in ("demo", "test", "lint", "bench", "clean"):
        done = subprocess.run(["make", "-n", target], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_ci_runs_the_same_commands(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make .*?(\w+)$", script.read_text(), re.MULTILINE) == ["lint", "test"]


def test_the_licence_is_whole_and_named(root: Path, project: dict[str, Any]) -> None:
    text = (root / "LICENSE").read_text()
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def hook(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The build hook with a stand-in for hatchling, which is not here when tests run; with the lines it warned."""
    stand_in = ModuleType("hatchling.builders.hooks.plugin.interface")
    stand_in.BuildHookInterface = object
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    spec = importlib.util.spec_from_file_location("hatch_build", root / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.CustomBuildHook()
    found.root, found.warned = str(root), []
    found.app = SimpleNamespace(display_warning=found.warned.append)
    return found, module


def test_a_wheel_holds_the_kernels_for_this_computer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, module = hook(root, monkeypatch)
    library = root / "dovetail" / "runtime" / "kernels" / "_build" / building.file_name()
    monkeypatch.setattr(module, "_building", lambda root: SimpleNamespace(build=lambda folder: folder / library.name))
    data: dict[str, Any] = {"force_include": {}}
    made.initialize("standard", data)
    assert data["force_include"] == {str(library): str(library.relative_to(root))}
    assert re.fullmatch(r"py3-none-[a-z]+_\w+", data["tag"])
    assert not data["pure_python"]
    editable: dict[str, Any] = {"force_include": {}}
    made.initialize("editable", editable)
    assert editable == {"force_include": {}}


@pytest.mark.parametrize(("given", "why"), [("no-such-cxx", "CXX names 'no-such-cxx'"), ('g++ "', "CXX is no command")])
def test_without_a_compiler_the_installation_goes_on(
    given: str, why: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, module = hook(root, monkeypatch)
    by_path = module._building(root)
    assert by_path.file_name() == building.file_name()
    by_path.file_name = lambda: "none.so"
    monkeypatch.setenv("CXX", given)
    monkeypatch.setattr(module, "_building", lambda root: by_path)
    data: dict[str, Any] = {"force_include": {}}
    made.initialize("standard", data)
    assert data == {"force_include": {}}
    assert why in made.warned[0]


def test_the_sources_of_the_kernels_are_packed(root: Path) -> None:
    tool = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert {"dovetail", "hatch_build.py"} <= set(tool["sdist"]["only-include"])
    assert "custom" in tool["wheel"]["hooks"]
    assert all((building.HERE / name).is_file() for name in building.SOURCES)
    assert {p.name for p in building.HERE.iterdir() if p.suffix in (".h", ".cpp")} == set(building.SOURCES)
