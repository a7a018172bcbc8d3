"""Recovery after rounding, against plain loops, closed forms, and what a reader makes of the result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dovetail.core.errors import DovetailError
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import statistics
from dovetail.recipe.arithmetic.slices import Price, cheapest
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.recover import Recover
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.recovery.coded import Coding
from dovetail.recipe.recovery.sensitivity import sensitivities
from dovetail.recipe.recovery.training import Schedule
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.corpus import documents
from dovetail.runtime.load import load, tokenizer_of
from dovetail.runtime.stored import Stored
from tests.recipe.conftest import save_tiny

SMALL = Calibration(samples=64, tokens=32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    known: dict[str, Path] = {}

    def make(recipe: str) -> Path:
        if recipe not in known:
            out = tmp_path_factory.mktemp("made") / "out"
            known[recipe] = Recipe.load(recipe).apply(source, out, calibration=SMALL).path
        return known[recipe]

    return make


def divergence(source: Path, folder: Path) -> float:
    """Nats a token from the dense model to another, on text that nothing was trained on."""
    text = "".join(document.text for document in documents("test"))[:20_000]
    ids = torch.tensor(tokenizer_of(source)(text, add_special_tokens=False).input_ids[: 16 * 64]).reshape(16, 64)
    with torch.inference_mode():
        wanted, found = (load(one).model(ids).logits.double().log_softmax(-1) for one in (source, folder))
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def cells(folder: Path, encoding: str = "differential") -> float:
    """Cells of a weight that are not empty."""
    stored = Stored.of(Checkpoint.open(folder))
    assert stored is not None
    total = count = 0.0
    for name in stored.integers():
        values = stored.matrix(name)[0].numpy().astype(np.int32)
        found = statistics(Codes(values, np.ones((len(values), 1)), FixedPoint(8)), Cells(2, encoding))
        total, count = total + float(found.nonzero_slices.sum()) * values.size, count + values.size
    return total / count


@pytest.mark.parametrize("zeros", [False, True])
def test_the_forward_pass_computes_with_what_is_stored(zeros: bool) -> None:
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 16, generator=source)
    scale = torch.rand(5, 2, generator=source) * 0.2 + 0.1
    zero = torch.randint(-4, 4, (5, 2), generator=source).to(torch.int8) if zeros else None
    coding = Coding(scale, zero, Scheme(4, 8, not zeros))
    coding.log.data += 0.1
    wanted = np.empty((5, 16))
    for row, col in np.ndindex(5, 16):
        step = float(scale[row, col // 8]) * np.exp(0.1)
        shift = 0 if zero is None else int(zero[row, col // 8])
        wanted[row, col] = (np.clip(np.rint(float(weight[row, col]) / step + shift), -8, 7) - shift) * step
    np.testing.assert_allclose(coding(weight).detach().numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_gradients_pass_the_rounding_and_teach_scales() -> None:
    """Of a learned step size (arXiv 1902.08153): code less weight in steps, the bound outside; times the scale."""
    weight = torch.tensor([[0.34, -0.72, 5.0, -9.0]], requires_grad=True)
    coding = Coding(torch.tensor([[0.5]]), None, Scheme(3, 0))
    coding(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1, 1, 0, 0]]
    assert coding.log.grad is not None
    parts = [1 - 0.68, -1 + 1.44, 3.0, -4.0]
    assert float(coding.log.grad) == pytest.approx(0.5 * sum(parts), rel=1e-5)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_cheapest_code_of_all_where_levels_are_free(balanced: bool) -> None:
    source = torch.Generator().manual_seed(1)
    scaled, error = torch.randn(6, 20, generator=source) * 40, torch.rand(6, 20, generator=source)
    price = Price(20.0, 0.0, bits=7, balanced=balanced)
    found = cheapest(scaled, error, price)
    for row, col in np.ndindex(6, 20):
        paid = [paid_for(code, abs(float(scaled[row, col])), float(error[row, col]), balanced) for code in range(128)]
        assert paid[int(found[row, col])] == pytest.approx(min(paid), rel=1e-4)


def paid_for(code: int, scaled: float, error: float, balanced: bool) -> float:
    """Of all ways to write a code in four digits, those with the least sum of levels, then the fewest cells."""
    ways: list[tuple[int, ...]] = [()]
    for _ in range(4):
        ways = [(*way, digit) for way in ways for digit in range(-3 if balanced else 0, 4)]
    fitting = [way for way in ways if sum(d * 4**i for i, d in enumerate(way)) == code]
    _, used = min((sum(map(abs, way)), sum(d != 0 for d in way)) for way in fitting)
    return error * (scaled - code) ** 2 + 20.0 * used


def test_sensitivities_are_squares_of_gradients_of_drawn_tokens() -> None:
    """One layer under a softmax: the gradient of its outputs is the probabilities less the drawn token."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.randn(9, 6, generator=torch.Generator().manual_seed(3))
            self.layer = torch.nn.Linear(6, 9, bias=False)

        def forward(self, ids: torch.Tensor, use_cache: bool) -> Any:
            return type("Out", (), {"logits": self.layer(self.table[ids])})

    model = Model()
    ids = torch.randint(9, (4, 7), generator=torch.Generator().manual_seed(4))
    found = sensitivities(model, {"layer.weight": model.layer}, [ids], seed=5)["layer.weight"]
    x = model.table[ids].flatten(0, 1)
    chances = (x @ model.layer.weight.T).softmax(-1).detach()
    drawn = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(5))[:, 0]
    d = (chances - torch.eye(9)[drawn]).double().numpy()
    rows, columns = (d**2).sum(0), (x.double().numpy() ** 2).sum(0)
    unit = (np.outer(rows, columns) * model.layer.weight.detach().double().numpy() ** 2).mean()
    np.testing.assert_allclose(found.rows.numpy(), rows / unit, rtol=1e-4)
    np.testing.assert_allclose(found.columns.numpy(), columns, rtol=1e-4)


