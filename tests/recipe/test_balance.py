"""SmoothQuant's formula, AWQ's search against brute force, and both methods as a whole on small models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dovetail.core.errors import DovetailError
from dovetail.recipe.arithmetic.balance import balance, searched
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.awq import AWQ, error
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.methods.smoothquant import SmoothQuant
from dovetail.recipe.outliers import with_outliers
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.load import load

Find = Callable[[str], Path]
FEW = Calibration(samples=4, tokens=32)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_the_formula_in_float64(alpha: float) -> None:
    x, w = random(50).abs() * 30, random(50, seed=1).abs()
    expected = x.double().numpy() ** alpha / w.double().numpy() ** (1 - alpha)
    np.testing.assert_allclose(balance(x, w, alpha).numpy(), expected, rtol=1e-5)


def test_at_one_half_inputs_and_weights_end_equally_large() -> None:
    x, w = random(20).abs() + 0.1, random(20, seed=1).abs() + 0.1
    scale = balance(x, w, 0.5)
    torch.testing.assert_close(x / scale, w * scale)
    torch.testing.assert_close(w * balance(x, w, 0.0), torch.ones(20))
    torch.testing.assert_close(x / balance(x, w, 1.0), torch.ones(20))


def test_channels_without_inputs_or_weights_stay() -> None:
    scale = balance(torch.tensor([0.0, 4.0, 4.0, 1e-30]), torch.tensor([1.0, 0.0, 1.0, 1.0]), 0.5)
    assert scale[:3].tolist() == [1.0, 1.0, 2.0]
    assert 0 < float(scale[3]) == pytest.approx((4e-5) ** 0.5)
    for broken in (float("nan"), float("inf")):
        with pytest.raises(DovetailError, match="not finite"):
            balance(torch.tensor([1.0, broken]), torch.ones(2), 0.5)


def brute_force(weight: np.ndarray, inputs: np.ndarray, alpha: float | None, bits: int) -> float:
    """Float64 loss of symmetric rounding per row, of outputs on `inputs`, after scaling at `alpha`."""
    scale = np.ones(weight.shape[1])
    if alpha is not None:
        scale = np.abs(inputs).mean(0) ** alpha / np.abs(weight).mean(0) ** (1 - alpha)
    scaled = weight * scale
    step = np.abs(scaled).max(1, keepdims=True) / ((2**bits - 1) / 2)
    rounded = np.clip(np.round(scaled / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step / scale
    return float((((rounded - weight) @ inputs.T) ** 2).sum())


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_the_alpha_of_brute_force(seed: int) -> None:
    weight, inputs = random(5, 12, seed=seed), random(40, 12, seed=seed + 100) * (1 + 40 * (torch.arange(12) % 5 == 0))
    alphas = [i / 10 for i in range(11)]
    scheme = Scheme(3, 0)
    best = searched(
        inputs.abs().mean(0), weight.abs().mean(0), lambda s: error(weight, s, inputs, scheme, torch.float32), alphas
    )
    losses = {a: brute_force(weight.double().numpy(), inputs.double().numpy(), a, 3) for a in (None, *alphas)}
    assert best.alpha == min(losses, key=lambda a: losses[a])
    assert best.ratio == pytest.approx(losses[best.alpha] / losses[None], rel=1e-3)
    assert float(best.scale.log().mean()) == pytest.approx(0, abs=1e-5)


def test_no_scaling_is_kept_where_scaling_does_not_help() -> None:
    weight = torch.tensor([[1.0, -3.0, 5.0, -7.0]])  # odd multiples of half a step: exact as they are
    found = searched(
        torch.tensor([1.0, 9.0, 2.0, 5.0]), weight.abs()[0],
        lambda s: error(weight, s, random(9, 4), Scheme(3, 0), torch.float32), [0.3, 0.6],
    )  # fmt: skip
    assert found.ratio <= 1.0
    flat = searched(torch.ones(4), torch.ones(4), lambda s: 0.0, [0.5])
    assert (flat.alpha, flat.ratio) == (None, 1.0)
    assert flat.scale.tolist() == [1.0] * 4


@pytest.fixture(scope="module")
def outliers(model_folder: Find, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_outliers(model_folder("stories260K"), tmp_path_factory.mktemp("outliers") / "model")


def logits(folder: Path) -> torch.Tensor:
    ids = torch.randint(500, (4, 48), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = load(folder).model(ids).logits
    return found


def loss(source: Path, out: Path, *steps: object) -> float:
    """Mean squared change of logits by a recipe."""
    Recipe.load(list(steps)).apply(source, out, calibration=FEW)
    return float((logits(out) - logits(source)).square().mean())


def test_smoothing_alone_changes_nothing_but_what_is_stored(model_folder: Find, tmp_path: Path) -> None:
    """stories260K is in fp32: logits to 1e-4 of the largest; bf16 models to the rounding of their weights."""
    for name, share in (("stories260K", 1e-4), ("qwen2", 2e-2), ("gemma2", 2e-2)):
        if name == "stories260K":
            before = logits(model_folder(name))
        else:
            ids = torch.randint(90, (2, 16), generator=torch.Generator().manual_seed(0))
            before = load(model_folder(name)).model(ids).logits.detach()
        out = Recipe.load(["smoothquant"]).apply(model_folder(name), tmp_path / name, calibration=FEW).path
        after = logits(out) if name == "stories260K" else load(out).model(ids).logits.detach()
        torch.testing.assert_close(after, before, rtol=0, atol=share * float(before.abs().max()))
        old, new = (load_file(path / "model.safetensors") for path in (model_folder(name), out))
        assert old.keys() == new.keys()
        assert not torch.equal(
            old["model.layers.0.input_layernorm.weight"], new["model.layers.0.input_layernorm.weight"]
        )
        assert torch.equal(old["model.norm.weight"], new["model.norm.weight"])


def test_outliers_are_what_both_methods_are_for(outliers: Path, tmp_path: Path) -> None:
    """At least 70 % of the change of logits is gone."""
    per_token = RTN(8, 0, act_bits=8)
    plain, smooth = loss(outliers, tmp_path / "a", per_token), loss(outliers, tmp_path / "b", SmoothQuant(), per_token)
    assert smooth < 0.3 * plain
    plain = loss(outliers, tmp_path / "c", RTN(4, 64))
    for rounding in ("nearest", "gptq"):
        assert loss(outliers, tmp_path / rounding, AWQ(4, 64, rounding=rounding)) < 0.3 * plain


@pytest.mark.parametrize(
    "steps", [(SmoothQuant(0.6),), (AWQ(3, 64, points=4),), (SmoothQuant(), AWQ(4, 64, False, points=2))]
)
def test_the_same_call_gives_the_same_bytes(model_folder: Find, tmp_path: Path, steps: tuple[object, ...]) -> None:
    made = [Recipe.load(list(steps)).apply(model_folder("stories260K"), tmp_path / n, calibration=FEW) for n in "ab"]
    first, second = (one.path.joinpath("model.safetensors").read_bytes() for one in made)
    assert first == second
    other = Recipe.load(list(steps)).apply(
        model_folder("stories260K"), tmp_path / "c", calibration=Calibration(samples=4, tokens=32, seed=1)
    )
    assert other.path.joinpath("model.safetensors").read_bytes() != first


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"smoothquant": {"alpha": 1.1}}, "an alpha of 1.1.*from 0 to 1"),
        ({"smoothquant": {"alpha": -0.1}}, "an alpha of -0.1"),
        ({"smoothquant": {"alpha": float("nan")}}, "an alpha of nan"),
        ({"smoothquant": {"alfa": 1}}, "did you mean 'alpha'"),
        ({"awq": {"points": 0}}, "0 values of alpha"),
        ({"awq": {"rounding": "gtpq"}}, "did you mean 'gptq'"),
        ({"awq": {"bits": 9}}, "9 bits"),
    ],
)
def test_parameters_that_cannot_be(step: object, message: str) -> None:
    with pytest.raises(DovetailError, match=message):
        Recipe.load([step])


def test_orders_that_cannot_be() -> None:
    for steps in (["rtn", "smoothquant"], ["awq", "rtn"], ["gptq", "awq"]):
        with pytest.raises(DovetailError, match="impossible order"):
            Recipe.load(steps)
    assert Recipe.load(["smoothquant", "magnitude", "awq"]).calibrated


def test_a_text_too_short_is_refused(model_folder: Find, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Once upon a time.")
    for name in ("smoothquant", "awq"):
        with pytest.raises(DovetailError, match="too short"):
            Recipe.load([name]).apply(
                model_folder("llama"), tmp_path / "out", calibration=Calibration(tmp_path / "short.txt", 4, 32)
            )
