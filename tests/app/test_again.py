"""Answers made again from their manifests: the same, or what differs; verbs that make things are refused by name."""

import json
from pathlib import Path

import pytest

from dovetail.app.again import PREDICTIONS, replay
from dovetail.app.cli import main
from dovetail.core.errors import DovetailError

SPACE = """
models: [Qwen/Qwen3-8B]
recipes: [none, w8a16]
machines: [l4]
workload: {batch: [1, 8], prompt: 128, output: 32}
objectives: [tpot, energy_per_token]
"""
ASKED = {
    "show": ["show", "l4"],
    "recipe show": ["recipe", "show", "w8a16"],
    "estimate": ["estimate", "Qwen/Qwen3-8B", "--on", "l4"],
    "explain": ["explain", "tpot", "Qwen/Qwen3-8B", "--on", "l4"],
    "advise": ["advise", "Qwen/Qwen3-8B", "--on", "l4"],
    "why-not": ["why-not", "space.yaml", "recipe=none", "batch=8"],
    "crossbar map": ["crossbar", "map", "Qwen/Qwen3-0.6B", "--machine", "arrays.yaml"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def kept(words: list[str], monkeypatch: pytest.MonkeyPatch, out: str = "kept") -> Path:
    """The manifest of a command that kept its answer."""
    command = [*words, "--quiet", "--out", out]
    monkeypatch.setattr("sys.argv", ["dovetail", *command])
    assert main(command) in (0, 3)
    return Path(out) / "manifest.json"


@pytest.mark.parametrize("verb", PREDICTIONS)
def test_every_prediction_is_made_again(verb: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = kept(ASKED[verb], monkeypatch)
    (place / "arrays.yaml").unlink(missing_ok=True)
    found = replay(manifest)
    assert found.answer == ()
    assert found.values > 3
    assert not (place / "arrays.yaml").exists()  # nothing is written


def test_what_differs_is_told_by_its_path(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = kept(ASKED["estimate"], monkeypatch)
    result = json.loads((place / "kept" / "result.json").read_text())
    result["tpot"]["value"] *= 1.01
    (place / "kept" / "result.json").write_text(json.dumps(result))
    assert [d.where for d in replay(manifest).answer] == ["tpot.value"]
    capsys.readouterr()
    assert main(["replay", str(manifest), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["same"], told["differences"][0]["where"]) == (False, "tpot.value")


def test_an_input_that_changed_or_is_gone_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = kept(ASKED["why-not"], monkeypatch)
    (place / "space.yaml").write_text(SPACE + "# a comment\n")
    found = replay(manifest)
    assert found.answer == ()
    assert "inputs.space.yaml" in {d.where for d in found.around}
    (place / "space.yaml").unlink()
    with pytest.raises(DovetailError, match="fails now"):
        replay(manifest)


def test_a_search_is_one_of_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = kept(["search", "space.yaml"], monkeypatch)
    assert replay(manifest).answer == ()


@pytest.mark.parametrize("command", ["dovetail compress x --out y", "dovetail measure y", "build", ""])
def test_what_measures_or_makes_things_is_refused_with_what_can_be(place: Path, command: str) -> None:
    (place / "manifest.json").write_text(json.dumps({"command": command}))
    with pytest.raises(DovetailError, match="cannot be replayed") as caught:
        replay(place / "manifest.json")
    if command.startswith("dovetail"):
        assert command in caught.value.hint
        assert "estimate" in caught.value.hint


def test_a_command_that_no_shell_reads_is_told(place: Path) -> None:
    (place / "manifest.json").write_text(json.dumps({"command": "dovetail show 'l4"}))
    with pytest.raises(DovetailError, match="no shell reads") as told:
        replay(place / "manifest.json")
    assert "quot" in told.value.why


def test_options_of_a_design_are_refused_beside_a_pick(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "space.yaml", "--pick", "tpot < 30 ms", "--tp", "2", "--batch", "4", "--out", "made"]
    assert main(command) == 2
    assert "--batch, --tp beside --pick" in capsys.readouterr().err
    assert not (place / "made").exists()
