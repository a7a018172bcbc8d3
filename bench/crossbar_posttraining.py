"""Post-training for crossbars: the recipe bit-slice against GPTQ of 8 to 4 bits, in the same slices.

    python bench/crossbar_posttraining.py [--model stories260K|embedded] [--results FILE]

Codes stand in 2-bit cells, differential arrays of 128 x 128; GPTQ's as they usually do, those of bit-slice with digits
of either sign (`balanced`). Energy is that of conversions without loss: each bitline's converter has the bits that its
largest possible sum needs (`bitline`), or those of the largest one of its slice of its matrix (`slice`); 0 bits are no
conversion. At equal perplexity: the lower hull of what was tried of bit-slice, interpolated at GPTQ's perplexities.
stories260K is calibrated and measured on TinyStories (stories that it may have been trained on, none of the former
among the latter), the embedded model on held-out library text. Finished rows are kept in FILE.

Arrays as they are mapped: `plain` is differential, one converter an array, of the bits that its largest sum needs;
`arranged` has the free choices of `crossbar/arrange.py` (two converters an array), which change no output. Ours
arranged is held against GPTQ plain, and against GPTQ arranged as well: the first says what a user gains, the second
what the codes do.

Recovered: after rounding, a short training of codes, scales and norms towards the dense model's predictions (method
`recover`), of as many steps on as much text for GPTQ's codes as for ours, which have a price of cells in it. `priced`
are the codes that it begins with, without a step. GPTQ with the same recovery is the fair rival: what is gained against
it is the codes' doing.

Asked over the whole curve: non-zero slices at least 1.3x fewer, energy at least 1.5x less than GPTQ of 7 to 4 bits.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dovetail.model
from dovetail.core.files import cache_folder
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.arrange import Choosing, arranged
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import statistics
from dovetail.crossbar.layer import Setup, write
from dovetail.hardware.adc import adc_model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.bit_slice import BitSlice
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.recover import Recover
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.corpus import documents
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import perplexity
from dovetail.runtime.stored import Stored

DATA = Path(os.environ.get("DOVETAIL_DATA") or "../shared/data")
STORIES = DATA / "corpora" / "tinystories" / "tinystories_train_first2MiB.txt"
MODELS = ("paper", "isaac_cdac")
MAPPED = {"plain": Choosing(("differential",), 1, 0), "arranged": Choosing()}
GPTQS = tuple(GPTQ(bits, 0) for bits in (8, 7, 6, 5, 4))
OURS = (
    *(BitSlice(bits, 1e-6, encoding=way) for way in ("balanced", "differential") for bits in (7, 6, 5, 4)),
    *(BitSlice(bits, 1e-6, adc_bits=adc, over=over, encoding="balanced") for bits, adc, over in
      ((7, 5, 1e-3), (6, 5, 1e-3), (5, 5, 1e-3), (4, 5, 1e-3), (7, 5, 1e-2), (6, 5, 1e-2), (5, 5, 1e-2), (5, 4, 3e-4))),
)  # fmt: skip

# of cells, with bits of codes
PRICES = ((0.01, 8), (0.03, 8), (0.003, 8), (0.04, 5), (0.001, 8), (0.0003, 8), (0.01, 5))
RECOVERY = {"stories260K": Recover(300, 2, 0.001), "embedded": Recover(60, 2, 0.0003)}
LONGER = {"stories260K": 680, "embedded": 120}  # sequences that are learned from
Row = tuple[Any, ...]


def families(name: str) -> dict[str, list[Row]]:
    """Recipes by what they are."""
    recover, whole = RECOVERY[name], name == "stories260K"  # the embedded model takes minutes a row: fewer of them
    ours, bits = (OURS, (7, 6, 5, 4)) if whole else (OURS[2:4], (6, 5, 4))
    prices = PRICES if whole else [(price, own) for price, own in PRICES if own == 8]
    return {
        "gptq": [(method,) for method in GPTQS],
        "priced": [(RTN(8, 0), Recover(0, price=price, bits=own)) for price, own in prices],
        "priced, recovered": [(RTN(8, 0), replace(recover, price=price, bits=own)) for price, own in prices],
        "gptq recovered": [(GPTQ(own, 0), recover) for own in bits],
        "bit-slice": [(method,) for method in ours],
    }


def numbers(folder: Path, cells: Cells) -> dict[str, float]:
    """Non-zero slices of a weight, and energies of all conversions of a cycle in pJ."""
    stored = Stored.required(Checkpoint.open(folder))
    assert stored is not None
    found = dict.fromkeys(
        ["weights", "nonzero", *(f"{m} {w}" for m in MODELS for w in ("bitline", "slice", *MAPPED))], 0.0
    )
    for name in stored.integers():
        values = stored.matrix(name)[0].numpy().astype(np.int32)
        seen = statistics(Codes(values, np.ones((len(values), 1)), FixedPoint(8)), cells)
        found["weights"] += values.size
        found["nonzero"] += float(seen.nonzero_slices.sum()) * values.size
        widest = np.where(seen.bits > 0, seen.bits.max(axis=(0, 2, 3))[None, :, None, None], 0)
        for model in MODELS:
            energy = adc_model(model).energy_j
            found[f"{model} bitline"] += 1e12 * float(energy(seen.bits).sum())
            found[f"{model} slice"] += 1e12 * float(energy(widest).sum())
        layer = write(Codes(values, np.ones((len(values), 1)), FixedPoint(8)), Setup(Cells(2), adc=Adc("ideal")))
        for model in MODELS:
            for way, choosing in MAPPED.items():
                mapped = arranged(layer, adc_model(model), choosing)
                found[f"{model} {way}"] += 1e12 * float(adc_model(model).energy_j(mapped.converters.bits).sum())
    return found


def measured(source: Path, methods: Row, calibration: Calibration, texts: list[str]) -> dict[str, Any]:
    """Perplexity and numbers of a model after a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        made = Recipe.load(list(methods)).apply(source, Path(folder) / "out", calibration=calibration).path
        quality = perplexity(load(made), texts, 512, 512)
        found = numbers(made, Cells(2, getattr(methods[-1], "encoding", "differential")))
        other = numbers(made, Cells(2, "balanced")) if isinstance(methods[-1], GPTQ) else {}
    return {"perplexity": quality.perplexity, **found, **{f"balanced {k}": v for k, v in other.items()}}


