"""Sensitivity against a whole forward pass of a changed model, and second order against what is measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.recipe.arithmetic.gptq import gptq
from dovetail.recipe.arithmetic.rounding import grid, nearest
from dovetail.recipe.arithmetic.sensitivity import divergence, second_order
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.method import Rounds
from dovetail.recipe.methods.awq import AWQ
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.sensitivity import Sensitivity, sensitivity
from dovetail.runtime.load import Loaded, load

NEAREST = RTN(4, 32)
SCHEME = NEAREST.scheme()
GROUPS = {
    "qkv.0": tuple(f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"),
    "down.0": ("model.layers.0.mlp.down_proj.weight",),
    "gate_up.1": tuple(f"model.layers.1.mlp.{part}_proj.weight" for part in ("gate", "up")),
    "o.1": ("model.layers.1.self_attn.o_proj.weight",),
}
TEXT = Calibration(samples=3, tokens=24)


def apart(one: Loaded, other: Loaded, batches: Sequence[torch.Tensor]) -> float:
    """Mean divergence over every place, both models run as a whole."""
    found = []
    for ids in batches:
        with torch.inference_mode():
            p, q = (torch.log_softmax(m.model(ids).logits.double(), -1).numpy() for m in (one, other))
        found.append((np.exp(p) * (p - q)).sum(-1).mean())
    return float(np.mean(found))


def direct(folder: Path, tensors: tuple[str, ...], bits: int) -> float:
    """Mean divergence in float64."""
    loaded, changed = load(folder, "fp64"), load(folder, "fp64")
    for name in tensors:
        linear = changed.model.get_submodule(name.removesuffix(".weight"))
        scheme = replace(SCHEME, bits=bits)
        stored = linear.weight.data.float()
        scale, zero = grid(stored, scheme, torch.bfloat16)
        linear.weight.data = nearest(stored, scale, zero, scheme).double()
    return apart(loaded, changed, TEXT.batches(folder, 64))


@pytest.fixture(scope="module")
def measured(model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Sensitivity:
    cache = tmp_path_factory.mktemp("cache")
    return sensitivity(model_folder("llama"), GROUPS, (2, 4), NEAREST, calibration=TEXT, cache=cache)


def test_measured_is_what_a_whole_changed_model_does(
    measured: Sensitivity, model_folder: Callable[[str], Path]
) -> None:
    for row, tensors in enumerate(GROUPS.values()):
        for column, bits in enumerate((2, 4)):
            expected = direct(model_folder("llama"), tensors, bits)
            assert measured.nats[row][column] == pytest.approx(expected, rel=2e-2, abs=2e-7)


def test_second_order_is_near_what_is_measured(
    measured: Sensitivity, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Small changes: within a factor of two and a half on a random model, and in the same order of sizes."""
    found = sensitivity(
        model_folder("llama"), GROUPS, (4,), NEAREST, how="second-order", calibration=TEXT, cache=tmp_path
    )
    ratios = np.array([found.nats[i][0] / measured.nats[i][1] for i in range(len(GROUPS))])
    assert ((ratios > 0.4) & (ratios < 2.5)).all(), ratios


