"""The constants that ship are as near to measured kernels as docs/accuracy.md says, row by row of its table."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

POINT = 0.01  # what a row may be worse than its documented figure
TABLE = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text(encoding="utf-8").partition("<!-- table -->")[2]
# Ranges of energies, of constants that stand in, and of borrowed ones are not those of held-out calls of their own.
RANGED = ("products", "attention", "mixtures", "latent attention")


def documented() -> Iterator[tuple[str, str, float, float]]:
    """Operator, chip, MAPE and the roofline's MAPE of every row of the document's table."""
    for line in TABLE.split("```")[1].splitlines()[2:]:
        if not line.startswith("--"):
            yield line[:34].strip(), line[34:43].strip(), float(line[50:58]) / 100, float(line[76:85]) / 100


DOCUMENTED = list(documented())


@pytest.fixture(scope="module")
def judged(root: Path) -> Iterator[ModuleType]:
    """bench/judged.py, which reads the tables and asks the shipped constants."""
    pytest.importorskip("pyarrow", reason="the tables are parquet files: pip install pyarrow")
    sys.path.insert(0, str(root / "bench"))
    yield import_module("judged")
    sys.path.remove(str(root / "bench"))


@pytest.fixture(scope="module")
def rows(judged: ModuleType, data_folder: Path) -> dict[tuple[str, str], Any]:
    """Every row as computed now."""
    if not (data_folder / "silicon").is_dir():
        pytest.skip(f"no measured kernels in {data_folder}")
    return {(row.what, row.chip): row for row in judged.everything(data_folder)}


def test_the_document_has_every_row(rows: dict[tuple[str, str], Any]) -> None:
    assert {(what, chip) for what, chip, *_ in DOCUMENTED} == set(rows)


@pytest.mark.parametrize(
    ("what", "chip", "mape", "roofline"), DOCUMENTED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_no_row_is_worse_than_documented(
    rows: dict[tuple[str, str], Any], what: str, chip: str, mape: float, roofline: float
) -> None:
    row = rows[what, chip]
    assert row.scores.mape <= mape + POINT
    assert np.abs(row.plain / row.truth - 1).mean() == pytest.approx(roofline, abs=0.001)  # the same calls


def test_ranges_hold_nine_of_ten(rows: dict[tuple[str, str], Any]) -> None:
    ranged = [row for row in rows.values() if row.family in RANGED and row.fitted and row.spread == row.spread]
    assert len(ranged) > 20
    off = {(row.what, row.chip): row.coverage for row in ranged if not 0.85 - POINT <= row.coverage <= 0.95 + POINT}
    assert not off


def test_a_wrong_constant_is_noticed(judged: ModuleType, data_folder: Path) -> None:
    calls = next(judged.product_calls(data_folder))
    constants = judged.load_machine(calls.chip).kernels.gemm["bf16"]
    for name in ("launch_s", "compute", "memory"):
        wrong = replace(constants, **{name: getattr(constants, name) * 0.7})
        row = judged.product_row(calls, "bf16", calls.seconds(wrong), wrong.spread)
        assert row.scores.mape > DOCUMENTED[0][2] + POINT, name