def setting(name: str) -> tuple[Path, Calibration, list[str]]:
    """A model, what it is calibrated on, and what its quality is measured on."""
    if name == "embedded":
        texts = [d.text for d in documents("test")][:12]
        return Path(dovetail.model.__file__).parent / "embedded", Calibration(samples=16), [t[:6000] for t in texts]
    text = STORIES.read_text()
    rest = Path(tempfile.mkdtemp()) / "rest.txt"
    rest.write_text(text[len(text) // 2 :])
    stories = [story.strip() for story in text[: len(text) // 2].split("<|endoftext|>")]
    return DATA / "models" / "stories260K" / "hf", Calibration(rest, samples=16), stories[:200]


def at_equal_quality(
    rows: list[dict[str, Any]], ours: list[dict[str, Any]], key: str, theirs: str = ""
) -> list[str]:  # fmt: skip
    """How many times less ours take at each perplexity of `rows`: from the cheapest at or below it, or between two."""
    points = sorted((row["perplexity"], row[key]) for row in ours)
    hull = [p for i, p in enumerate(points) if all(p[1] < other[1] for other in points[:i])]
    x, y = np.log([p[0] for p in hull]), np.log([p[1] for p in hull])
    theirs = theirs or key
    return [
        f"{row[theirs] / np.exp(np.interp(np.log(row['perplexity']), x, y)):.2f}x"
        if np.log(row["perplexity"]) >= x[0]
        else "-"
        for row in rows
    ]


def told(row: Row) -> str:
    """A recipe in few words."""
    first, last = row[0], row[-1]
    if isinstance(last, Recover):
        kind = f"gptq {first.bits}" if isinstance(first, GPTQ) else f"price {last.price:g}, {last.bits} bits"
        return kind + ", recovered" * (last.steps > 0)
    if isinstance(last, BitSlice):
        return f"bit-slice {last.bits}, {last.encoding}" + f", {last.adc_bits}" * (last.adc_bits > 0)
    return f"gptq {last.bits}"


def tried(name: str, path: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of a model by family, those that are not known yet measured now."""
    known = {r["key"]: r for r in map(json.loads, path.read_text().splitlines())} if path.is_file() else {}
    source, calibration, texts = setting(name)
    found: dict[str, list[dict[str, Any]]] = {}
    for family, rows in families(name).items():
        for row in rows:
            key = f"{name} {row[0] if len(row) == 1 else row} on {len(texts)}"
            long = replace(calibration, samples=LONGER[name]) if isinstance(row[-1], Recover) else calibration
            if key not in known:
                known[key] = {"key": key, **measured(source, row, long, texts)}
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
            now = known[key] | {"slices": known[key]["nonzero"] / known[key]["weights"]}
            found.setdefault(family, []).append(now)
            energies = "".join(f"{now[f'{m} {w}']:20,.0f}" for m in MODELS for w in ("bitline", "slice", *MAPPED))
            print(f"{told(row):30}{now['perplexity']:11.4f}{now['slices']:8.3f}{energies}", flush=True)
    return found


def table(name: str, path: Path) -> None:
    """All rows of a model, and what they say."""
    print(f"\n{name}: non-zero slices of a weight, and pJ of all conversions of a cycle")
    heads = "".join(f"{f'{m} {w}':>20}" for m in MODELS for w in ("bitline", "slice", *MAPPED))
    print(f"{'method, converters aimed at':30}{'perplexity':>11}{'slices':>8}{heads}")
    rows = tried(name, path)
    base = rows["gptq"]
    print("GPTQ of 8, 7, 6, 5, 4 bits:")
    for m in MODELS:
        gain = [f"{row[f'{m} plain'] / row[f'{m} arranged']:.2f}x" for row in base]
        print(f"  {m}, GPTQ arranged against plain, the same outputs:", *gain)
    for key in ("nonzero", "paper bitline"):
        print(f"  {key} of GPTQ's own codes, balanced:", *(f"{r[key] / r['balanced ' + key]:.2f}x" for r in base))
    for ours, theirs in (("bit-slice", "gptq"), ("priced", "gptq"), ("priced, recovered", "gptq"),
                         ("gptq recovered", "gptq"), ("priced, recovered", "gptq recovered")):  # fmt: skip
        print(f"{ours} against {theirs} at the perplexities of the latter (-: below every one of the former):")
        print("  perplexities:", *(f"{row['perplexity']:.4f}" for row in rows[theirs]))
        for key in ("slices", *(f"{m} {w}" for m in MODELS for w in ("bitline", "slice"))):
            print(f"  {key:20}", *at_equal_quality(rows[theirs], rows[ours], key))
        for m in MODELS:
            for way in MAPPED:
                gain = at_equal_quality(rows[theirs], rows[ours], f"{m} arranged", f"{m} {way}")
                print(f"  {m}, arranged against {way}:", *gain)


def main() -> None:
    """Run what is not done yet, print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=("stories260K", "embedded"), action="append")
    parser.add_argument("--results", type=Path, default=cache_folder() / "bench" / "crossbar_posttraining.jsonl")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.model or ("stories260K", "embedded"):
        if name == "stories260K" and not STORIES.is_file():
            print(f"{name} is left out: no {STORIES}; set DOVETAIL_DATA")
            continue
        table(name, args.results)


if __name__ == "__main__":
    main()