def test_the_model_is_left_as_it_was_and_results_are_kept(
    measured: Sensitivity, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Groups in another order measure the same, so no change outlives its turn; a second call only reads."""
    turned = dict(reversed(GROUPS.items()))
    again = sensitivity(model_folder("llama"), turned, (4, 2), NEAREST, calibration=TEXT, cache=tmp_path)
    np.testing.assert_allclose(again.nats, np.array(measured.nats)[::-1, ::-1], rtol=1e-4)
    lines: list[str] = []
    kept = sensitivity(
        model_folder("llama"), turned, (4, 2), NEAREST, calibration=TEXT, cache=tmp_path, report=lines.append
    )
    assert kept == again
    assert not lines
    next(tmp_path.glob("*.json")).write_text("{")
    assert sensitivity(model_folder("llama"), turned, (4, 2), NEAREST, calibration=TEXT, cache=tmp_path) == again


def test_gptq_loses_less_than_the_nearest(
    measured: Sensitivity, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    found = sensitivity(model_folder("llama"), GROUPS, (2, 4), GPTQ(4, 32), calibration=TEXT, cache=tmp_path)
    assert np.sum(found.nats) < np.sum(measured.nats)


def moment_of(loaded: Loaded, tensor: str, batches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Second moment of the inputs of a matrix over whole forward passes."""
    rows: list[torch.Tensor] = []
    linear = loaded.model.get_submodule(tensor.removesuffix(".weight"))
    handle = linear.register_forward_pre_hook(lambda module, given: rows.append(given[0].flatten(0, 1)))
    with torch.inference_mode():
        for ids in batches:
            loaded.model(ids)
    handle.remove()
    x = torch.cat(rows)
    return x.T @ x


@pytest.mark.parametrize("given", [{"order": False}, {"search": False}, {"damp": 3.0}], ids=str)
def test_gptq_is_judged_with_its_own_parameters(
    model_folder: Callable[[str], Path], tmp_path: Path, given: dict[str, Any]
) -> None:
    """Against matrices rounded here, by the inputs of the sequences that the loss is not judged on."""
    folder, method = model_folder("llama"), GPTQ(3, 32, **given)
    found = sensitivity(folder, GROUPS, (3,), method, calibration=TEXT, cache=tmp_path)
    whole = torch.cat(TEXT.batches(folder, 64))
    loaded = load(folder)
    for (nats,), tensors in zip(found.nats, GROUPS.values(), strict=True):
        changed = load(folder)
        for name in tensors:
            linear = changed.model.get_submodule(name.removesuffix(".weight"))
            moment = moment_of(loaded, name, [whole[1:]])
            done = gptq(linear.weight.data, moment, replace(SCHEME, bits=3), dtype=torch.bfloat16, **given)
            linear.weight.data = done.values
        assert nats == pytest.approx(apart(loaded, changed, [whole[:1]]), rel=3e-2)
    usual = sensitivity(folder, GROUPS, (3,), GPTQ(3, 32), calibration=TEXT, cache=tmp_path)
    assert np.abs(np.array(usual.nats) / np.array(found.nats) - 1).max() > 0.05  # nothing was taken from the cache


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_awq_is_judged_as_what_is_executed(model_folder: Callable[[str], Path], tmp_path: Path, rounding: str) -> None:
    """Against the recipe itself with all other layers left, on sequences that neither has looked at."""
    folder, method = model_folder("llama"), AWQ(3, 32, points=5, rounding=rounding)
    text = Calibration(samples=24, tokens=64)
    found = sensitivity(folder, GROUPS, (3,), method, calibration=text, cache=tmp_path / "cache")
    judged = Calibration(samples=8, tokens=64, seed=text.seed + 1).batches(folder, 64)
    for (nats,), tensors in zip(found.nats, GROUPS.values(), strict=True):
        alone = replace(method, layers=(*((name.removesuffix(".weight"), 3) for name in tensors), ("*", 16)))
        Recipe("alone", (alone,)).apply(folder, tmp_path / "out", calibration=text)
        expected = apart(load(folder), load(tmp_path / "out"), judged)
        assert nats == pytest.approx(expected, rel=0.15 if rounding == "nearest" else 0.35)


def test_what_is_kept_is_that_of_the_method_whatever_its_bits(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    lines: list[str] = []

    def found(method: Rounds) -> Sensitivity:
        lines.clear()
        some = {"down.0": GROUPS["down.0"]}
        return sensitivity(
            model_folder("llama"), some, (3,), method, how="second-order", calibration=TEXT, cache=tmp_path,
            report=lines.append,
        )  # fmt: skip

    several = [
        RTN(3, 32), RTN(3, 64), RTN(3, 32, False), GPTQ(3, 32), GPTQ(3, 32, damp=0.1), GPTQ(3, 32, order=False),
        GPTQ(3, 32, search=False), AWQ(3, 32, points=3), AWQ(3, 32, points=3, search=False),
        AWQ(3, 32, points=3, rounding="gptq"),
    ]  # fmt: skip
    nats = []
    for method in several:
        nats.append(found(method).nats)
        assert lines
    assert len(set(nats)) == len(several)
    for method, earlier in zip(several, nats, strict=True):
        assert found(replace(method, bits=8)).nats == earlier
        assert not lines


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (("model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"), "no single decoder layer"),
        (("lm_head.weight",), "no single decoder layer"),
        (("model.layers.0.mlp.sideways_proj.weight",), "no linear layer"),
    ],
)
def test_what_cannot_be_changed_is_refused_by_name(
    model_folder: Callable[[str], Path], tmp_path: Path, tensors: tuple[str, ...], words: str
) -> None:
    with pytest.raises(DovetailError, match=words) as caught:
        sensitivity(model_folder("llama"), {"odd": tensors}, (4,), NEAREST, calibration=TEXT, cache=tmp_path)
    assert caught.value.exit_code == 3


def test_divergence_is_that_of_the_definition() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=(2, 5, 7))
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (a, b))
    found = divergence(torch.from_numpy(a), torch.from_numpy(b + 3.0))
    np.testing.assert_allclose(found.numpy(), (p * np.log(p / q)).sum(-1), rtol=1e-12)
    assert float(divergence(torch.from_numpy(a), torch.from_numpy(a)).max()) == 0


def test_second_order_is_the_mean_over_inputs_of_a_quadratic_form() -> None:
    """For one linear layer before a softmax with a diagonal curvature: the sum over samples, one by one."""
    draw = np.random.default_rng(2)
    x, change, curvature = draw.normal(size=(50, 6)), draw.normal(size=(4, 6)), draw.random(4)
    expected = np.mean([0.5 * (curvature * (change @ one) ** 2).sum() for one in x])
    moment = torch.from_numpy(x.T @ x / len(x))
    assert second_order(torch.from_numpy(change), moment, torch.from_numpy(curvature)) == pytest.approx(expected)
