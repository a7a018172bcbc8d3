"""Every example runs: spaces are searched, programs end well and print what their docstring promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dovetail.search import Space
from dovetail.search.codesign import search_space

EXAMPLES = Path(__file__).parents[1] / "examples"
FEWER = {"study-embedded": {"recipes": ["w8a8"]}}  # the quality of each recipe is measured


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_space_has_a_winner_that_meets_its_constraints(path: Path) -> None:
    fewer = FEWER.get(path.stem, {})
    space, found = Space.load(path, **fewer), search_space(path, **fewer)
    assert found.winner is not None
    assert found.winner in found.front
    assert found.evaluated + sum(points for _, points in found.pruned) == found.points == space.size
    for rule in space.constraints:
        assert rule.holds(float(found.winner[rule.metric]))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_a_program_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="building needs the torch extra")
    command = [sys.executable, str(path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLES.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "checkpoint" / "model.safetensors").exists()
    assert "winner" in done.stdout
    assert "vllm serve" in done.stdout
