"""Calibration from tables of measured calls: known constants are found again, what cannot be true is refused."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.app.cli import main
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.cost import matmul
from dovetail.cost.attention import attention_cost
from dovetail.cost.gemm import Widths, gemm_cost
from dovetail.design.calls.calibrate import FromCalls, calibrate_from
from dovetail.design.calls.split import shapes_for_fit
from dovetail.hardware import load_machine
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.kernels import AttentionConstants, GemmConstants
from dovetail.model.operators import Attention

SIZES = (256, 1024, 1536, 2560, 4096, 6144, 11_008, 16_384)
MATRICES = [(n, k) for n in SIZES for k in SIZES]
ROWS = (1, 4, 16, 33, 64, 128, 300, 512, 1024, 4096)
HEADS = [(heads, kv) for heads in (8, 16, 24, 32, 40, 64) for kv in (4, 8)]
# What a chip reaches that neither the zoo's l40s nor the chip it takes its constants from does.
TRUE = {
    "launch_s": 4.1e-6, "compute": 0.61, "memory": 0.93, "load": 0.021, "step_s": 1.4e-7, "epilogue": 0.8,
    "split_s": 3.6e-6, "overlap": 3.1, "smooth": 0.4, "resident": 0.03,
}  # fmt: skip


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def seconds_of(machine: str, m: Any, n: Any, k: Any, constants: GemmConstants, dtype: str = "bf16") -> Any:
    width = Widths() if dtype == "bf16" else Widths(1.0, 1.0, 2.0)
    return gemm_cost(m, n, k, chip_facts(load_machine(machine), dtype), constants, width, alone=True).time_s


def true_products(machine: str = "l40s", dtype: str = "bf16") -> tuple[GemmConstants, list[tuple[Any, ...]]]:
    """Constants that nobody knows, and calls that take what they say."""
    kernels = load_machine(machine).kernels
    assert kernels is not None
    known = kernels.gemm[dtype]
    moved = {name: value for name, value in TRUE.items() if 0 < getattr(known, name) < np.inf}
    truth = replace(known, **moved)
    m, n, k = (np.array(c, float) for c in zip(*[(m, n, k) for n, k in MATRICES for m in ROWS], strict=True))
    times = seconds_of(machine, m, n, k, truth, dtype)
    return truth, [(dtype, int(a), int(b), int(c), t * 1e6) for a, b, c, t in zip(m, n, k, times, strict=True)]


def true_attention(machine: str = "l40s", appends: bool = True) -> tuple[AttentionConstants, list[tuple[Any, ...]]]:
    facts, kernels = load_machine(machine), load_machine(machine).kernels
    assert kernels is not None
    known = kernels.attention["bf16"]
    truth = replace(known.constants, launch_s=9e-6, tile_s=2.5e-6, compute=0.6, memory=0.8, core_bandwidth=7e10)
    steps = [(b, t, past) for b in (1, 4, 32) for t, past in ((1, 500), (1, 4000), (64, 0), (1024, 0), (512, 2048))]
    points = [(b, t, past, h, kv, 128) for h, kv in HEADS for b, t, past in steps]
    b, t, past, h, kv, d = (np.array(column, float) for column in zip(*points, strict=True))
    shape = Attention("attention", batch=b, tokens=t, kv_len=t + past, heads=h, kv_heads=kv, head_dim=d)
    found = attention_cost(shape, chip_facts(facts, "bf16"), known.kernel, truth, appends=appends, stays=True)
    return truth, [("bf16", *point, time * 1e3) for point, time in zip(points, found.time_s, strict=True)]


GEMM = ("dtype", "m", "n", "k", "time_us")
ATTENTION = ("dtype", "batch", "tokens", "past", "heads", "kv_heads", "head_dim", "latency_ms")


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("calls") / "products.csv", GEMM, true_products()[1])


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("calls") / "attention.csv", ATTENTION, true_attention()[1])


@pytest.fixture(scope="module")
def calibrated(products: Path, attention: Path, tmp_path_factory: pytest.TempPathFactory) -> FromCalls:
    return calibrate_from([products, attention], "l40s", tmp_path_factory.mktemp("out") / "mine.yaml")


def test_known_constants_of_products_are_found_again(calibrated: FromCalls) -> None:
    found = calibrated.fitted[0]
    (judged,) = found.judged
    assert judged.before.mape > 0.1
    assert judged.fitted.mape < 0.01
    assert judged.fitted.total < 0.01
    assert found.constants.spread < 0.03
    assert found.constants.host_s == 0
    for name in ("launch_s", "compute", "memory"):  # which every table tells apart
        assert getattr(found.constants, name) == pytest.approx(TRUE[name], rel=0.05), name


def test_known_constants_of_attention_are_found_again(calibrated: FromCalls) -> None:
    found, truth = calibrated.fitted[1], true_attention()[0]
    assert [judged.name for judged in found.judged] == ["prefill", "decode"]
    for judged in found.judged:
        assert judged.before.mape > 0.1
        assert judged.fitted.mape < 0.02
    assert found.constants.launch_s == pytest.approx(truth.launch_s, rel=0.1)


@pytest.mark.parametrize("appends", [True, False])
def test_whether_calls_write_the_cache_is_found_where_the_table_does_not_say(appends: bool, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ATTENTION, true_attention(appends=appends)[1])
    found = calibrate_from([file], "l40s", tmp_path / "m.yaml").fitted[0]
    assert found.appends is appends
    said = write(tmp_path / "b.csv", (*ATTENTION, "appends"), [(*row, "no") for row in true_attention()[1]])
    assert calibrate_from([said], "l40s", tmp_path / "m.yaml").fitted[0].appends is False


def test_a_chip_with_its_own_kernels_gets_those_of_the_table(tmp_path: Path) -> None:
    truth, rows = true_products("h100-sxm", "fp8")
    found = calibrate_from([write(tmp_path / "t.csv", GEMM, rows)], "h100-sxm", tmp_path / "mine.yaml")
    assert found.fitted[0].judged[0].fitted.mape < 0.02 < found.fitted[0].judged[0].before.mape / 4
    mine, theirs = found.machine.kernels, load_machine("h100-sxm").kernels
    assert mine is not None
    assert theirs is not None
    assert mine.gemm["bf16"] == theirs.gemm["bf16"]
    found_s, true_s = (float(one.launch_s + one.call_s) for one in (mine.gemm["fp8"], truth))  # calls tell only the sum
    assert found_s == pytest.approx(true_s, rel=0.05)


def test_a_machine_that_a_roofline_prices_gets_its_efficiencies(tmp_path: Path) -> None:
    base = load_machine("tpu-v6e")
    efficiency = replace(base.efficiency, compute=0.52, memory=0.61)
    truth = replace(base, efficiency=efficiency, stack=replace(base.stack, launch_s=9e-6))
    m, n, k = (np.array(c, float) for c in zip(*[(m, n, k) for n, k in MATRICES for m in ROWS], strict=True))
    rows = [
        (dtype, int(a), int(b), int(c), t * 1e3)
        for dtype in ("bf16", "int8")
        for a, b, c, t in zip(m, n, k, matmul(m, n, k, machine=truth, weight=dtype, act=dtype).time_s, strict=True)
    ]
    file = write(tmp_path / "t.csv", (*GEMM[:-1], "time_ms"), rows)
    found = calibrate_from([file], "tpu-v6e", tmp_path / "mine.yaml")
    (one,) = found.fitted
    assert [judged.name for judged in one.judged] == ["bf16 products", "int8 products"]
    assert all(judged.fitted.mape < 0.002 < judged.before.mape for judged in one.judged)
    assert one.constants.compute == pytest.approx(0.52, rel=0.01)
    assert one.constants.memory == pytest.approx(0.61, rel=0.01)
    assert one.constants.launch_s == pytest.approx(9e-6, rel=0.01)
    read = load_machine(found.path)
    assert read.efficiency == found.machine.efficiency
    assert read.source("efficiency.compute").kind == read.source("stack.launch").kind == "calibrated"
    assert found.to_json()["operations"][0]["constants"]["memory"]["after"]["kind"] == "calibrated"
    file = write(tmp_path / "a.csv", ATTENTION, true_attention()[1])
    with pytest.raises(DovetailError, match="priced by a roofline"):
        calibrate_from([file], "tpu-v6e", tmp_path / "mine.yaml")


def test_a_slow_host_is_not_taken_for_slow_kernels(tmp_path: Path) -> None:
    truth, rows = true_products()
    issued = [(*row[:-1], max(float(row[-1]), 14.0)) for row in rows]  # 14 us from one call to the next, at least
    found = calibrate_from([write(tmp_path / "t.csv", GEMM, issued)], "l40s", tmp_path / "m.yaml").fitted[0]
    assert found.judged[0].fitted.mape < 0.01
    assert found.constants.host_s == pytest.approx(14e-6, rel=0.02)
    assert found.constants.launch_s == pytest.approx(truth.launch_s, rel=0.1)
    assert "host_s" in found.names


def with_watts(idle_w: float, per_flop: float, per_byte: float) -> list[tuple[Any, ...]]:
    """Products on an l40s whose board draws what three constants say, at most its 350 W."""
    truth, rows = true_products()
    m, n, k, microseconds = (np.array([row[i] for row in rows], float) for i in (1, 2, 3, 4))
    cost = gemm_cost(m, n, k, chip_facts(load_machine("l40s"), "bf16"), truth, alone=True)
    joules = idle_w * microseconds / 1e6 + 2 * m * n * k * per_flop + cost.bytes * per_byte
    return [(*row, watts) for row, watts in zip(rows, np.minimum(joules / microseconds * 1e6, 350.0), strict=True)]


def test_known_energies_are_found_again_from_watts(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", (*GEMM, "power_w"), with_watts(80.0, 0.4e-12, 120e-12))
    found = calibrate_from([file], "l40s", tmp_path / "m.yaml")
    assert found.energy is not None
    assert found.energy.calibrated.mape < 0.01 < found.energy.before.mape < found.energy.limit.mape
    read = load_machine(found.path)
    assert read.idle_w == pytest.approx(80.0, rel=0.02)
    assert read.j_per_flop["bf16"] == pytest.approx(0.4e-12, rel=0.05)
    assert read.j_per_byte == pytest.approx(120e-12, rel=0.05)
    assert read.source("power.idle").kind == read.source("energy.per_flop.bf16").kind == "calibrated"
    assert read.source("energy.per_flop.fp8").kind == "modelled"
    assert read.tdp_w == load_machine("l40s").tdp_w
    said = found.to_json()["energy"]["constants"]["power.idle"]
    assert (said["before"]["kind"], said["after"]["kind"], said["after"]["unit"]) == ("modelled", "calibrated", "W")


def test_blank_watts_are_left_out_and_negative_ones_refused(tmp_path: Path) -> None:
    rows = with_watts(80.0, 0.4e-12, 120e-12)
    some = [row if i % 2 else (*row[:-1], "") for i, row in enumerate(rows)]
    found = calibrate_from([write(tmp_path / "t.csv", (*GEMM, "power"), some)], "l40s", tmp_path / "m.yaml")
    assert found.energy is not None
    assert found.energy.calls == found.fitted[0].held_out / 2
    assert found.energy.calibrated.mape < 0.01
    few = [(*row[:-1], "" if i > 10 else row[-1]) for i, row in enumerate(rows)]
    assert (
        calibrate_from([write(tmp_path / "f.csv", (*GEMM, "power"), few)], "l40s", tmp_path / "m.yaml").energy is None
    )
    rows[3] = (*rows[3][:-1], -1.0)
    with pytest.raises(DovetailError, match=r"line 5, power_w: '-1.0' is not"):
        calibrate_from([write(tmp_path / "b.csv", (*GEMM, "power_w"), rows)], "l40s", tmp_path / "m.yaml")


def test_watts_that_no_board_draws_are_refused(tmp_path: Path) -> None:
    milliwatts = [(*row[:-1], 1e3 * row[-1]) for row in with_watts(80.0, 0.4e-12, 120e-12)]
    with pytest.raises(DovetailError, match=r"line 2: more power than the board can draw .* on a board of 350 W, and "):
        calibrate_from([write(tmp_path / "t.csv", (*GEMM, "power_w"), milliwatts)], "l40s", tmp_path / "m.yaml")
    assert not (tmp_path / "m.yaml").exists()


def test_noise_does_not_carry_constants_away(tmp_path: Path) -> None:
    rng, (_, rows) = np.random.default_rng(0), true_products()
    noisy = [(*row[:-1], row[-1] * factor) for row, factor in zip(rows, rng.lognormal(0, 0.05, len(rows)))]
    disturbed = [(*row[:-1], row[-1] * (8 if i % 29 == 0 else 1)) for i, row in enumerate(noisy)]
    found = calibrate_from([write(tmp_path / "t.csv", GEMM, disturbed)], "l40s", tmp_path / "m.yaml").fitted[0]
    constants = found.constants
    m, n, k = (np.array([row[i] for row in rows], float) for i in (1, 2, 3))
    error = seconds_of("l40s", m, n, k, constants) / (np.array([row[4] for row in rows]) / 1e6) - 1
    assert float(np.abs(error).mean()) < 0.03  # of the truth without noise
    assert 0.05 < constants.spread < 0.2  # lognormal(0.05): 9 of 10 within 1.65 sigma, and the disturbed ones


def test_what_is_written_loads_and_predicts_the_same(calibrated: FromCalls, products: Path) -> None:
    read = load_machine(calibrated.path)
    assert read.name == calibrated.machine.name == "mine"
    assert read.kernels == calibrated.machine.kernels
    m, n, k = (np.array(column, float) for column in ((1, 512, 4096), (4096, 1536, 11_008), (4096, 6144, 256)))
    truth = seconds_of("l40s", m, n, k, true_products()[0])
    np.testing.assert_allclose(matmul(m, n, k, machine=read).time_s, truth, rtol=0.03)
    source = read.source("kernels.gemm.bf16")
    assert source.kind == "calibrated"
    assert hashlib.sha256(products.read_bytes()).hexdigest()[:12] in source.text
    assert products.name in source.text
    assert read.source("kernels.gemm.fp8").kind == "modelled"  # nobody measured it
    assert read.peak == load_machine("l40s").peak


def test_what_was_learned_of_the_base_is_not_put_on_top(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", GEMM, true_products("h100-sxm")[1])
    found = calibrate_from([file], "h100-sxm", tmp_path / "h100-sxm.yaml").machine
    one = {"m": 512, "n": 4096, "k": 4096}
    assert matmul(**one, machine=found, corrected=True).time_s == matmul(**one, machine=found).time_s
    shipped = load_machine("h100-sxm")
    assert matmul(**one, machine=shipped, corrected=True).time_s != matmul(**one, machine=shipped).time_s


def test_the_split_goes_by_the_hash_of_shapes() -> None:
    shapes = [f"{n},{k}" for n, k in MATRICES * 3]
    chosen = shapes_for_fit(shapes, 2)
    by_hand = {s for s in shapes if int(hashlib.sha1(s.encode()).hexdigest(), 16) % 100 < 5}
    assert chosen == by_hand
    few = shapes_for_fit(shapes[:10], 8)  # too few for 5 %
    assert len(few) == 5
    assert few == shapes_for_fit(reversed(shapes[:10]), 8)
    assert max(int(hashlib.sha1(s.encode()).hexdigest(), 16) for s in few) < min(
        int(hashlib.sha1(s.encode()).hexdigest(), 16) for s in set(shapes[:10]) - few
    )


def test_no_shape_is_both_fitted_and_judged(calibrated: FromCalls) -> None:
    found = calibrated.fitted[0]
    chosen = shapes_for_fit([f"{n},{k}" for n, k in MATRICES], 16)
    assert (found.fit_shapes, found.shapes) == (len(chosen), len(MATRICES)) == (16, 64)
    assert found.held_out == (len(MATRICES) - len(chosen)) * len(ROWS)


Change = Callable[[list[list[str]]], object]


def put(row: int, column: int, text: str) -> Change:
    return lambda cells: cells[row].__setitem__(column, text)


def put_all(column: int, change: Callable[[str], str]) -> Change:
    return lambda cells: [row.__setitem__(column, change(row[column])) for row in cells[1:]]


BAD: dict[str, tuple[Change, list[str]]] = {
    "a column is missing": (put(0, 2, "nn"), ["no column for n", "did you mean 'nn'?", "dtype, m, nn, k"]),
    "a column is there twice": (put(0, 2, "m"), ["'m' is there twice"]),
    "two columns of a field": (put(0, 0, "rows"), ["both mean m"]),
    "no unit": (put(0, 4, "time"), ["times without a unit", "--unit us"]),
    "no times": (put(0, 4, "t"), ["no column of times", "time_us"]),
    "nothing known": (lambda cells: cells.__setitem__(0, ["a", "b", "c", "d", "e"]), ["neither products nor"]),
    "text in a number": (put(3, 1, "many"), ["line 4, m", "'many' is not a whole number above zero"]),
    "a blank": (put(3, 4, ""), ["line 4, time_us", "'' is not"]),
    "a decimal comma": (put(5, 4, "7,5"), ["line 6, time_us", "'7,5' is not a number above zero", "a decimal point"]),
    "a negative time": (put(5, 4, "-3"), ["line 6, time_us", "'-3' is not a number above zero"]),
    "a time of zero": (put(5, 4, "0"), ["line 6", "above zero"]),
    "NaN": (put(7, 4, "nan"), ["line 8", "'nan'"]),
    "infinite": (put(7, 4, "inf"), ["line 8", "'inf'"]),
    "half a row": (put(2, 1, "0.5"), ["line 3", "'0.5' is not a whole number"]),
    "an unknown dtype": (put_all(0, lambda _: "bf17"), ["unknown dtype 'bf17'", "did you mean 'bf16'"]),
    "a row too short": (lambda cells: cells[4].pop(), ["line 5", "4 cells under 5 columns"]),
    "no rows": (lambda cells: cells.__delitem__(slice(1, None)), ["the table has no rows"]),
    "one matrix": (lambda cells: cells.__delitem__(slice(len(ROWS) + 1, None)), ["too few shapes", "1 of (n, k)"]),
    "faster than the chip": (put(640, 4, "0.01"), ["line 641", "faster than the chip can be", "4096 x 16384 x 16384"]),
    "ms named us": (put_all(4, lambda t: str(float(t) / 1000)), ["faster than the chip", "more such rows"]),
    "us named ms": (put(0, 4, "time_ms"), ["slower than any kernel", "check the unit"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_with_its_place(name: str, products: Path, tmp_path: Path) -> None:
    change, says = BAD[name]
    with products.open() as file:
        cells = list(csv.reader(file))
    change(cells)
    bad = tmp_path / "bad.csv"
    with bad.open("w", newline="") as file:
        csv.writer(file).writerows(cells)
    with pytest.raises(DovetailError) as error:
        calibrate_from([bad], "l40s", tmp_path / "m.yaml")
    assert "bad.csv" in str(error.value)
    assert error.value.hint
    assert not [piece for piece in says if piece not in str(error.value)], str(error.value)
    assert not (tmp_path / "m.yaml").exists()


def test_a_dtype_that_the_machine_lacks_names_the_nearest(products: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(products.read_text().replace("bf16", "fp8"))
    with pytest.raises(DovetailError, match=r"a100-sxm has no fp8 arithmetic.*calls in bf16") as error:
        calibrate_from([file], "a100-sxm", tmp_path / "m.yaml")
    assert error.value.exit_code == INFEASIBLE
    with pytest.raises(DovetailError, match=r"v100-sxm has no bf16 arithmetic.*calls in fp16"):
        calibrate_from([products], "v100-sxm", tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ("8 x l40s", "--machine l40s"), ("dgx-h100", "--machine h100-sxm"), ("h10-sxm", "did you mean 'h100-sxm'"),
    ],
)  # fmt: skip
def test_only_one_chip_is_calibrated(machine: str, says: str, products: Path, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=says):
        calibrate_from([products], machine, tmp_path / "m.yaml")


def test_the_machine_it_starts_from_is_not_overwritten(calibrated: FromCalls, products: Path) -> None:
    before = calibrated.path.read_bytes()
    with pytest.raises(DovetailError, match="would overwrite"):
        calibrate_from([products], str(calibrated.path), calibrated.path)
    with pytest.raises(DovetailError, match="written as YAML"):
        calibrate_from([products], "l40s", calibrated.path.with_suffix(".csv"))
    assert calibrated.path.read_bytes() == before


def test_a_calibrated_machine_can_be_calibrated_on(calibrated: FromCalls, products: Path, tmp_path: Path) -> None:
    found = calibrate_from([products], str(calibrated.path), tmp_path / "again.yaml")
    assert found.fitted[0].judged[0].before.mape < 0.01
    mine, theirs = found.machine.kernels, calibrated.machine.kernels
    assert mine is not None
    assert theirs is not None
    assert mine.attention == theirs.attention  # that was not in the table


@pytest.mark.parametrize(
    "header",
    [
        ("gemm_dtype", "num_tokens", "out_features", "in_features", "Latency [us]"),
        ("Precision", "M", "N", "K", "duration_us"),
    ],
)
def test_other_names_of_columns_are_known(header: Sequence[str], calibrated: FromCalls, tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", header, true_products()[1])
    assert calibrate_from([file], "l40s", tmp_path / "m.yaml").fitted[0].constants == calibrated.fitted[0].constants


def test_units_separators_and_operands_are_read(calibrated: FromCalls, tmp_path: Path) -> None:
    rows = true_products()[1]
    lines = ["weight;act;m;n;k;time", *(f"bfloat16;bf16;{m};{n};{k};{float(t) / 1e3!r}" for _, m, n, k, t in rows)]
    (tmp_path / "t.csv").write_text("\ufeff" + "\n".join(lines))
    found = calibrate_from([tmp_path / "t.csv"], "l40s", tmp_path / "m.yaml", unit="ms").fitted[0]
    assert found.constants.launch_s == pytest.approx(calibrated.fitted[0].constants.launch_s, rel=1e-6)
    with pytest.raises(DovetailError, match="'parsec' is not a unit of time"):
        calibrate_from([tmp_path / "t.csv"], "l40s", tmp_path / "m.yaml", unit="parsec")


def test_the_commonest_kernel_counts_unless_one_is_named(products: Path, tmp_path: Path) -> None:
    rows = true_products()[1]
    slow = [(*row[:-1], row[-1] * 3, "slow") for row in rows[:200]]
    file = write(tmp_path / "t.csv", (*GEMM, "kernel_source"), [*slow, *((*row, "fast") for row in rows)])
    common = calibrate_from([file], "l40s", tmp_path / "m.yaml")
    assert common.fitted[0].judged[0].fitted.mape < 0.01
    assert dict(common.left_out) == {"another kernel": 200}
    named = calibrate_from([file], "l40s", tmp_path / "m.yaml", kernel_source="slow").fitted[0]
    assert named.calls == 200
    with pytest.raises(DovetailError, match="did you mean 'slow'"):
        calibrate_from([file], "l40s", tmp_path / "m.yaml", kernel_source="slou")


def test_operations_in_one_table(calibrated: FromCalls, tmp_path: Path) -> None:
    header = ("operation", *GEMM, *(name for name in ATTENTION[1:-1]))
    gemm = [("matmul", *row, *[""] * 6) for row in true_products()[1]]
    attended = [("attention", row[0], "", "", "", row[-1] * 1e3, *row[1:-1]) for row in true_attention()[1]]
    file = write(tmp_path / "t.csv", header, [*gemm, *attended, ("rmsnorm", *gemm[0][1:])])
    found = calibrate_from([file], "l40s", tmp_path / "m.yaml")
    for one, alone in zip(found.fitted, calibrated.fitted, strict=True):
        assert one.constants.launch_s == pytest.approx(alone.constants.launch_s, rel=1e-6)
    assert dict(found.left_out) == {"operation rmsnorm": 1}


def test_parquet_is_read_as_csv_is(products: Path, calibrated: FromCalls, tmp_path: Path) -> None:
    reason = "pyarrow writes the parquet table"
    pyarrow, parquet = (pytest.importorskip(name, reason=reason) for name in ("pyarrow", "pyarrow.parquet"))
    columns = list(zip(*true_products()[1], strict=True))
    table = pyarrow.table({name: list(values) for name, values in zip(GEMM, columns, strict=True)})
    parquet.write_table(table, tmp_path / "t.parquet")
    found = calibrate_from([tmp_path / "t.parquet"], "l40s", tmp_path / "m.yaml")
    assert found.fitted[0].constants == calibrated.fitted[0].constants


def test_the_command_answers_in_json_and_its_machine_estimates(
    products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", "--from", str(products), "--machine", "l40s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"] == "l40s-calibrated"
    assert found["path"] == "l40s-calibrated.yaml"
    assert found["tables"][0]["sha256"] == hashlib.sha256(products.read_bytes()).hexdigest()
    (one,) = found["operations"]
    assert (one["operation"], one["entry"], one["shapes"]) == ("gemm", "bf16", len(MATRICES))
    launch = one["constants"]["launch"]
    assert launch["after"]["unit"] == "s"
    assert launch["after"]["kind"] == "calibrated"
    assert launch["before"]["kind"] == "modelled"
    assert one["held_out"][0]["calibrated"]["mape"] < 0.01 < one["held_out"][0]["roofline"]["mape"]
    assert main(["estimate", "Qwen/Qwen3-8B", "--on", "l40s-calibrated.yaml", "--json"]) == 0
    mine = json.loads(capsys.readouterr().out)["tpot"]["value"]
    main(["estimate", "Qwen/Qwen3-8B", "--on", "l40s", "--json"])
    assert mine != json.loads(capsys.readouterr().out)["tpot"]["value"]
    assert main(["calibrate", "--from", str(products), "--machine", "l40s", "--out", "named.yaml"]) == 0
    screen = capsys.readouterr().out
    assert not [words for words in ("bf16 products", "plain roofline", "named.yaml") if words not in screen]
    assert max(map(len, screen.splitlines())) <= 100
    assert main(["calibrate", "--from", str(products), "--machine", "l40s", "--out", "kept", "--quiet"]) == 0
    assert (tmp_path / "kept" / "report.html").is_file()


def test_measured_kernels_are_met_as_by_the_constants_that_ship(data_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet", reason="pyarrow reads the measured kernels")
    folder = data_folder / "silicon" / "aiconfigurator" / "h200_sxm"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    names = ("gemm/vllm/0.22.0/gemm", "attention/vllm/0.22.0/context_attention",
             "attention/vllm/0.22.0/generation_attention")  # fmt: skip
    files = [folder / f"{name}_perf.parquet" for name in names]
    found = calibrate_from(files, "h200-sxm", tmp_path / "m.yaml")
    assert {(one.family, one.entry) for one in found.fitted} == {
        ("gemm", "bf16"), ("gemm", "fp8_block"), ("attention", "bf16"), ("attention", "fp8"),
    }  # fmt: skip
    assert [one.appends for one in found.fitted if one.family == "attention"] == [False, False]  # as vLLM 0.22 calls it
    for one in found.fitted:
        for judged in one.judged:
            assert judged.fitted.mape < judged.before.mape + 0.01, (one.entry, judged.name)
            assert judged.fitted.mape < min(0.147, judged.roofline.mape / 3)
