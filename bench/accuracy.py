"""How far the constants that ship are from measured kernels, operator by operator: one table, and pictures of it.

Data: kernel tables of A100, H100 and H200 (aiconfigurator 095f58a, Apache-2.0), and for collectives two more of A100s
(vidur 7d47513, MIT; LLMCompass 2e015fd, BSD-3). Constants were fitted on 5 % of the shapes, chosen by sha1; errors are
of the other shapes, coverage of those that are left when the range's 5 % are taken out too (`bench/judged.py`).

    MAPE        mean |predicted / measured - 1|; over 20 us: of calls that take longer, as half of all are launch-bound
    sum         sum of |predicted - measured| over the sum of measured
    roofline    MAPE of peak FLOP/s and bandwidth alone; of energy: of the power limit times the measured time
    in range    share of calls within the stated 90 % range, and its factor either way (`-`: none is stated)

Needs pyarrow. Run: python bench/accuracy.py [--plots DIR] [--markdown]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from judged import Judged, everything
from parity import write

HEAD = ("what", "chip", "rows", "MAPE", "over 20 us", "sum", "roofline", "in range")
WIDTHS = (34, 9, 7, 8, 11, 7, 9, 15)


def cells(judged: Judged) -> tuple[str, ...]:
    """One row of the table as text."""
    mape, long, total = (percent(value) for value in judged.scores)
    plain = abs(judged.plain / judged.truth - 1).mean()
    inside = f"{judged.coverage:.0%} in {1 + judged.spread:.2f}x" if judged.spread == judged.spread else "-"
    return judged.what, judged.chip, f"{len(judged.truth)}", mape, long, total, percent(plain), inside


def percent(value: float) -> str:
    """``12.3 %``; a dash for what there is none of."""
    return f"{100 * value:.1f}" if value == value else "-"


def text(rows: Iterable[Judged]) -> Iterator[str]:
    """Aligned columns of at most 100 characters, families apart."""
    yield line(HEAD)
    family = ""
    for judged in rows:
        if judged.family != family:
            family = judged.family
            yield f"-- {family}, % ".ljust(sum(WIDTHS), "-")
        yield line(cells(judged))


def line(row: Sequence[str]) -> str:
    """Words to the left, numbers to the right."""
    placed = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, WIDTHS, strict=True))]
    return "".join(placed).rstrip()


def markdown(rows: Iterable[Judged]) -> Iterator[str]:
    """The same as tables of a document, one a family."""
    family = ""
    for judged in rows:
        if judged.family != family:
            family = judged.family
            yield f"\n### {family.capitalize()}\n\n| {' | '.join(HEAD)} |\n|{'---|' * 2}{'---:|' * 6}"
        yield f"| {' | '.join(cells(judged))} |"


def main() -> None:
    """Print the table, and write the pictures where they are asked for."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write one parity plot for each row")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    options = parser.parse_args()
    if not (options.data / "silicon").is_dir():
        raise SystemExit(f"no measured kernels in {options.data}: set DOVETAIL_DATA")
    rows = list(everything(options.data))
    print("\n".join(markdown(rows) if options.markdown else text(rows)))
    if options.plots:
        write(rows, options.plots)


if __name__ == "__main__":
    main()
