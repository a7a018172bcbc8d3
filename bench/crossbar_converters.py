"""Converters of networks trained for crossbars: the fewest bits, and the energy of conversions.

    python bench/crossbar_converters.py [--seeds N] [--results FILE] [--figures DIR]

The networks of `crossbar_training.py` (784-84-10, 10,000 digits of MNIST), with converters that saturate. Bits of
each slice are the fewest, found greedily on 5,000 *validation* digits, with which what is lost and 1.64 standard errors
of it are within 0.3 point; a slice that holds no cell has 0. Test digits then say what is lost: against the same
network without converters, and in all against training without a penalty, paired over seeds. Energy is that of 8-bit
converters everywhere over that of converters of so many bits, conversions of empty bitlines left out, once with nothing
lost, once with the fewest bits. With DIR two pictures are drawn there.

Asked: at least 1 bit less for each slice on average than published bit-slice L1; at a loss of at most 0.3 point
conversions take at least 14x less energy by the model `paper`, and 3x by `isaac_cdac` (`flash` below 4 bits).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from crossbar_pictures import draw
from crossbar_training import CAPPED, LOSS, METHODS, Runs, begun, spread

from dovetail.crossbar.columns import statistics
from dovetail.crossbar.training.converting import Converting
from dovetail.crossbar.training.fit import Fit
from dovetail.crossbar.training.judge import converted_accuracy, fewest_bits
from dovetail.crossbar.training.restrictions import Digits, Prune
from dovetail.crossbar.training.train import saved_energy

SURE = 1.64  # standard errors
MODELS = ("paper", "isaac_cdac")
PUBLISHED = ("bit-slice L1", "prune, bit-slice L1")  # the second prunes first, as its authors do
LOOPED, LESS = "one digit, ADC in the loop", "one digit, a notch less"
ROWS = (*PUBLISHED, "one digit", LESS, LOOPED, CAPPED)


def strength(runs: Runs, name: str) -> Any:
    """The strength that was chosen, or the one before it in the grid."""
    if name != LESS:
        return runs.chosen("mlp", name)
    grid = METHODS["one digit"].strengths
    return grid[max(0, grid.index(runs.chosen("mlp", "one digit")) - 1)]


def network(runs: Runs, name: str, seed: int) -> tuple[Any, Any, dict[str, Any]]:
    """A network; with the ADC in the loop, one that was trained on with a bit less in each slice."""
    if name != LOOPED:
        return runs.trained("mlp", "one digit" if name == LESS else name, strength(runs, name), seed)
    share = runs.chosen("mlp", "one digit")
    start = judged(runs, "one digit", seed)["bits"]
    tight = tuple(max(1, b - 1) for b in start)
    parts = (Prune(share, until=1e-9), Digits(1), Converting(tight))
    model = runs.trained("mlp", "one digit", share, seed)[0]
    return runs.network(["mlp", name, [share, *tight], seed], "mlp", parts, seed, Fit(3, rate=0.01), model)


def judged(runs: Runs, name: str, seed: int) -> dict[str, Any]:
    """Bits and energy of one network."""

    def made() -> dict[str, Any]:
        model, codes, kept = network(runs, name, seed)
        bits = fewest_bits(model, codes, runs.data.validation, LOSS, sure=SURE)
        layers = [statistics(one) for one in codes.values()]
        return {
            "bits": bits, "lossless": kept["bits"], "nonzero": kept["nonzero"], "test": kept["test"],
            "with": converted_accuracy(model, codes, runs.data.test, [max(1, b) for b in bits]),
            "saved": {m: [saved_energy(layers, m), saved_energy(layers, m, bits)] for m in MODELS},
        }  # fmt: skip

    return runs.get(["mlp", name, "converters", seed], made)


def table(runs: Runs, seeds: range) -> None:
    """One line for each method."""
    plain = [100 * runs.run("mlp", "none", 0.0, seed)["test"] for seed in seeds]
    found = {name: [judged(runs, name, seed) for seed in seeds] for name in ROWS}
    print(
        f"\n{len(seeds)} seeds, {runs.data.name}; plain training {np.mean(plain):.2f} %; ± is half of a 95 % interval"
    )
    print("'own': against the same network without converters; 'all': against plain training; points, on test digits")
    for name, rows in found.items():
        told = "" if name == LOOPED else f" {strength(runs, name)}"
        print(f"{name}{told}, {100 * np.mean([r['test'] for r in rows]):.2f} % without converters")
        _line("nothing lost", plain, rows, "lossless", "test", 0)
        _line("fewest bits", plain, rows, "bits", "with", 1)
    for published in PUBLISHED:
        for name in (n for n in ROWS if n not in PUBLISHED):
            told = [
                "{:.2f} ± {:.2f}".format(*spread(np.mean(b[key]) - np.mean(a[key])
                                                 for a, b in zip(found[name], found[published])))
                for key in ("bits", "lossless")
            ]  # fmt: skip
            print(f"{name}: bits a slice less than {published}: {told[0]}; with nothing lost {told[1]} (asked: 1)")


def _line(what: str, plain: list[float], rows: list[dict[str, Any]], bits: str, accuracy: str, place: int) -> None:
    each = np.mean([r[bits] for r in rows], axis=0).round(1).tolist()
    mean = "{:.2f} ±{:.2f}".format(*spread(np.mean(r[bits]) for r in rows))
    own = "{:+.2f} ±{:.2f}".format(*spread(100 * (r[accuracy] - r["test"]) for r in rows))
    in_all = "{:+.2f} ±{:.2f}".format(*spread(100 * r[accuracy] - p for r, p in zip(rows, plain)))
    saved = ", ".join("{} {:.1f} ±{:.1f}x".format(m, *spread(r["saved"][m][place] for r in rows)) for m in MODELS)
    print(f"  {what:13} bits {each!s:22} mean {mean}  own {own}  all {in_all}  energy {saved}", flush=True)


def sums(runs: Runs, name: str, seed: int = 0) -> np.ndarray:
    """The largest sum of every bitline of the first layer, shape (slices, bitlines)."""
    codes = network(runs, name, seed)[1]
    found = statistics(next(iter(codes.values()))).highest
    return np.moveaxis(found, 1, 0).reshape(found.shape[1], -1)


def by_bits(runs: Runs, name: str, bits: range, seeds: range) -> list[float]:
    """Mean accuracy on test digits with the same converters in all slices."""

    def one(seed: int, each: int) -> dict[str, Any]:
        model, codes, _ = network(runs, name, seed)
        return {"with": converted_accuracy(model, codes, runs.data.test, each)}

    return [float(np.mean([runs.get(["mlp", name, "all slices", each, seed], lambda s=seed, b=each: one(s, b))["with"]  # type: ignore[misc]
                           for seed in seeds])) for each in bits]  # fmt: skip


def main() -> None:
    """Run what is not done yet, print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--figures", type=Path)
    args, runs = begun(parser)
    table(runs, range(args.seeds))
    if args.figures:
        bits, some = range(2, 9), range(min(3, args.seeds))
        names = ("none", "L1, tuned", "prune, bit-slice L1", "one digit")
        draw(args.figures, {name: sums(runs, name) for name in names},
             {name: (list(bits), by_bits(runs, name, bits, some)) for name in names})  # fmt: skip


if __name__ == "__main__":
    main()
