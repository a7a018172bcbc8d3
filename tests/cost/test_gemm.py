"""Matrix products: limits in closed form, tiles by brute force, invariants, and measured kernels."""

import hashlib
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost.gemm import Widths, gemm_cost
from dovetail.hardware.kernels import ChipFacts, GemmConstants

H100 = ChipFacts(989.4e12, 3.35e12, 50e6, 9.4e12, 132, 1.83e9)
H200 = replace(H100, bandwidth=4.8e12)
A100 = ChipFacts(312e12, 2.039e12, 40e6, 7.2e12, 108, 1.41e9)
FP8 = replace(H100, peak=2 * H100.peak)
# Fitted by bench/gemm.py on the 5 % of matrices of lowest sha1.
ON_A100 = GemmConstants(
    launch_s=3.11e-6, compute=0.919, memory=0.762, load=0.0126, step_s=2.88e-7, epilogue=0.977, split_s=2.67e-6,
    overlap=2.12, smooth=0.444, resident=0.0237,
)  # fmt: skip
ON_H100 = GemmConstants(
    launch_s=2.50e-6, compute=0.839, memory=0.862, load=0.0187, step_s=8.16e-8, epilogue=0.665, split_s=3.05e-6,
    overlap=3.15, smooth=1.0, resident=0.0161,
)  # fmt: skip
QUANTISING = replace(ON_H100, smooth=0.0, split_s=math.inf, host_s=9e-5, row_s=2.4e-9, piece_s=4.8e-9)
IDEAL = GemmConstants(
    launch_s=0.0, compute=1.0, memory=1.0, load=1e9, step_s=0.0, epilogue=0.0, split_s=0.0, overlap=50.0, smooth=1.0,
)  # fmt: skip

setups = st.sampled_from([(A100, ON_A100), (H100, ON_H100), (FP8, QUANTISING), (H100, IDEAL)])
sizes = st.one_of(st.integers(1, 300), st.integers(1, 70_000))
shapes = st.tuples(sizes, sizes, sizes)
widths = st.sampled_from([Widths(), Widths(1.0, 1.0, 2.0), Widths(2.0, 0.53, 2.0)])


def seconds(setup: Any, shape: Any, **options: Any) -> Any:
    return gemm_cost(*shape, *setup, **options).time_s


def test_a_huge_product_takes_its_flops_over_the_peak() -> None:
    full = replace(ON_H100, smooth=0.0)
    found = seconds((H100, full), (65_536, 66 * 1024, 65_536))
    assert found == pytest.approx(2 * 65_536**2 * 66 * 1024 / (989.4e12 * 0.839), rel=0.02)
    assert seconds((H100, IDEAL), (65_536, 65_536, 65_536)) == pytest.approx(2 * 65_536**3 / 989.4e12, rel=1e-3)


@pytest.mark.parametrize("width", [2.0, 1.0, 0.5])
def test_one_row_takes_its_weights_over_the_bandwidth(width: float) -> None:
    found = seconds((H100, replace(ON_H100, overlap=20.0)), (1, 132 * 1024, 65_536), widths=Widths(2.0, width, 2.0))
    assert found == pytest.approx(width * 132 * 1024 * 65_536 / (3.35e12 * 0.862), rel=0.02)


def test_an_empty_product_takes_its_launch_one_step_and_one_end() -> None:
    found = seconds((H100, ON_H100), (1, 1, 1))
    least = 64 * 32 * 2 * ON_H100.epilogue * 132 / 3.35e12
    assert found == pytest.approx(ON_H100.launch_s + ON_H100.step_s + least, rel=0.02)
    slow_host = gemm_cost(1, 1, 1, H100, replace(ON_H100, host_s=92e-6), alone=True)
    assert slow_host.time_s == 92e-6


def test_quantising_takes_a_time_a_row_and_a_piece() -> None:
    shape, plain = (1000, 4096, 5000), replace(QUANTISING, host_s=0.0, row_s=0.0, piece_s=0.0)
    own = seconds((FP8, replace(QUANTISING, host_s=0.0)), shape, alone=True)
    more = own - seconds((FP8, plain), shape, alone=True)
    in_a_graph = seconds((FP8, replace(QUANTISING, host_s=0.0)), shape) - seconds((FP8, plain), shape)
    assert in_a_graph == 0  # the operator before does it
    assert more == pytest.approx(1000 * (2.4e-9 + 3 * 4.8e-9))


def test_what_stays_comes_from_the_cache() -> None:
    constants = replace(IDEAL, resident=0.5)
    small, large = (64, 2048, 2048), (64, 65_536, 65_536)
    bytes_of = {shape: 2.0 * (shape[0] * (shape[1] + shape[2]) + shape[1] * shape[2]) for shape in (small, large)}
    assert seconds((H100, constants), small, alone=True) == pytest.approx(bytes_of[small] / 9.4e12, rel=0.01)
    assert gemm_cost(*small, H100, constants, alone=True).bytes == 0.0
    assert gemm_cost(*large, H100, constants, alone=True).bytes == bytes_of[large]


