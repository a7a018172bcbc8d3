"""What the documents say is run: a block marked by a comment above it is a file to write or commands to execute.

``<!-- run -->`` above a ``console`` block runs its ``$`` lines and compares what they print, above a ``python`` block
runs the program. ``<!-- file: PATH -->`` writes a block. A document runs in one folder, on a copy of the package that
it may add files to. Outputs are compared without blanks, and a line ``...`` stands for anything. Numbers must agree
within 1 % or one unit of their last decimal place; ``<!-- run, measured -->`` says that they depend on the computer.
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
    r"^<!-- (run(?P<measured>, measured)?|file: (?P<path>\S+)) -->\n+```(?P<kind>\w+)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"[-−+]?\d(?:[\d,.]*\d)?(?:e[-+]?\d+)?")
TOLERANCE = 0.01
DOCUMENTS = [
    d
    for d in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/studies/*.md")])
    if MARKED.search(d.read_text())
]


def plain(text: str) -> str:
    """Text without what differs between terminals: blanks, the length of rules."""
    return re.sub(r"\s+", " ", re.sub(r"[─-]{3,}", "─", text)).strip()


def pattern(piece: str) -> str:
    """An expression for a piece of text with any numbers in the place of its own, each a group."""
    return f"({NUMBER.pattern})".join(map(re.escape, NUMBER.split(plain(piece))))


def close(shown: str, printed: str) -> bool:
    """Whether two numbers, as they are written, agree."""
    try:
        known, found = (float(text.replace(",", "").replace("−", "-")) for text in (shown, printed))
    except ValueError:  # 0.1.0
        return shown == printed
    decimals = shown.partition("e")[0].partition(".")[2]
    return abs(known - found) <= max(TOLERANCE * abs(known), 1.001 * 10.0 ** -len(decimals) if decimals else 0.0)


def agrees(shown: str, printed: str, *, measured: bool = False) -> bool:
    if ("[exit" in printed) != ("[exit" in shown):
        return False
    pieces = re.split(r"^\s*(?:\.\.\.|…)\s*$", shown, flags=re.MULTILINE)
    found = re.fullmatch(r"\s*.*\s*".join(map(pattern, pieces)), plain(printed))
    if found is None or measured:
        return found is not None
    known = [number for piece in pieces for number in NUMBER.findall(plain(piece))]
    return all(map(close, known, found.groups()))


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
                same = agrees(shown, printed, measured=bool(block["measured"]))
                assert same, f"$ {command}\n--- shown\n{shown}--- printed\n{printed}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("tpot 3.1 ms\n", "tpot   3.10 ms\n", True),
        ("tpot 3.1 ms\n", "tpot   3.2 ms\n", True),
        ("tpot 3.1 ms\n", "tpot   3.4 ms\n", False),
        ("1,000 tok/s, 12 points\n", "1,009 tok/s, 12 points\n", True),
        ("1,000 tok/s, 12 points\n", "1,000 tok/s, 13 points\n", False),
        ("0.1.0\n", "0.1.1\n", False),
        ("a\n...\nz 5\n", "a\nb 7\nc\nz 5\n", True),
        ("a\n...\nz 5\n", "a\nb 7\nc\nz 6\n", False),
        ("tpot 3.1 ms\n", "ttft 3.1 ms\n", False),
        ("tpot 3.1 ms\n", "tpot 3.1 ms\nmore\n", False),
        ("...\n", "Traceback [exit 1]", False),
    ],
)
def test_the_comparison_can_fail(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) == same


def test_numbers_of_this_computer_may_differ() -> None:
    assert agrees("tpot 3.1 ms\n", "tpot   12.75 ms\n", measured=True)
    assert not agrees("tpot 3.1 ms\n", "ttft 3.1 ms\n", measured=True)