@pytest.mark.parametrize(
    "rounding", ["rtn:bits=3,group=0", "rtn:bits=3,group=64,symmetric=false", "rtn:bits=4,group=0,act_bits=4"]
)
def test_it_predicts_more_like_the_dense_model(made: Callable[[str], Path], source: Path, rounding: str) -> None:
    """On text that it was not trained on, of a random model: what is stored keeps its form."""
    before, after = made(rounding), made(f"{rounding}+recover:steps=60,batch=8,rate=0.003")
    assert divergence(source, after) < 0.8 * divergence(source, before)
    infos = Checkpoint.open(before).stored, Checkpoint.open(after).stored
    assert {n: (i.dtype, i.shape) for n, i in infos[0].items()} == {n: (i.dtype, i.shape) for n, i in infos[1].items()}


def test_a_trained_model_comes_back(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """What three bits lose of a model that tells stories, on another text than the one it learned from."""
    stories, lost, long = model_folder("stories260K"), [], Calibration(samples=160, tokens=64)
    for name in ("rtn:bits=3,group=0", "rtn:bits=3,group=0+recover:steps=40,batch=4,rate=0.002"):
        out = Recipe.load(name).apply(stories, tmp_path / name[-4:], calibration=long).path
        lost.append(divergence(stories, out))
    assert lost[1] < 0.65 * lost[0]


def test_a_price_empties_cells_and_costs_quality(made: Callable[[str], Path], source: Path) -> None:
    start = "rtn:bits=8,group=0"
    done = [made(start), *(made(f"{start}+recover:steps=30,price={price}") for price in (0.003, 0.03))]
    found, lost = [cells(one) for one in done], [divergence(source, one) for one in done]
    assert found == sorted(found, reverse=True)
    assert lost == sorted(lost)
    assert found[2] < 0.7 * found[1] < 0.7 * 0.6 * found[0]


def test_without_a_step_codes_are_chosen_and_nothing_else_changes(made: Callable[[str], Path], source: Path) -> None:
    start, chosen = made("rtn:bits=8,group=0"), made("rtn:bits=8,group=0+recover:steps=0,price=0.003")
    assert cells(chosen) < 0.8 * cells(start)
    before, after = (load_file(folder / "model.safetensors") for folder in (start, chosen))
    others = [name for name in before if "_packed" not in name and "_scale" not in name and "_shape" not in name]
    assert "model.norm.weight" in others
    assert all(torch.equal(before[name], after[name]) for name in others)


def test_fewer_bits_leave_upper_slices_empty(made: Callable[[str], Path]) -> None:
    out = made("rtn:bits=8,group=0+recover:steps=3,price=0.01,bits=5")
    stored = Stored.of(Checkpoint.open(out))
    assert stored is not None
    assert max(int(stored.matrix(name)[0].abs().max()) for name in stored.integers()) == 15


def test_stopped_it_goes_on_to_the_same_bytes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = "gptq:bits=4,group=0+recover:steps=8,batch=2,price=0.01"
    from dovetail.recipe.recovery.training import Recovery

    whole = Recovery.step

    def step(self: Recovery) -> None:
        if self.done == 5:
            raise KeyboardInterrupt
        whole(self)

    monkeypatch.setattr(Recovery, "step", step)
    with pytest.raises(KeyboardInterrupt):
        Recipe.load(recipe).apply(source, tmp_path / "out", calibration=SMALL)
    state = next((tmp_path / ".out.layers").glob("step-*/training.safetensors"))
    assert int(load_file(state)["done"]) == 5
    monkeypatch.setattr(Recovery, "step", whole)
    for name in ("out", "other"):
        Recipe.load(recipe).apply(source, tmp_path / name, calibration=SMALL)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "other"))
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_the_seed_decides(source: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        recipe = f"rtn:bits=4,group=0+recover:steps=5,rate=0.05,seed={seed}"
        Recipe.load(recipe).apply(source, tmp_path / name, calibration=SMALL)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one != two


def test_every_sequence_comes_before_any_comes_again() -> None:
    schedule = Schedule(10, 4, 0.01, seed=3)
    seen = [index for step in range(10) for index in schedule.chosen(step, 10)]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    assert seen[:10] != seen[10:20]
    assert schedule.falling(10) == pytest.approx(0)


def test_what_cannot_be_recovered(source: Path, tmp_path: Path) -> None:
    for recipe in ("recover", "magnitude+recover"):
        with pytest.raises(DovetailError, match="recover needs packed weights"):
            Recipe.load(recipe)
    with pytest.raises(DovetailError, match="nothing to recover"):
        Recipe.load("fp8+recover").apply(source, tmp_path / "out", calibration=SMALL)
    mixture = save_tiny("mixtral", tmp_path / "mixtral")
    with pytest.raises(DovetailError, match="experts of a mixture"):
        Recipe.load("rtn:bits=8,group=0+recover").apply(mixture, tmp_path / "out", calibration=SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixtral"]


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": -1, "price": 0.1}, {"batch": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"price": -1.0},
     {"price": float("inf")}, {"level": -1.0}, {"cell": 3}, {"encoding": "offset"}, {"bits": 2}, {"bits": 9}],
)  # fmt: skip
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(DovetailError):
        Recover(**wrong)
