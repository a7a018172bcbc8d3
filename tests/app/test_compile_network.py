"""``dovetail compile NET.pt2``: a saved network becomes a folder that classifies; and what it says where it cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.accel.frontend.inputs import load_inputs
from dovetail.accel.frontend.saved import load_saved
from dovetail.app.cli import main
from dovetail.core.errors import DovetailError
from dovetail.design.compile import Asked
from dovetail.design.network import compile_network

torch = pytest.importorskip("torch")
n = torch.nn
COUNT, SIMULATED = 40, 3


def save(module: Any, batch: int, sizes: tuple[int, ...], path: Path, *, open_batch: bool = False) -> Path:
    dynamic = ({0: torch.export.Dim("batch")},) if open_batch else None
    torch.export.save(torch.export.export(module, (torch.randn(batch, *sizes),), dynamic_shapes=dynamic), path)
    return path


def cnn() -> Any:
    torch.manual_seed(3)
    module = n.Sequential(
        n.Conv2d(2, 3, 3, padding=1), n.BatchNorm2d(3), n.ReLU(), n.MaxPool2d(2), n.Dropout(), n.Flatten(),
        n.Linear(27, 4),
    )  # fmt: skip
    module(torch.randn(50, 2, 6, 6))  # the batch norm sees some images
    return module.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNN whose batch is open, and images with the classes that it gives them, one in four wrong."""
    folder, module = tmp_path_factory.mktemp("net"), cnn()
    save(module, 3, (2, 6, 6), folder / "net.pt2", open_batch=True)
    images = torch.randn(COUNT, 2, 6, 6, generator=torch.Generator().manual_seed(4))
    labels = module(images).argmax(-1).numpy()
    labels[::4] = (labels[::4] + 1) % 4
    np.savez(folder / "in.npz", inputs=images.numpy(), labels=labels)
    return folder


