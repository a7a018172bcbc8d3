"""The doctor sees what is there, says what is not and how to get it, and touches nothing heavy."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from dovetail.app import extras
from dovetail.app.doctor import checkup, print_checkup
from dovetail.core import lazy
from dovetail.core.errors import DovetailError
from dovetail.hardware.host import calibration_path
from dovetail.runtime.kernels import library


def row(found: dict, part: str, name: str) -> dict:
    return next(r for r in found[part] if r["name"] == name)


def command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_every_row_says_what_and_how() -> None:
    found = checkup()
    json.dumps(found, allow_nan=False)
    rows = [r for part in ("machine", "tools", "extras") for r in found[part]]
    assert {r["status"] for r in rows} <= {"ok", "limited", "missing", "planned"}
    assert all(r["found"] for r in rows if r["status"] == "ok")
    assert all(r["adds"] for r in rows if r["status"] != "ok")
    rows = [r for part in ("tools", "extras") for r in found[part]]
    assert all(bool(r["install"]) == (r["status"] != "planned") for r in rows)


def test_python_and_cores_are_this_process_own() -> None:
    found = checkup()
    assert sys.executable in row(found, "machine", "Python")["found"]
    assert 1 <= int(row(found, "machine", "cores")["found"].split()[0]) <= len(os.sched_getaffinity(0))


def test_a_calibration_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert row(checkup(), "machine", "calibration")["install"] == "dovetail calibrate --host"
    calibration_path().parent.mkdir(parents=True)
    calibration_path().write_text("name: host\n")
    assert row(checkup(), "machine", "calibration")["status"] == "ok"


def test_kernels_are_there_or_said_not_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled to answer: what is there, what a compiler would make, what is not to be had."""
    monkeypatch.delenv("DOVETAIL_KERNELS", raising=False)
    monkeypatch.setattr(library, "BUILT", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", shlex.quote(sys.executable))
    later = row(checkup(), "machine", "kernels")
    assert later["status"] == "limited"
    assert sys.executable in later["found"]
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert row(checkup(), "machine", "kernels")["install"] == "apt install g++"
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("DOVETAIL_KERNELS", "off")
    assert "off" in row(checkup(), "machine", "kernels")["found"]


def test_memory_is_what_the_kernel_says() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = float(re.match(r"([\d.]+) GB", row(checkup(), "machine", "memory")["found"])[1]) * 1e9
    assert told <= 1.01 * total  # a container may have less


def test_a_tool_is_found_on_the_path_and_missed_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none" / "python"))
    assert row(checkup(), "tools", "git")["status"] == "missing"
    command(tmp_path / "bin", "git", "exit 0")
    found = row(checkup(), "tools", "git")
    assert (found["status"], found["found"]) == ("ok", str(tmp_path / "bin" / "git"))


@pytest.mark.parametrize(
    ("script", "status"),
    [("echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 570.1'", "ok"), ("echo broken; exit 9", "missing"), ("true", "missing")],
)
def test_a_gpu_counts_when_its_driver_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: str
) -> None:
    command(tmp_path, "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    gpu = row(checkup(), "machine", "GPU")
    assert gpu["status"] == status
    assert ("H100" in gpu["found"]) == (status == "ok")


def test_the_screen_fits_a_hundred_characters_and_keeps_the_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    found = checkup()
    for r in found["extras"]:
        r |= {"status": "missing", "found": "", "install": "pip install 'dovetail[cluster]'"}
    print_checkup(found)
    screen = capsys.readouterr().out
    assert max(len(line) for line in screen.splitlines() if not line.startswith("checkout")) <= 100
    assert "pip install 'dovetail[cluster]'" in screen


def test_what_nothing_uses_yet_is_not_offered(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "".join(path.read_text() for path in (root / "dovetail").rglob("*.py"))
    used = set(re.findall(r'require\(\s*"[\w.]+",\s*"(\w+)"', source)) | {"dev", "rtl"}  # whose tools are commands
    rows = extras.extras()
    assert {r["name"] for r in rows if r["status"] != "planned"} == used
    print_checkup(checkup())
    lines = capsys.readouterr().out.splitlines()
    planned = " ".join(lines).partition("planned  ")[2].partition("next  ")[0]
    assert set(planned.replace(",", "").split()) >= {r["name"] for r in rows} - used
    assert not used & set(planned.replace(",", "").split())
    assert not [line for line in lines if line.startswith("studio")]


@pytest.mark.parametrize("checkout", [True, False])
def test_the_command_fits_how_it_was_installed(checkout: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "CHECKOUT", tmp_path / "pyproject.toml")
    if checkout:
        (tmp_path / "pyproject.toml").write_text("")
    expected = "pip install -e '.[torch]'" if checkout else "pip install 'dovetail[torch]'"
    assert lazy.install_command("torch") == expected
    with pytest.raises(DovetailError) as caught:
        lazy.require("no_such_library", "torch")
    assert caught.value.hint.startswith(expected)
    assert (str(tmp_path) in caught.value.hint) == checkout


def test_extras_are_the_packages_own_and_each_says_what_it_adds(root: Path) -> None:
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [r["name"] for r in extras.extras()] == list(declared)
    assert set(extras.ADDS) == set(declared)


def test_installed_metadata_gives_the_same_list(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1.26", "torch==2.13.0; extra == 'torch'", 'ray>=2.60 ; extra == "cluster"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert extras.requirements(Path("/nowhere")) == {"torch": ["torch==2.13.0"], "cluster": ["ray>=2.60"]}


def test_an_extra_that_builds_on_another_needs_both() -> None:
    declared = {"torch": ["torch==2.13.0", "safetensors>=0.5"], "ptq": ["dovetail[torch]", "llmcompressor==0.14.0.1"]}
    wanted = list(extras.packages("ptq", declared))
    assert wanted == [("torch", "2.13.0"), ("safetensors", ""), ("llmcompressor", "0.14.0.1")]


@pytest.mark.parametrize(
    ("version", "status", "missing"),
    [
        ("2.13.0", "ok", []),
        ("2.13.0+cpu", "ok", []),
        ("2.12.1", "limited", ["torch 2.12.1 is not 2.13.0"]),
        (None, "missing", ["torch"]),
    ],
)
def test_versions_count(monkeypatch: pytest.MonkeyPatch, version: str | None, status: str, missing: list[str]) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", installed)
    monkeypatch.setattr(extras, "requirements", lambda: {"torch": ["torch==2.13.0"]})
    (only,) = extras.extras()
    assert (only["status"], only["missing"]) == (status, missing)


def test_nothing_heavy_is_imported_to_look() -> None:
    code = (
        "import sys; from dovetail.app.doctor import checkup; checkup(); "
        "print({'torch', 'transformers', 'pandas', 'optuna', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
