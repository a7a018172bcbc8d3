"""What a fresh machine is promised: five small dependencies, one torch, and one way to run everything."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest


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
