"""Training for crossbars, against brute-force slicing, plain loops, closed forms and numeric gradients."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dovetail.core.errors import DovetailError
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays, statistics
from dovetail.crossbar.training.converting import Converting, rounded_inputs
from dovetail.crossbar.training.digits import load_digits
from dovetail.crossbar.training.fit import Fit, accuracy
from dovetail.crossbar.training.judge import Slices, converted_accuracy, fewest_bits
from dovetail.crossbar.training.matrices import coded, matrix_layers, step_of
from dovetail.crossbar.training.nets import net
from dovetail.crossbar.training.noise import Noise
from dovetail.crossbar.training.parts import Form, Weights
from dovetail.crossbar.training.penalties import L1, BitSliceL1, ColumnCap, SliceWeighted, StepL1
from dovetail.crossbar.training.remembering import Memory, Remembering
from dovetail.crossbar.training.restrictions import Cap, Digits, Prune, sparse_magnitudes
from dovetail.crossbar.training.session import bit_slice
from dovetail.crossbar.training.train import saved_energy
from dovetail.hardware.adc import adc_model

FORM = Form(FixedPoint(8), Cells(2), Arrays(8, 8))


def random_weights(rows: int = 5, columns: int = 19, seed: int = 0, form: Form = FORM) -> Weights:
    real = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    step = step_of(real, form.grid)
    codes = (real / step).round().clamp(-form.grid.top, form.grid.top)
    return Weights(real.requires_grad_(True), step, codes)


def base4(code: int) -> list[int]:
    """Digits of a magnitude, the lowest first, by division."""
    return [abs(code) // 4**s % 4 for s in range(4)]


@pytest.mark.parametrize("grid", [FixedPoint(8), FixedPoint(5, "row"), FixedPoint(8, "group", 6)])
def test_steps_and_codes_are_those_of_the_room(grid: FixedPoint) -> None:
    real = torch.randn(4, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    real[2] = 0
    step = step_of(real, grid)
    codes = (real / step).round().clamp(-grid.top, grid.top)
    expected, found = grid.codes(real.numpy()), coded(codes, step, grid)
    assert np.array_equal(found.values, expected.values)
    assert np.array_equal(found.steps, expected.steps)
    assert np.array_equal(found.weights(), expected.weights())


def test_the_published_gradient_is_that_of_step_l1_whatever_the_slices() -> None:
    weights = random_weights()
    (published,) = torch.autograd.grad(BitSliceL1().total(weights, FORM), weights.real)
    (control,) = torch.autograd.grad(StepL1().total(weights, FORM), weights.real)
    torch.testing.assert_close(published, control * (1 + 1 / 4 + 1 / 16 + 1 / 64) / 4, rtol=1e-12, atol=0)


def test_values_of_penalties_are_sums_over_digits_cut_by_hand() -> None:
    weights = random_weights()
    codes = [[int(c) for c in row] for row in weights.codes]
    digits = np.array([[base4(c) for c in row] for row in codes])
    assert BitSliceL1().total(weights, FORM).item() == digits.sum() / 4
    each = (1.0, 2.0, 3.0, 5.0)
    assert SliceWeighted(1, each).total(weights, FORM).item() == pytest.approx((digits.sum((0, 1)) * each).sum())
    assert L1().total(weights, FORM).item() == pytest.approx(float(weights.real.detach().abs().sum()))


def over_by_hand(codes: list[list[int]], bits: int) -> int:
    total = 0
    for row in codes:
        for first in range(0, len(row), 8):
            for sign in (1, -1):
                for s in range(4):
                    held = sum(base4(c)[s] for c in row[first : first + 8] if c * sign > 0)
                    total += max(0, held - (2**bits - 1))
    return total


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_column_cap_counts_what_is_above_the_range(bits: int) -> None:
    weights = random_weights()
    value = ColumnCap(1, bits).total(weights, FORM)
    assert value.item() == over_by_hand([[int(c) for c in row] for row in weights.codes], bits)
    (pull,) = torch.autograd.grad(value, weights.real)
    assert ((pull == 0) | (pull.sign() == weights.real.sign())).all()  # it only ever pulls to zero
    assert (pull[weights.codes == 0] == 0).all()
    (free,) = torch.autograd.grad(ColumnCap(1, 12).total(weights, FORM), weights.real)
    assert (free == 0).all()


@pytest.mark.parametrize("penalty", [SliceWeighted(), ColumnCap(1, 1)])
def test_a_step_against_the_gradient_makes_the_penalty_smaller(penalty: Any) -> None:
    """The surrogate of a staircase: from whole codes, a step of one code down where it pulls."""
    weights = random_weights(seed=3)
    value = penalty.total(weights, FORM)
    (pull,) = torch.autograd.grad(value, weights.real)
    moved = weights.codes - torch.where(pull != 0, weights.codes.sign(), 0)
    lower = [base4(int(a)) for a in moved.flatten()]
    before = [base4(int(a)) for a in weights.codes.flatten()]
    # where the lowest digit is what pulls, one code less is one level less of it
    only_low = [(b[0], a[0]) for a, b, p in zip(lower, before, pull.flatten()) if p != 0 and b[0] > 0]
    assert only_low
    assert all(after == held - 1 for held, after in only_low)


@pytest.mark.parametrize(("bits", "cell", "most"), [(8, 2, 1), (8, 2, 2), (6, 1, 2), (8, 4, 1)])
def test_codes_of_few_digits_are_the_nearest_by_trying_all(bits: int, cell: int, most: int) -> None:
    form = Form(FixedPoint(bits), Cells(cell), Arrays())
    scaled = torch.linspace(-(2.0**bits), 2.0**bits, 4001, dtype=torch.float64)[None] + 1e-4
    codes = scaled.round().clamp(-form.grid.top, form.grid.top)
    found = Digits(most).restrict(scaled, codes, form, 0.0)
    allowed = [m for m in range(2**bits) if sum((m >> cell * s) % 2**cell > 0 for s in range(-(-bits // cell))) <= most]
    assert list(sparse_magnitudes(bits, cell, most)) == allowed
    for value, code in zip(scaled[0].tolist(), found[0].tolist()):
        assert abs(abs(value) - abs(code)) == min(abs(abs(value) - m) for m in allowed)
        assert code * value >= 0


@pytest.mark.parametrize("bits", [1, 2, (3, 2, 2, 1)])
@pytest.mark.parametrize("encoding", ["differential", "sign-magnitude"])
def test_capped_bitlines_fit_their_converters(bits: int | tuple[int, ...], encoding: str) -> None:
    form = Form(FixedPoint(8), Cells(2, encoding), Arrays(8, 8))
    each = np.broadcast_to(bits, 4) + (encoding == "sign-magnitude")
    weights = random_weights(form=form)
    with torch.no_grad():
        scaled = weights.real / weights.step
        codes = Cap(tuple(int(b) for b in each)).restrict(scaled, weights.codes, form, 0.0)
    found = statistics(coded(codes, weights.step, form.grid), form.cells, form.arrays)
    assert (found.bits.max(axis=(0, 2, 3)) <= each).all()
    assert (codes.abs() <= weights.codes.abs()).all()
    assert (codes * weights.codes >= 0).all()
    same = Cap(12).restrict(scaled, weights.codes, form, 0.0)
    assert torch.equal(same, weights.codes)


def converted_by_hand(x: np.ndarray, codes: np.ndarray, bits: list[int], rows: int, input_bits: int) -> np.ndarray:
    """Every conversion one by one."""
    out = np.zeros((len(x), len(codes)))
    for v, o in np.ndindex(out.shape):
        for first in range(0, codes.shape[1], rows):
            part = slice(first, first + rows)
            for sign in (1, -1):
                for s in range(4):
                    for b in range(input_bits):
                        on = [int(i) >> b & 1 for i in x[v, part]]
                        held = sum(i * base4(int(c))[s] for i, c in zip(on, codes[o, part]) if c * sign > 0)
                        count = -(2**b) if (x < 0).any() and b == input_bits - 1 else 2**b
                        out[v, o] += sign * 4**s * count * min(held, 2 ** bits[s] - 1)
    return out


@pytest.mark.parametrize("signed", [False, True])
def test_converters_in_the_loop_are_those_of_plain_loops(signed: bool) -> None:
    source = np.random.default_rng(5)
    codes = torch.tensor(source.integers(-255, 256, (3, 19)).astype(np.float64))
    whole = torch.tensor(source.integers(-8 if signed else 0, 8 if signed else 16, (4, 19)).astype(np.float64))
    how = Converting((2, 1, 3, 2), input_bits=4)
    found = whole @ codes.T - how.lost(whole, codes, FORM)
    expected = converted_by_hand(whole.numpy(), codes.numpy(), [2, 1, 3, 2], 8, 4)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)
    assert float(Converting(12, 4).lost(whole, codes, FORM).abs().max()) == 0


def test_a_convolution_converts_as_the_matrix_of_its_patches() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False).double()
    images = torch.rand(2, 2, 6, 6, dtype=torch.float64)
    with bit_slice(nn.Sequential(layer), Converting(2, 4), arrays=Arrays(8, 8)) as training:
        found = layer(images).detach()
        view = training.weights("0")
    whole, scale = rounded_inputs(images, 4)
    patches = nn.functional.unfold(whole, 3, padding=1, stride=2)
    for image in range(2):
        one = converted_by_hand(patches[image].T.numpy(), view.codes.detach().numpy(), [2] * 4, 8, 4)
        expected = one.T.reshape(3, 3, 3) * float(view.step) * float(scale[image])
        np.testing.assert_allclose(found[image].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_gradients_pass_rounding_and_converters() -> None:
    layer, x = nn.Linear(19, 3, bias=False), torch.rand(4, 19)
    with bit_slice(layer, Converting(1), arrays=Arrays(8, 8)):
        layer(x).sum().backward()
        assert layer.parametrizations.weight.original.grad is not None  # type: ignore[union-attr, operator]
    whole, scale = rounded_inputs(x, 8)
    torch.testing.assert_close(layer.weight.grad, (whole * scale).sum(0).expand(3, 19))


def test_what_is_left_is_the_module_with_the_weights_of_the_codes() -> None:
    model, x = net("mlp", 8), torch.rand(5, 1, 8, 8)
    names, optimiser = dict(model.named_parameters()), torch.optim.SGD(model.parameters(), 0.1)
    with bit_slice(model, StepL1(0.01), Prune(0.5)) as training:
        for _ in range(3):
            loss = model(x).square().sum() + training.penalty()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        training.at(1.0)
        inside = model(x).detach()
    assert {n: id(p) for n, p in model.named_parameters()} == {n: id(p) for n, p in names.items()}
    torch.testing.assert_close(model(x), inside)
    for name, codes in training.codes().items():
        weights = model.get_submodule(name).weight.detach().double().numpy()
        assert np.array_equal(weights, codes.weights())
    kept = sum(int((c.values != 0).sum()) for c in training.codes().values())
    assert abs(kept / (64 * 84 + 840) - 0.5) < 0.01
    assert not hasattr(model[1], "parametrizations")  # type: ignore[index]


def test_an_error_inside_leaves_the_module_as_the_optimiser_had_it() -> None:
    model = net("mlp", 8)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}

    def broken() -> None:
        with bit_slice(model, Converting(2)):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert "forward" not in model[1].__dict__  # type: ignore[index]


def test_noise_has_the_moments_of_independent_cells() -> None:
    codes = torch.tensor([[3.0 + 2 * 16, -255.0, 0.0]])
    source = torch.Generator().manual_seed(0)
    drawn = torch.stack([Noise(0.1).disturb(codes, FORM, source) for _ in range(20000)])[:, 0]
    spread = [0.1 * np.sqrt(sum((d * 4**s) ** 2 for s, d in enumerate(base4(int(c))))) for c in codes[0]]
    np.testing.assert_allclose(drawn.mean(0), codes[0], atol=5 * max(spread) / np.sqrt(20000))
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.03)


@pytest.mark.parametrize("encoding", ["differential", "sign-magnitude"])
def test_stuck_cells_in_training_have_the_moments_of_cells_drawn_one_by_one(encoding: str) -> None:
    form = Form(FixedPoint(8), Cells(2, encoding), Arrays(8, 8))
    codes = torch.tensor([[3.0 + 2 * 16, -255.0, 0.0]], dtype=torch.float64)
    sigma, low, high, count = 0.1, 0.2, 0.1, 20000
    source = torch.Generator().manual_seed(0)
    drawn = torch.stack([Noise(sigma, low, high).disturb(codes, form, source) for _ in range(count)])[:, 0].numpy()
    for place, code in enumerate(codes[0].tolist()):
        mean, variance = 0.0, 0.0
        for sign in (1, -1):
            for s, digit in enumerate(base4(int(code)) if code * sign > 0 else [0] * 4):
                first = (1 - low - high) * digit + 3 * high
                second = (1 - low - high) * digit**2 * (1 + sigma**2) + 9 * high
                mean += sign * 4**s * first
                variance += 16**s * (second - first**2)
        assert abs(drawn[:, place].mean() - mean) < 5 * np.sqrt(variance / count)
        assert drawn[:, place].std() == pytest.approx(np.sqrt(variance), rel=0.03)


def test_cells_that_are_all_stuck_hold_no_code() -> None:
    codes, source = torch.tensor([[35.0, -255.0, 0.0]]), torch.Generator().manual_seed(0)
    assert Noise(0.0, stuck_low=1.0).disturb(codes, FORM, source).tolist() == [[0, 0, 0]]
    assert Noise(0.5, stuck_high=1.0).disturb(codes, FORM, source).tolist() == [[0, 0, 0]]  # both planes the same
    with pytest.raises(DovetailError, match="no stuck cells"):
        Noise(0.0, 0.1).disturb(codes, Form(FixedPoint(8), Cells(2, "offset"), Arrays()), source)


@pytest.fixture(scope="module")
def small() -> Callable[..., Any]:
    pytest.importorskip("sklearn")
    import os

    before = os.environ.pop("DOVETAIL_DATA", None)
    os.environ["DOVETAIL_DATA"] = "/nonexistent"
    data = load_digits(count=800)
    os.environ.pop("DOVETAIL_DATA")
    if before is not None:
        os.environ["DOVETAIL_DATA"] = before

    def train(*parts: Any, epochs: int = 12, seed: int = 0) -> Any:
        model = net("mlp", 8, seed)
        with bit_slice(model, *parts, seed=seed) as training:
            Fit(epochs, batch=64, seed=seed).run(model, data.train, training)
        return model, training.codes(), data

    return train


def test_training_learns_and_repeats_by_seed(small: Callable[..., Any]) -> None:
    model, codes, data = small(Prune(0.8), Digits(1), Noise(0.05))
    _, again, _ = small(Prune(0.8), Digits(1), Noise(0.05))
    assert accuracy(model, data.test) > 0.9
    assert all(np.array_equal(codes[n].values, again[n].values) for n in codes)
    found = Slices.of(codes)
    weights = np.concatenate([c.values.ravel() for c in codes.values()])
    assert found.nonzero.sum() == pytest.approx(np.count_nonzero(weights) / weights.size)  # one digit each
    assert np.count_nonzero(weights) / weights.size == pytest.approx(0.2, abs=0.005)
    assert found.conversions.sum(axis=1) == pytest.approx(1)


def test_fewest_bits_keep_accuracy(small: Callable[..., Any]) -> None:
    model, codes, data = small(Prune(0.7), epochs=6)
    bits = fewest_bits(model, codes, data.validation, 0.02)
    assert (np.array(bits) <= Slices.of(codes).bits).all()
    assert sum(bits) < Slices.of(codes).bits.sum()
    kept = converted_accuracy(model, codes, data.validation, [max(1, b) for b in bits])
    lossless = converted_accuracy(model, codes, data.validation, 12)
    assert kept >= accuracy(model, data.validation) - 0.02
    assert lossless == pytest.approx(accuracy(model, data.validation), abs=0.005)  # but for inputs of 8 bits


def test_fewest_bits_that_are_sure_are_the_last_whose_bound_holds(small: Callable[..., Any]) -> None:
    model, codes, data = small(Prune(0.7), epochs=6)
    x, y = data.validation

    def bound(bits: list[int]) -> float:
        """Mean and 1.64 standard errors of the answers that are lost, one by one."""
        lost = []
        for i in range(len(y)):
            one = (x[i : i + 1], y[i : i + 1])
            lost.append(accuracy(model, one) - converted_accuracy(model, codes, one, bits))
        return float(np.mean(lost) + 1.64 * np.std(lost) / np.sqrt(len(lost)))

    bits = [max(1, b) for b in fewest_bits(model, codes, data.validation, 0.04, sure=1.64)]
    assert bound(bits) <= 0.04
    assert sum(bits) >= sum(max(1, b) for b in fewest_bits(model, codes, data.validation, 0.04))
    for slice_ in (s for s in range(4) if bits[s] > 1):
        assert bound([b - (s == slice_) for s, b in enumerate(bits)]) > 0.04


def test_what_is_remembered_is_what_is_lost() -> None:
    source, memory = torch.Generator().manual_seed(2), Memory()
    codes = torch.randint(-255, 256, (3, 19), generator=source).float()
    vectors = [torch.randint(0, 256, (4, 19), generator=source).float() for _ in range(2)]
    for bits in ((2, 1, 3, 2), (2, 2, 3, 1), (1, 1, 1, 1), (2, 1, 3, 2)):
        for each in vectors:
            found = Remembering(bits, 8, memory).lost(each, codes, FORM)
            assert torch.equal(found, Converting(bits, 8).lost(each, codes, FORM))


def test_energy_of_fewer_bits_is_that_of_each_bitline_by_hand() -> None:
    codes = [coded(w.codes, w.step, FORM.grid) for w in (random_weights(), random_weights(3, 9, 1))]
    layers = [statistics(one, FORM.cells, FORM.arrays) for one in codes]
    paper = adc_model("paper").energy_j
    for bits in (None, (2, 3, 12, 1)):
        before = after = 0.0
        for one in layers:
            for plane, s, tile, output in np.ndindex(one.bits.shape):
                most = int(one.bits[:, s].max())
                before += float(paper(8))
                if one.bits[plane, s, tile, output] > 0:
                    after += float(paper(most if bits is None else min(most, bits[s])))
        assert saved_energy(layers, "paper", bits) == pytest.approx(before / after)


def test_digits_do_not_mix_what_is_chosen_by_with_what_is_reported(small: Callable[..., Any]) -> None:
    _, _, data = small(epochs=1)
    rows = [
        {tuple(np.round(x.numpy().ravel(), 6)) for x in part[0]} for part in (data.train, data.validation, data.test)
    ]
    assert all(len(a & b) <= 2 for i, a in enumerate(rows) for b in rows[:i])  # the set itself repeats an image or so


def test_idx_files_are_read(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    for stem, count in (("train", 60), ("t10k", 10)):
        images = source.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        labels = source.integers(0, 10, count, dtype=np.uint8)
        for kind, array, dims in (("images", images, 3), ("labels", labels, 1)):
            head = bytes([0, 0, 8, dims]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
            with gzip.open(tmp_path / f"{stem}-{kind}-idx{dims}-ubyte.gz", "wb") as file:
                file.write(head + array.tobytes())
    data = load_digits(tmp_path, 40)
    assert data.name == "MNIST"
    assert data.train[0].shape == (40, 1, 4, 5)
    assert len(data.validation[1]) == 10
    np.testing.assert_array_equal((data.test[0][:, 0] * 255).round().numpy(), images)
    np.testing.assert_array_equal(data.test[1], labels)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + b"1"))
    with pytest.raises(DovetailError, match="idx"):
        load_digits(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: matrix_layers(nn.Sequential(nn.ReLU())), "nothing to put on crossbars"),
        (lambda: matrix_layers(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))), "nothing to put"),
        (lambda: Converting(0), "ADC of 0 bits"),
        (lambda: ColumnCap(1, 20), "ADC of 20 bits"),
        (lambda: L1(-1), "penalty of -1"),
        (lambda: Prune(1.0), "cannot prune"),
        (lambda: Digits(0), "codes of 0 digits"),
        (lambda: Noise(2.0), "spread"),
        (lambda: Noise(0.1, 0.6, 0.6), "cells stuck"),
        (lambda: Noise(0.1, -0.1), "cells stuck"),
        (lambda: Fit(0), "0 epochs"),
        (lambda: net("vgg"), "unknown network"),
        (lambda: load_digits(Path("/nowhere")), "no MNIST"),
    ],
)
def test_bad_input_is_told(wrong: Callable[[], object], says: str) -> None:
    with pytest.raises(DovetailError, match=says):
        wrong()


def test_weights_that_are_not_finite_are_refused() -> None:
    model = net("mlp", 8)
    with torch.no_grad():
        model[1].weight[0, 0] = float("nan")  # type: ignore[index]
    with pytest.raises(DovetailError, match="not finite"), bit_slice(model):
        pass
