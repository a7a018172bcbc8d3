"""``compress --for --target`` as a user meets it: the answer, its keys, and one sentence for what is wrong."""

import json
from pathlib import Path

import pytest

import dovetail.model
from dovetail.app.allocate_screen import limits_of
from dovetail.app.cli import main
from dovetail.core.errors import DovetailError
from dovetail.design.allocation.target import Limit
from dovetail.recipe.recipe import Recipe

EMBEDDED = Path(dovetail.model.__file__).parent / "embedded"
SMALL = ["--samples", "2", "--tokens", "64", "--no-speed"]
KEYS = {
    "perplexity_before", "perplexity_after", "bytes_before", "bytes_after", "path", "target", "machine", "allocation",
    "mean_bits", "sensitivity", "predicted", "met",
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("import json\n\n\ndef read(path):\n    with open(path) as f:\n        return json.load(f)\n" * 9)
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tpot<0.6x", [Limit("tpot", 0.6, True)]),
        ("tpot < 30 ms", [Limit("tpot", 0.03)]),
        ("memory<=24GB, energy<0.7x", [Limit("memory", 24e9, strict=False), Limit("energy_per_token", 0.7, True)]),
        ("energy_per_token < 2 mJ/tok", [Limit("energy_per_token", 0.002)]),
        ("quality < 1.02x and ttft<1s", [Limit("perplexity", 1.02, True), Limit("ttft", 1.0)]),
        ("perplexity < +2 %", [Limit("perplexity", 1.02, True)]),
    ],
)
def test_targets_are_read(words: str, expected: list[Limit]) -> None:
    assert list(limits_of(words)) == expected


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("tpot<3GB", "'GB' is the wrong unit for 'tpot'"),
        ("tpott<0.6x", "unknown metric 'tpott'"),
        ("tpot", "there is no <, <=, > or >="),
        ("tpot>0.6x", "is a limit from below"),
        ("throughput<2x", "no target 'throughput'"),
        ("tpot<-1x", "nothing meets"),
        ("tpot<0x", "nothing meets"),
        ("memory<3", "'memory' needs a unit"),
        ("tpot<0.6", "'tpot<0.6' has no unit. Try: 'tpot<0.6x', or tpot<30ms"),
        ("memory<3GB and energy < 2", "'energy < 2' has no unit"),
        ("tpot<0.6x,", "a side of 'and' is empty"),
        ("batch<3", "no target 'batch'"),
        ("tpot<1e999x", "no finite bound"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(words: str, sentence: str) -> None:
    with pytest.raises(DovetailError) as caught:
        limits_of(words)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--target", "tpot<0.6x"], 2, "a machine and a target belong together"),
        (["--for", "raspberry-pi-5"], 2, "a machine and a target belong together"),
        ([], 2, "no recipe"),
        (["--for", "raspberry-pi", "--target", "tpot<0.6x"], 2, "unknown machine"),
        (["--for", "h100-sxm", "--target", "tpot<0.6x"], 3, "cannot be reached"),
        (["prune50", "--for", "raspberry-pi-5", "--target", "tpot<0.6x"], 2, "bits cannot be chosen"),
        (["--for", "raspberry-pi-5", "--target", "perplexity<1.1x", "--no-quality"], 2, "has to be measured"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: list[str], code: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", "embedded", *words, "--out", str(tmp_path / "out")]) == code
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert len(shown.err.strip().splitlines()) <= 4
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["perplexity<1.5x", "weights<0.6x"])
def test_a_quality_that_could_not_be_measured_is_not_met(
    target: str, tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("dovetail.design.quality.available_memory", lambda: 10**6)
    asked = ["--for", "raspberry-pi-5", "--target", target, "--text", str(text), *SMALL, "--out", str(tmp_path / "out")]
    words = ["compress", "embedded", "w4a16-rtn:group=64", *asked]
    unknown = target.startswith("perplexity")
    assert main([*words, "--json"]) == (4 if unknown else 0)
    assert json.loads(capsys.readouterr().out)["met"] is (None if unknown else True)
    assert main([*words, "--quiet"]) == (4 if unknown else 0)
    assert ("meets the target is not known: quality cannot" in capsys.readouterr().out) == unknown


@pytest.mark.skipif(not (EMBEDDED / "model.safetensors").is_file(), reason="the embedded model is not there")
def test_it_picks_executes_measures_and_saves(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = ["--for", "raspberry-pi-5", "--target", "tpot<0.7x, perplexity<1.2x", "--text", str(text)]
    words = ["compress", "embedded", *asked, *SMALL, "--out", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= KEYS
    assert found["target"] == ["tpot < 0.7x", "perplexity < 1.2x"]
    assert found["predicted"]["tpot"]["ratio"] < 0.7
    assert found["perplexity_after"]["value"] < 1.2 * found["perplexity_before"]["value"]
    assert len(found["allocation"]) == 16
    bits = {row["name"]: row["bits"] for row in found["allocation"]}
    assert sum(bits.values()) / 16 == pytest.approx(found["mean_bits"], abs=1.5)
    assert Recipe.load(tmp_path / "out" / "recipe.yaml").methods
    assert {"report.html", "result.json", "manifest.json", "model.safetensors"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert main(words) == 0
    screen = capsys.readouterr().out
    assert all(word in screen for word in ("layers of", "gate_up", "tpot", "recipe.yaml", "tpot < 0.7x"))
    assert max(len(line) for line in screen.splitlines() if str(tmp_path) not in line) <= 100


def test_a_target_that_the_model_meets_already_changes_nothing_and_says_so(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["compress", "embedded", "w4a16-rtn", "--for", "raspberry-pi-5", "--target", "tpot<5x", "--text", str(text)]
    assert main([*words, *SMALL, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "the model as it is meets the target: nothing was changed" in capsys.readouterr().out
