"""The house stands: imports go down in rank, and what must be light loads nothing heavy."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dovetail"
RANKS = {
    "core": 0, "model": 1, "workload": 1, "hardware": 1, "cost": 2, "runtime": 3, "crossbar": 3, "hls": 3,
    "recipe": 4, "system": 4, "accel": 4, "design": 5, "search": 6, "app": 7,
}  # fmt: skip
NAMED = re.compile(rf"dovetail\.({'|'.join(RANKS)})(\.\w+)*")
HEAVY = {"torch", "transformers", "pandas", "matplotlib", "compressed_tensors", "tokenizers", "scipy", "httpx"}


def imported(source: str) -> Iterator[str]:
    """Dotted names a module imports, at the top or late, also through a string handed to `importlib`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "dovetail.relative" if node.level else node.module
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and NAMED.fullmatch(str(node.value)):
            yield node.value


def wrongs(room: str, source: str) -> list[str]:
    """The imports of a module in `room` that go up, sideways, or to a room that does not exist."""
    rooms = {name.split(".")[1] for name in imported(source) if name.startswith("dovetail.")} - {room}
    return [f"{room} -> {other}" for other in sorted(rooms) if RANKS.get(other, 99) >= RANKS.get(room, -1)]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    assert not wrongs(path.relative_to(PACKAGE).parts[0], path.read_text())


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("cost", "def f():\n    from dovetail.recipe import Recipe"),
        ("model", "import dovetail.workload"),
        ("core", "import importlib\nimportlib.import_module('dovetail.app.cli')"),
        ("app", "from .. import core"),
        ("utils", "from dovetail.core import units"),
        ("app", "import dovetail.helpers"),
        ("design", "from dovetail import estimate"),
    ],
)
def test_the_rank_test_can_fail(room: str, source: str) -> None:
    assert wrongs(room, source)


def test_the_documented_ranks_are_these(root: Path) -> None:
    table = re.findall(r"^\| `(\w+)` \| (\d) \|", (root / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert {room: int(rank) for room, rank in table} == RANKS


def modules_after(code: str) -> set[str]:
    """Top-level modules a fresh interpreter holds after `code`, which may end by `SystemExit(0)`."""
    script = f"""import json, sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
finally:
    print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})), file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_dovetail_imports_next_to_nothing() -> None:
    loaded = modules_after("import dovetail; dovetail.__version__; dir(dovetail)")
    assert not loaded & {"numpy", "yaml", "pydantic", "typer", "rich", *HEAVY}


def modules_of(arguments: list[str]) -> set[str]:
    return modules_after(f"sys.argv = ['dovetail', *{arguments}]; from dovetail.app.cli import main; sys.exit(main())")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["estimate", "Qwen/Qwen3-8B", "--on", "h200-sxm", "--batch", "32", "--prompt", "2048", "--output", "256"],
        ["estimate", "Qwen/Qwen3-8B", "--on", "h200-sxm", "--recipe", "w4a16-rtn", "--json"],
        ["ls", "machines"],
    ],
    ids=" ".join,
)
def test_light_verbs_load_nothing_heavy(arguments: list[str]) -> None:
    assert not modules_of(arguments) & HEAVY


def test_help_needs_no_arithmetic() -> None:
    assert not modules_of(["--help"]) & {"numpy", "yaml", "sqlite3"}
