"""The line of an estimate that says what a recipe costs in perplexity, or why nothing is known."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dovetail.app.cli import app


def screen(*words: str) -> str:
    done = CliRunner().invoke(app, ["estimate", *words])
    assert done.exit_code in (0, 3), done.output  # no kernel for two bits, but there is a screen
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("w8a16", "literature: fit to"),
        ("prune50", "quality no forecast for pruned weights"),
    ],
)
def test_the_line_is_there_with_a_recipe(recipe: str, says: str) -> None:
    assert says in screen("Qwen/Qwen3-8B", "--on", "h100-sxm", "--recipe", recipe)


def test_large_losses_read_well(tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text("methods: [{rtn: {bits: 2, group: 0}}]")
    shown = screen("Qwen/Qwen3-0.6B", "--on", "h100-sxm", "--recipe", str(recipe))
    line = shown[shown.index("quality perplexity +") :]
    assert "e+" not in line[:60]
    assert "hardly works" in line


def test_nothing_is_said_without_a_recipe() -> None:
    assert "quality" not in screen("Qwen/Qwen3-8B", "--on", "h100-sxm")