@pytest.fixture(scope="module")
def compiled(files: Path, tools: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compiled") / "chip"
    given = [str(files / "net.pt2"), "--inputs", str(files / "in.npz"), "--simulate", str(SIMULATED)]
    arguments = ["compile", *given, "--target", "ecp5-85", "--no-synthesis", "--quiet", "--json", "--out", str(out)]
    assert main(arguments) == 0
    return out


def test_inputs_out_of_the_verilog_are_the_integer_models(compiled: Path, files: Path) -> None:
    found = json.loads((compiled / "result.json").read_text())
    assert found["bits_different"] == 0
    assert found["simulation"]["bits"] > 1000
    assert found["cycles_per_token"]["predicted"] == pytest.approx(found["cycles_per_token"]["simulated"], rel=0.02)
    images = np.load(files / "in.npz")["inputs"][COUNT // 2 :]
    logits = cnn()(torch.from_numpy(images)).detach().numpy()
    margin = np.sort(logits[:SIMULATED], axis=-1)
    sure = margin[:, -1] - margin[:, -2] > 2 * found["accuracy"]["largest_error"] * np.abs(logits).max()
    assert (np.array(found["classes"])[sure] == logits[:SIMULATED].argmax(-1)[sure]).all()
    assert sure.any()
    assert found["accuracy"]["float"] == 0.75
    assert found["accuracy"]["inputs"] == COUNT // 2
    assert 0 < found["accuracy"]["largest_error"] < 0.1
    assert abs(found["accuracy"]["integer"] - 0.75) <= 1 - found["accuracy"]["agree"]
    assert "Timeline, input" in (compiled / "report.html").read_text()


def test_the_folder_classifies_by_itself(compiled: Path, files: Path, tools: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make")
    folder = shutil.copytree(compiled, tmp_path / "moved")
    classes = json.loads((compiled / "result.json").read_text())["classes"]

    def sim(*more: str) -> Any:
        command = ["make", "-s", "-C", str(folder), "OPT_FAST=-O0", "sim", *more]
        return subprocess.run(command, env=tools, capture_output=True, text=True, timeout=300)

    done = sim()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("input")]
    assert lines == [f"input {index}: class {each}" for index, each in enumerate(classes)]
    assert "3 of 3 classes are the integer model's" in done.stderr
    np.save(tmp_path / "last.npy", np.load(folder / "inputs.npy")[-1:].astype(np.float64))
    assert f"input 0: class {classes[-1]}" in sim(f"INPUTS={tmp_path / 'last.npy'}").stdout
    assert "input 1" not in sim("COUNT=1").stdout
    np.save(tmp_path / "other.npy", np.zeros((1, 5), np.float32))
    assert "the network reads 72" in sim(f"INPUTS={tmp_path / 'other.npy'}").stderr
    (folder / "classes.txt").write_text("".join(f"{(each + 1) % 4}\n" for each in classes))
    assert sim().returncode != 0


@pytest.mark.parametrize("batch", [1, 5])
def test_a_program_of_one_batch_is_the_same_network(files: Path, tmp_path: Path, batch: int) -> None:
    images = load_inputs(files / "in.npz", (2, 6, 6)).values
    fixed = load_saved(save(cnn(), batch, (2, 6, 6), tmp_path / "fixed.pt2"))
    assert (fixed.batch, fixed.sizes) == (batch, (2, 6, 6))
    assert np.allclose(fixed.run(images), load_saved(files / "net.pt2").run(images), atol=1e-5)
    assert [node.name for node in fixed.graph("net").nodes] == ["0", "2", "3.max", "6"]


def test_an_mlp_in_four_bits_without_labels(tmp_path: Path) -> None:
    module = n.Sequential(n.Linear(12, 32), n.ReLU(), n.Linear(32, 3)).eval()
    np.save(tmp_path / "in.npy", np.random.default_rng(0).normal(size=(30, 12)))
    found = compile_network(
        save(module, 1, (12,), tmp_path / "mlp.pt2"), "u280", tmp_path / "chip", tmp_path / "in.npy", recipe="w4a8",
        asked=Asked(synthesis=False, context=16),
    )  # fmt: skip
    assert found["bits_different"] is None
    assert found["accuracy"]["float"] is None
    assert found["accuracy"]["agree"] >= 0.6
    assert len(np.load(tmp_path / "chip" / "inputs.npy")) == 16


BAD = {
    "not a .pt2": (lambda folder: (folder / "net.pt2").write_text("hello"), "not a .pt2 file"),
    "a state": (lambda folder: torch.save({"a": torch.zeros(1)}, folder / "net.pt2"), "not a .pt2 file"),
    "operator": (lambda folder: save(
        n.Sequential(n.Linear(8, 4), n.Tanh(), n.Linear(4, 2)).eval(), 1, (8,), folder / "net.pt2",
    ), r"1: operator 'aten.tanh.default'.*'gelu'"),
    "training": (lambda folder: save(
        n.Sequential(n.Linear(8, 4), n.Dropout()).train(), 1, (8,), folder / "net.pt2",
    ), "training mode.*dropout"),
    "matrices": (lambda folder: save(n.Linear(8, 4).eval(), 1, (5, 8), folder / "net.pt2"), "neither vectors nor maps"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_network_that_cannot_be_compiled_is_refused(name: str, tmp_path: Path) -> None:
    make, words = BAD[name]
    make(tmp_path)
    np.save(tmp_path / "in.npy", np.ones((4, 8), np.float32))
    with pytest.raises(DovetailError, match=words):
        compile_network(tmp_path / "net.pt2", "ecp5-85", tmp_path / "chip", tmp_path / "in.npy")
    assert not (tmp_path / "chip").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"inputs": np.zeros((4, 2, 6, 5))}, "4 x 2 x 6 x 5, the network reads inputs of 2 x 6 x 6"),
        ({"inputs": np.zeros((0, 2, 6, 6))}, "another shape"), ({"images": np.zeros((4, 2, 6, 6))}, "it has images"),
        ({"inputs": np.full((4, 2, 6, 6), np.nan)}, "not finite"),
        ({"inputs": np.zeros((4, 2, 6, 6)), "labels": np.zeros(3, int)}, "labels that do not fit"),
        ({"inputs": np.zeros((4, 2, 6, 6), complex)}, "no real numbers"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(arrays: dict[str, Any], words: str, files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(DovetailError, match=words):
        compile_network(files / "net.pt2", "ecp5-85", tmp_path / "chip", tmp_path / "in.npz")


def test_what_is_missing_is_said(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--target", "ecp5-85", "--out", str(tmp_path / "chip")]
    net, given = str(files / "net.pt2"), ["--inputs", str(files / "in.npz")]
    for arguments, words in (
        ([net], "no inputs to calibrate on"), (["embedded", *given], "not a .pt2 file"),
        ([str(tmp_path / "no.pt2"), *given], "no such file"), ([net, "--inputs", "no.npy"], "no such file"),
        ([net, "--inputs", net], "no array of inputs"), ([net, *given, "--simulate", "41"], "--inputs holds 40"),
        ([net, *given, "--text", str(files / "in.npz")], "reads numbers"),
    ):  # fmt: skip
        assert main(["compile", *arguments, *to]) != 0
        assert words in capsys.readouterr().err
