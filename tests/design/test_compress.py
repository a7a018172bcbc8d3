"""Compression as users meet it: measured before and after, resumed, refused; the card and the config it writes."""

import json
from pathlib import Path
from typing import Any

import pytest

import dovetail.model
from dovetail.app.cli import main
from dovetail.core.errors import DovetailError
from dovetail.design.compress import Check, compress
from dovetail.design.quality import measured_change
from dovetail.recipe.layerwise.calibration import Calibration

EMBEDDED = Path(dovetail.model.__file__).parent / "embedded"
SMALL = Calibration(samples=4, tokens=64)
QUICK = {"speed": False, "machines": ()}
TEXT = "The module provides functions that return a list of names. " * 30


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of several documents."""
    folder = tmp_path_factory.mktemp("text")
    for name, words in (("a.txt", TEXT), ("b.md", TEXT[200:900]), ("c.txt", "import os\n" * 60), ("d.log", "no")):
        (folder / name).write_text(words)
    return folder


@pytest.fixture(scope="module")
def done(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("compressed") / "out"
    return compress("embedded", "w3a16-gptq:group=32", out, calibration=SMALL, check=Check(text=text, **QUICK))


def test_quality_has_intervals_over_documents(done: dict[str, Any], text: Path) -> None:
    for key in ("perplexity_before", "perplexity_after", "perplexity_ratio", "kl", "kl_back", "top1"):
        found = done[key]
        assert found["low"] <= found["value"] <= found["high"]
        assert found["kind"] == "measured"
    assert done["kl"]["value"] > 0
    assert 0 < done["top1"]["value"] < 1
    assert "3 pieces" in done["kl"]["source"]
    assert done["pieces"] == 3
    assert done["notes"] == []
    ratio = done["perplexity_after"]["value"] / done["perplexity_before"]["value"]
    assert done["perplexity_ratio"]["value"] == pytest.approx(ratio)
    again = measured_change(EMBEDDED, Path(done["path"]), text=text)  # from the cache, or measured: the same
    assert again.kl[0] == done["kl"]["value"]


def test_the_card_and_the_record_say_what_was_measured(done: dict[str, Any]) -> None:
    folder = Path(done["path"])
    record = json.loads((folder / "dovetail.json").read_text())
    assert record["measured"]["kl"] == done["kl"]
    card = (folder / "README.md").read_text()
    kl, top1 = done["kl"], done["top1"]
    assert f"| {kl['value']:.4f} | {kl['low']:.4f} – {kl['high']:.4f} |" in card
    assert f"| {top1['value']:.2%} | {top1['low']:.2%} – {top1['high']:.2%} |" in card
    assert "calibrated on 4 x 64 tokens" in card
    assert "not measured" not in card


def test_memory_is_forecast_and_measured(done: dict[str, Any]) -> None:
    predicted, measured = done["memory"]["predicted"], done["memory"]["measured"]
    assert predicted["kind"] == "modelled"
    assert 0 < measured["value"] < 2 * predicted["value"]


def test_quality_that_is_not_wanted_is_not_measured(tmp_path: Path) -> None:
    found = compress("embedded", "w8a16", tmp_path / "out", check=Check(quality=False, **QUICK))
    assert found["kl"] is found["perplexity_after"] is None
    assert found["quality_why"] == "not asked for"
    assert "not measured" in (tmp_path / "out" / "README.md").read_text()


def test_models_too_large_to_measure_are_compressed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovetail.design.quality.available_memory", lambda: 10**6)
    found = compress("embedded", "w8a16", tmp_path / "out", check=Check(**QUICK))
    assert "both models need" in found["quality_why"]
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(("words", "said"), [("", "too short"), (b"caf\xe9", "not UTF-8"), (None, "holds no text")])
def test_texts_that_cannot_be_measured_are_refused_before_any_work(
    tmp_path: Path, words: str | bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    if words is None:
        path = tmp_path / "empty"
        path.mkdir()
    else:
        path.write_bytes(words.encode() if isinstance(words, str) else words)
    assert main(["compress", "embedded", "w4a16", "--text", str(path), "--out", str(tmp_path / "out")]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in sentence
    assert not list(tmp_path.glob("*out*"))


def test_tasks_need_the_harness_and_say_so_first(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=r"'lm_eval' is needed|no task 'arc_esy'"):
        compress("embedded", "w8a16", tmp_path / "out", check=Check(tasks=("arc_esy",), **QUICK))
    assert not list(tmp_path.iterdir())


def test_speed_here_and_where_it_pays(tmp_path: Path) -> None:
    found = compress("embedded", "w8a16", tmp_path / "out", check=Check(quality=False, machines=("a100-sxm", "l4")))
    assert [row["metric"] for row in found["speed"]] == ["decode", "prefill"]
    for row in found["speed"]:
        assert row["before"]["value"] > 0
        assert row["ratio"] > 0
    assert [row["machine"] for row in found["pays"]] == ["host", "a100-sxm", "l4"]
    assert all(row["verdict"] for row in found["pays"])


def test_what_stops_says_how_it_goes_on(tmp_path: Path) -> None:
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        if line.startswith("layer 2 of"):
            raise KeyboardInterrupt

    check = Check(quality=False, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        compress("embedded", "w4a16", tmp_path / "out", calibration=SMALL, check=check, report=report)
    assert "the same command goes on from there" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == [".out.layers"]
    said.clear()
    compress("embedded", "w4a16", tmp_path / "out", calibration=SMALL, check=check, report=said.append)
    assert "going on after layer 2 of 4" in said
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), DovetailError("the disk is full")])
def test_what_stops_while_it_is_measured_costs_no_finished_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, text: Path
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise stop

    check, said = Check(text=text, **QUICK), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr("dovetail.design.compress.measured_change", stopped)
        with pytest.raises(type(stop)):
            compress("embedded", "w4a16", tmp_path / "out", calibration=SMALL, check=check, report=said.append)
    assert "the same command goes on from there" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == [".out.layers"]
    said.clear()
    compress("embedded", "w4a16", tmp_path / "out", calibration=SMALL, check=check, report=said.append)
    assert "going on after layer 4 of 4" in said
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
