"""How wide the 90 % ranges of kernels' times should be, by calls that no constant was fitted on and no error is of.

The `spread` of an entry of a chip's file is the 90th percentile of the factor by which its spare calls are off, less
one. Spare are, of the shapes not fitted, the 5 % of lowest sha1, or a quarter where a table has at most `judged.MANY`
shapes. Phases of attention share an entry and weigh the same. A mixture's table has 9 to 17 shapes and one of
latent attention 8: the calls that constants were fitted on count beside the spare ones there.

Needs pyarrow. Run: python bench/ranges.py
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import attention
import judged
import latent
import mixture
import numpy as np
import numpy.typing as npt

from dovetail.cost.operators import energy_j
from dovetail.hardware import load_machine
from dovetail.hardware.energy import ATTENTION_SHARE

Array = npt.NDArray[np.float64]


def percentile(groups: list[Array], share: float = 0.9) -> float:
    """The factor that `share` of calls are below, each group weighing the same."""
    off = np.concatenate(groups)
    weight = np.concatenate([np.full(len(group), 1.0 / len(group)) for group in groups])
    order = np.argsort(off)
    return float(off[order][np.searchsorted(np.cumsum(weight[order]), share * weight.sum())])


def entries(data: Path) -> Iterator[tuple[str, str, float, float]]:
    """Chip, entry, spread by the rule, and the spread that ships."""
    groups: dict[tuple[str, str], list[judged.Judged]] = defaultdict(list)
    for row in (*judged.products(data), *judged.attentions(data)):
        if row.spread == row.spread:
            family, name = (
                ("gemm", row.what.split()[1]) if row.family == "products" else ("attention", row.what.split()[1])
            )
            groups[row.chip, f"{family}.{name}"].append(row)
    for (chip, entry), rows in groups.items():
        yield chip, entry, percentile([row.off[row.spare] for row in rows]) - 1.0, rows[0].spread
    for table, row in zip(mixture.TABLES, judged.mixtures(data), strict=True):
        if row.fitted:
            yield row.chip, f"mixture.{row.what.split()[1]}", percentile([with_fit(data, table, row)]) - 1.0, row.spread
    for table, row in zip(latent.TABLES, judged.latents(data), strict=True):
        if row.fitted:
            yield row.chip, f"latent.{table.entry}", percentile([latent_with_fit(data, table, row)]) - 1.0, row.spread


def latent_with_fit(data: Path, table: latent.Table, row: judged.Judged) -> Array:
    """Factors of the spare calls of latent attention and of those that its constants were fitted on."""
    calls = latent.read(data, table)
    found = latent.hosted(
        calls, latent.predict(calls, load_machine(table.chip).kernels.latent[table.entry]), table.host
    )
    fitted = np.exp(np.abs(np.log(found / calls.time_s)))[calls.fit]
    return np.concatenate([row.off[row.spare], fitted])


def with_fit(data: Path, table: mixture.Table, row: judged.Judged) -> Array:
    """Factors of a mixture's spare calls and of those that its constants were fitted on."""
    calls = mixture.read(data, table)
    part = calls.only(calls.fit)
    constants = load_machine(table.chip).kernels.mixture[row.what.split()[1]]
    fitted = np.exp(np.abs(np.log(mixture.predict(part, constants) / part.time_s)))
    return np.concatenate([row.off[row.spare], fitted])


def attention_share(data: Path) -> float:
    """Of the board's limit, what attention draws beyond idle power and counted work: least mean |log error|.

    On the calls that constants of the H200's attention were fitted on, phases and dtypes weighing the same.
    """
    machine, groups = load_machine("h200-sxm"), []
    for calls in attention.read(data, machine.name):
        known, fitted = machine.kernels.attention[calls.dtype], calls.of(calls.fit)
        for phase in (fitted.prefill, ~fitted.prefill):
            part = fitted.of(phase)
            groups.append((part, part.cost(known.constants, known.kernel)))

    def loss(share: float) -> float:
        off = []
        for part, cost in groups:
            found = energy_j(cost.time_s, part.attention.executed_flops, cost.bytes, part.dtype, machine, share)
            off.append(np.abs(np.log(found / (part.power_w * part.time_s))).mean())
        return float(np.mean(off))

    return min(np.arange(0.0, 0.5, 0.005).tolist(), key=loss)


def main() -> None:
    """Print one line an entry."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="How wide the ranges of kernels' times should be.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    data = parser.parse_args().data
    if not (data / "silicon").is_dir():
        raise SystemExit(f"no measured kernels in {data}: set DOVETAIL_DATA")
    print(f"{'chip':<10}{'entry':<22}{'by the rule':>12}{'ships':>8}")
    for chip, entry, spread, ships in entries(data):
        print(f"{chip:<10}{entry:<22}{spread:>12.3f}{ships:>8.3f}")
    print(f"{'h200-sxm':<10}{'attention, of limit':<22}{attention_share(data):>12.3f}{ATTENTION_SHARE:>8.3f}")


if __name__ == "__main__":
    main()
