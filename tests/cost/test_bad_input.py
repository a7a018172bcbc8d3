"""What a product is asked that it cannot be: a sentence that says what is wrong and what would do, never a crash."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import INFEASIBLE, USAGE, DovetailError
from dovetail.core.formats import DTYPE_BYTES, nearest_dtypes
from dovetail.cost import matmul
from dovetail.hardware import load_machine

NONSENSE = [
    float("nan"), float("inf"), -float("inf"), 0, -1, 0.5, 1e13, 10**400, "16", None, True, 1 + 2j, [], [[1], [2, 3]],
    np.array([1.0, np.nan]), np.array([4, -4]), {"m": 1}, object(),
]  # fmt: skip


@pytest.mark.parametrize("axis", ["m", "n", "k"])
@pytest.mark.parametrize("value", NONSENSE, ids=lambda v: f"{v!r:.20}")
def test_a_size_that_is_none(axis: str, value: Any) -> None:
    with pytest.raises(DovetailError, match=f"{axis} must be at least 1") as error:
        matmul(**{"m": 4, "n": 64, "k": 64, axis: value}, machine="h100-sxm")
    assert error.value.exit_code == USAGE
    assert len(str(error.value)) < 200


def test_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(DovetailError, match=r"do not broadcast \(shapes \(2,\), \(3,\) and \(\)\)"):
        matmul([1, 2], [64, 128, 256], 64, machine="h100-sxm")


@pytest.mark.parametrize("weight", ["bf16", "fp8", "int4"])
def test_a_thousand_million_rows_are_priced(weight: str) -> None:
    chip = load_machine("h100-sxm")
    found = matmul(10**9, 4096, 4096, machine=chip, weight=weight)
    assert np.isfinite([found.time_s, found.energy_j, found.low, found.high]).all()
    assert found.time_s >= 2e9 * 4096 * 4096 / chip.peak["bf16"]


@pytest.mark.parametrize(
    ("on", "dtype", "nearest"),
    [
        ("a100-sxm", "fp8", "int8 or bf16"), ("a100-sxm", "nvfp4", "int4 or bf16"), ("h100-sxm", "nvfp4", "fp8"),
        ("h100-sxm", "mxfp4", "fp8"), ("h100-sxm", "int4", "int8"), ("v100-sxm", "int8", "fp16"),
        ("mi210", "fp8_block", "int8 or bf16"), ("u280", "bf16", "int8"),
    ],
)  # fmt: skip
def test_a_dtype_that_the_machine_lacks_names_the_nearest_it_has(on: str, dtype: str, nearest: str) -> None:
    with pytest.raises(DovetailError) as error:
        matmul(16, 4096, 4096, machine=on, weight=dtype, act=dtype)
    assert error.value.exit_code == INFEASIBLE
    assert f"{on} has no {dtype} arithmetic. Try: the nearest it has: {nearest}" in str(error.value)
    for name in nearest.split(" or "):
        assert matmul(16, 4096, 4096, machine=on, weight=name, act=name).time_s > 0


@pytest.mark.parametrize("what", ["weight", "act"])
@pytest.mark.parametrize("dtype", ["bf17", "", 3, None])
def test_a_dtype_that_nobody_has(what: str, dtype: Any) -> None:
    with pytest.raises(DovetailError, match=f"unknown {what} dtype") as error:
        matmul(16, 64, 64, machine="h100-sxm", **{what: dtype})
    assert error.value.exit_code == USAGE


def test_a_machine_by_name_is_that_machine() -> None:
    one, other = matmul(16, 64, 64, machine="l40s"), matmul(16, 64, 64, machine=load_machine("l40s"))
    assert (one.time_s, one.energy_j) == (other.time_s, other.energy_j)
    with pytest.raises(DovetailError, match="unknown machine 'h100-smx'"):
        matmul(16, 64, 64, machine="h100-smx")


def holding(name: str, known: set[str]) -> Iterator[str]:
    yield from (other for other in known if DTYPE_BYTES[other] >= DTYPE_BYTES[name])


@given(st.sampled_from(sorted(DTYPE_BYTES)), st.sets(st.sampled_from(sorted(DTYPE_BYTES)), min_size=1))
def test_the_nearest_dtype_is_the_narrowest_that_holds_it(name: str, known: set[str]) -> None:
    first, *rest = nearest_dtypes(name, known)
    widths = [DTYPE_BYTES[other] for other in holding(name, known)]
    assert DTYPE_BYTES[first] == (min(widths) if widths else max(DTYPE_BYTES[other] for other in known))
    assert {first, *rest} <= known
    assert all(other.startswith("int") == name.startswith("int") for other in rest)
