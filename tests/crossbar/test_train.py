"""What ``crossbar train`` makes: networks by name or file, codes that are the weights, a report that adds up."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.crossbar.training.fit import Fit
from dovetail.crossbar.training.penalties import BitSliceL1
from dovetail.crossbar.training.restrictions import Digits, Prune
from dovetail.crossbar.training.train import Asked, train
from dovetail.hardware.adc import adc_model

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))

def number():
    return 3
"""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn's digits, whatever lies on this computer."""
    pytest.importorskip("sklearn")
    monkeypatch.setenv("DOVETAIL_DATA", "/nonexistent")


@pytest.mark.usefixtures("few")
def test_what_is_written_is_what_was_measured(tmp_path: Path) -> None:
    made = train(Asked("mlp", (Prune(0.9), Digits(1)), Fit(6, 64), count=800, adc_bits=(5,)))
    made.save(tmp_path)
    kept, codes = torch.load(tmp_path / "weights.pt", weights_only=True), np.load(tmp_path / "codes.npz")
    for name in ("1", "3"):
        assert np.array_equal(kept[f"{name}.weight"].numpy(), codes[name] * codes[f"{name}.step"])
    values = np.concatenate([np.abs(codes[name]).ravel() for name in ("1", "3")]).astype(int)
    shares = [np.count_nonzero(values // 4**s % 4) / values.size for s in range(4)]
    found = made.found
    assert found["nonzero_slices"] == pytest.approx(shares)
    assert sum(shares) == pytest.approx(0.1, abs=0.005)
    assert 0.8 < found["accuracy_converted"] <= 1
    assert found["accuracy"] > 0.85
    assert found["adc_energy_saved"]["paper"] > found["plain"]["adc_energy_saved"]["paper"] > 1


@pytest.mark.usefixtures("few")
def test_energy_is_that_of_every_bitline_one_by_one() -> None:
    made = train(Asked("mlp", (BitSliceL1(0.1),), Fit(2, 64), count=500))
    before = after = 0.0
    price = {bits: float(adc_model("paper").energy_j(bits)) if bits else 0.0 for bits in range(10)}
    for codes in made.codes.values():
        tiles = [codes.values[:, at : at + 128] for at in range(0, codes.shape[1], 128)]
        for s in range(4):
            sums = [int(np.maximum(sign * row, 0)[:].__floordiv__(4**s).__mod__(4).sum())
                    for sign in (1, -1) for tile in tiles for row in tile]  # fmt: skip
            bits = max(total.bit_length() for total in sums)
            before += price[8] * len(sums)
            after += price[bits] * sum(total > 0 for total in sums)
    assert made.found["adc_energy_saved"]["paper"] == pytest.approx(before / after)


@pytest.mark.usefixtures("few")
def test_networks_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    name = f"{tmp_path / 'net.py'}:make"
    first = train(Asked(name, (), Fit(3, 64), count=600))
    first.save(tmp_path)
    again = train(Asked(name, (), Fit(1, 64, 1e-9), weights=tmp_path / "weights.pt", count=600))
    assert again.found["accuracy"] == pytest.approx(first.found["accuracy"], abs=0.01)
    assert first.found["parameters"] == 4 * 9 + 4 + 256 * 10 + 10
    for wrong, says in (
        ("net.py:number", "no torch module"),
        ("net.py:none", "cannot make"),
        ("not.py:make", "cannot make"),
    ):
        with pytest.raises(DovetailError, match=says):
            train(Asked(str(tmp_path / wrong), count=200))
    with pytest.raises(DovetailError, match="unknown network"):
        train(Asked("vgg", count=200))
    with pytest.raises(DovetailError, match="cannot load weights"):
        train(Asked("mlp", weights=tmp_path / "weights.pt", count=200))
