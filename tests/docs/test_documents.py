"""What the documents say is run: a block marked by a comment above it is a file to write or commands to execute.

``<!-- run -->`` above a ``console`` block runs its ``$`` lines and compares what they print, above a ``python`` block
runs the program. ``<!-- file: PATH -->`` writes a block. A document runs in one folder, on a copy of the package that
it may add files to. Outputs are compared without numbers and blanks; a line ``...`` stands for anything.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKED = re.compile(
    r"^<!-- (run|file: (?P<path>\S+)) -->\n+```(?P<kind>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"[-−+]?\d[\d,.]*(e[-+]?\d+)?")
DOCUMENTS = [d for d in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]) if MARKED.search(d.read_text())]


def plain(text: str) -> str:
    """Text without what differs between machines: numbers, blanks, the length of rules."""
    return re.sub(r"\s+", " ", re.sub(r"[─-]{3,}", "─", NUMBER.sub("#", text))).strip()


def agrees(shown: str, printed: str) -> bool:
    if ("[exit" in printed) != ("[exit" in shown):
        return False
    pieces = [re.escape(plain(piece)) for piece in re.split(r"^\s*(?:\.\.\.|…)\s*$", shown, flags=re.MULTILINE)]
    return re.fullmatch(r"\s*.*\s*".join(pieces), plain(printed)) is not None


def execute(command: list[str] | str, folder: Path) -> str:
    """What a command prints on stdout; of a failing one also stderr and its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / ".cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout if not done.returncode else f"{done.stdout}{done.stderr}[exit {done.returncode}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the package (weights by link) and its tests, and a ``dovetail`` command that runs it."""
    weights = ROOT / "dovetail" / "model" / "embedded"
    shutil.copytree(ROOT / "dovetail", tmp_path / "dovetail", ignore=shutil.ignore_patterns("embedded", "__pycache__"))
    (tmp_path / "dovetail" / "model" / "embedded").symlink_to(weights)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("docs", "__pycache__"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for name, call in {"dovetail": "-m dovetail", "python": ""}.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_the_document_is_true(document: Path, folder: Path) -> None:
    for block in MARKED.finditer(document.read_text()):
        text = block["text"]
        if block["path"]:
            (folder / block["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / block["path"]).write_text(text)
        elif block["kind"] == "python":
            if "import torch" in text:
                pytest.importorskip("torch", reason="this example needs the torch extra")
            assert "[exit" not in (printed := execute([sys.executable, "-c", text], folder)), printed
        else:
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                printed = execute(command, folder)
                assert agrees(shown, printed), f"$ {command}\n--- shown\n{shown}--- printed\n{printed}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("tpot 3.1 ms\n", "tpot   12.75 ms\n", True),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("tpot 3.1 ms\n", "ttft 3.1 ms\n", False),
        ("tpot 3.1 ms\n", "tpot 3.1 ms\nmore\n", False),
        ("...\n", "Traceback [exit 1]", False),
    ],
)
def test_the_comparison_can_fail(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) == same