def scheduled(shape: tuple[int, int, int], chip: ChipFacts, c: GemmConstants) -> float:
    """Whole tiles one after another on each core, for every shape of tile; the best is taken. No split inputs."""
    m, n, k = shape
    found = []
    for rows, columns in ((64, 32), (64, 64), (128, 64), (128, 128), (128, 256)):
        tiles = len(range(0, m, rows)) * len(range(0, n, columns))
        high = min(rows, -(-m // 64) * 64)
        step = max(
            2 * 64 * high * columns * chip.cores / (chip.peak * c.compute),
            (high + columns) * 128 * chip.cores / (chip.peak * c.load), c.step_s,
        )  # fmt: skip
        end = high * columns * 2 * c.epilogue * chip.cores / chip.bandwidth
        cores = [0.0] * int(chip.cores)
        for tile in range(tiles):
            cores[tile % len(cores)] += len(range(0, k, 64)) * step + end
        found.append(max(cores))
    return min(found)


@pytest.mark.parametrize("shape", [(1, 1, 1), (100, 9000, 70), (129, 4097, 4096), (4096, 4096, 512), (3000, 257, 999)])
def test_whole_tiles_take_what_a_schedule_takes(shape: tuple[int, int, int]) -> None:
    whole = replace(ON_H100, smooth=0.0, split_s=math.inf)
    assert gemm_cost(*shape, H100, whole).compute_s == pytest.approx(scheduled(shape, H100, whole), rel=1e-12)


def test_few_tiles_with_long_inputs_are_split() -> None:
    long = (16, 256, 65_536)
    alone = gemm_cost(*long, H100, replace(ON_H100, split_s=math.inf)).compute_s
    split = gemm_cost(*long, H100, ON_H100).compute_s
    assert 3.05e-6 < split < alone / 8


@given(setups, shapes, st.integers(0, 2), st.integers(1, 3000), widths, st.booleans())
def test_more_work_is_never_faster(setup: Any, shape: Any, axis: int, more: int, width: Widths, stays: bool) -> None:
    larger = tuple(size + more * (axis == index) for index, size in enumerate(shape))
    base = seconds(setup, shape, widths=width, alone=stays)
    assert seconds(setup, larger, widths=width, alone=stays) >= base * (1 - 1e-12)


@given(setups, shapes, st.floats(1.0, 30.0), st.booleans())
def test_a_better_chip_is_never_slower(setup: Any, shape: Any, factor: float, stays: bool) -> None:
    chip, constants = setup
    base = seconds(setup, shape, alone=stays)
    for names in (("peak",), ("bandwidth",), ("cache",), ("cache_bandwidth",)):
        better = replace(chip, **{name: getattr(chip, name) * factor for name in names})
        assert seconds((better, constants), shape, alone=stays) <= base * (1 + 1e-12)


@given(setups, shapes, st.integers(2, 8))
def test_more_of_the_same_cores_are_never_slower(setup: Any, shape: Any, times: int) -> None:
    chip, constants = setup
    larger = replace(chip, **{name: getattr(chip, name) * times for name in ("peak", "bandwidth", "cores")})
    assert seconds((larger, constants), shape) <= seconds(setup, shape) * (1 + 1e-12)


@given(setups, shapes, widths)
def test_no_product_beats_the_peaks(setup: Any, shape: Any, width: Widths) -> None:
    (chip, _), (m, n, k) = setup, shape
    found = gemm_cost(m, n, k, *setup, widths=width)
    moved = width.activation * m * k + width.weight * n * k + width.result * m * n
    assert found.time_s >= 2 * m * n * k / chip.peak * (1 - 1e-12)
    assert found.time_s >= moved / chip.bandwidth * (1 - 1e-12)
    assert found.bytes == moved


@given(setups, st.lists(shapes, min_size=1, max_size=8), widths, st.booleans())
def test_points_together_equal_points_alone(setup: Any, points: Any, width: Widths, stays: bool) -> None:
    columns = tuple(np.array([point[axis] for point in points]) for axis in range(3))
    together = seconds(setup, columns, widths=width, alone=stays)
    alone = [seconds(setup, point, widths=width, alone=stays) for point in points]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


# The gates: MAPE measured by bench/gemm.py, plus one point.
GATES = [
    ("a100_sxm/gemm/vllm/0.14.0", A100, ON_A100, 0.098),
    ("h100_sxm/gemm/vllm/0.24.0", H100, ON_H100, 0.073),
    ("h200_sxm/gemm/vllm/0.22.0", H200, ON_H100, 0.099),  # the H100's constants
]


@pytest.mark.parametrize(("table", "chip", "constants", "most"), GATES)
def test_measured_kernels_are_met(
    data_folder: Path, table: str, chip: ChipFacts, constants: GemmConstants, most: float
) -> None:
    shape, truth = measured(data_folder / "silicon" / "aiconfigurator" / table / "gemm_perf.parquet", "bfloat16")
    found = gemm_cost(*shape, chip, constants, alone=True).time_s
    assert float(np.abs(found / truth - 1).mean()) < most


def measured(file: Path, dtype: str) -> tuple[Any, Any]:
    """Calls of the commonest kernel, without the matrices that constants were fitted on."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads the measured kernels")
    if not file.is_file():
        pytest.skip(f"no {file}")
    raw = parquet.read_table(file, filters=[("gemm_dtype", "=", dtype)]).to_pydict()
    common = Counter(raw["kernel_source"]).most_common(1)[0][0]
    matrices = set(zip(raw["n"], raw["k"]))
    fitted = {(n, k) for n, k in matrices if int(hashlib.sha1(f"{n},{k}".encode()).hexdigest(), 16) % 100 < 5}
    rows = zip(raw["kernel_source"], raw["n"], raw["k"])
    keep = [source == common and (n, k) not in fitted for source, n, k in rows]
    m, n, k, milliseconds = (np.asarray(raw[name], float)[keep] for name in ("m", "n", "k", "latency"))
    return (m, n, k), milliseconds / 1e3
