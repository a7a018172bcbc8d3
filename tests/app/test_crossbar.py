"""``dovetail crossbar``: screens, JSON, reports, and bad input in one sentence."""

import json
from pathlib import Path

import pytest

from dovetail.app.cli import main


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("import os\n\n\ndef path(name):\n    return os.path.join('a', name)\n" * 6)
    return path


def test_sim_keeps_a_report(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["crossbar", "sim", "embedded", "--text", str(text), "--tokens", "24", "--adc-bits", "7,7,7,6"]
    assert main([*arguments, "--sweep", "6", "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["adc_bits"] == [7, 7, 7, 6]
    page = (out / "report.html").read_text()
    for title in ("Cells that hold a digit", "Slice 3: bits", "what a 6-bit ADC holds", "Perplexity against ADC bits",
                  "Energy of a token by model"):  # fmt: skip
        assert title in page, title


def test_sim_screen_names_the_adc_model(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["crossbar", "sim", "embedded", "--text", str(text), "--tokens", "24", "--adc", "ideal"]
    assert main([*arguments, "--array", "512x64", "--device", "program_sigma=0.05", "--adc-model", "murmann"]) == 0
    shown = capsys.readouterr().out
    assert "murmann, never below 4 bits" in shown
    assert "ideal" in shown
    assert "arrays have more rows than some layers have inputs" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_sim_arranges_without_loss(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["crossbar", "sim", "embedded", "--text", str(text), "--tokens", "24"]
    found = []
    for options in (["--adc", "ideal"], ["--arrange", "2"]):
        assert main([*arguments, *options, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["quality"] == found[1]["quality"]
    energies = [{row["model"]: row["adc_j"] for row in each["by_model"]} for each in found]
    assert all(energies[1][name] < energies[0][name] for name in energies[0])
    assert found[1]["arranged"]["paired"] > 0
    assert main([*arguments, "--arrange", "1", "--repair", "--device", "stuck_low=0.01"]) == 0
    shown = capsys.readouterr().out
    assert "arranged    one converter an array" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_map_writes_a_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "arrays.yaml"
    assert main(["crossbar", "map", "Qwen/Qwen3-8B", "--machine", str(file), "--out", str(tmp_path / "kept")]) == 0
    shown = capsys.readouterr().out
    assert "bottleneck  the digital chip" in shown
    assert "keys and values would take" in shown
    assert "Time of a token" in (tmp_path / "kept" / "report.html").read_text()
    assert main(["explain", "tpot", "Qwen/Qwen3-8B", "--on", str(file)]) == 0
    assert "vectors - 1) x pass" in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--adc-bits", "20"], "an ADC of 20 bits"),
        (["--adc-bits", "0"], "an ADC of 0 bits"),
        (["--adc-bits", "five"], "no whole number"),
        (["--adc-bits", "5,5"], "2 numbers of bits, 4 slices"),
        (["--adc", "saturate"], "saturating"),
        (["--array", "128"], "rows x columns"),
        (["--array", "8192x128"], "an array of 8192 rows"),
        (["--device", "on_off=-1"], "on/off ratio of -1"),
        (["--device", "onoff=1"], "on_off"),
        (["--device", "wire=thin"], "no number"),
        (["--cell-bits", "3"], "no cell of 3 bits"),
        (["--encoding", "plain"], "unknown encoding"),
        (["--scale", "column"], "no scale per"),
        (["--adc-model", "cdac"], "no ADC model"),
        (["--arrange", "9"], "9 widths of converters"),
        (["--arrange", "2", "--sweep", "4"], "no sweep of arranged"),
        (["--arrange", "2", "--encoding", "offset"], "cells in 'offset' are not arranged"),
        (["--arrange", "2", "--adc", "uniform"], "uniform converters are not arranged"),
        (["--arrange", "2", "--device", "on_off=10,off_column=no"], "no converters that lose nothing"),
        (["--array", "128x0"], "an array of 0 columns"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str], words: str, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crossbar", "sim", "embedded", "--text", str(text), "--tokens", "8", *options]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_train_answers_and_keeps_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv("DOVETAIL_DATA", "/nonexistent")
    common = ["crossbar", "train", "mlp", "--epochs", "3", "--batch", "64", "--count", "500"]
    assert main([*common, "--prune", "0.8", "--digits", "1", "--adc-bits", "5", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["nonzero_slices"]) == pytest.approx(0.2, abs=0.005)
    assert len(found["nonzero_slices"]) == len(found["adc_bits"]) == 4
    assert found["data"] == "scikit-learn digits"
    assert {"codes.npz", "weights.pt", "report.html", "result.json"} <= {path.name for path in tmp_path.iterdir()}
    assert "what a" in (tmp_path / "report.html").read_text()
    assert main([*common, "--bit-slice-l1", "0.1"]) == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert "fewer" in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--adc-bits", "0"], "an ADC of 0 bits"), (["--adc-bits", "20"], "an ADC of 20 bits"),
        (["--adc-bits", "3,3", "--in-loop"], "do not match the slices"), (["--in-loop"], "no converters"),
        (["--prune", "1"], "cannot prune"), (["--l1", "-1"], "penalty of -1"), (["--cap", "x"], "no whole number"),
        (["--data", "/nowhere"], "no MNIST"), (["--stuck", "2"], "cells stuck"),
    ],
)  # fmt: skip
def test_bad_training_is_one_sentence(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOVETAIL_DATA", "/nonexistent")
    assert main(["crossbar", "train", "mlp", "--epochs", "1", "--count", "200", *options]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
