"""The figures of a model on arrays: slices, sums of bitlines under converters, quality by bits, energy by model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dovetail.app.report.data import Column, Columns, Section
from dovetail.core.units import show

Found = Mapping[str, Any]


def simulated(found: Found) -> Iterator[Section]:
    """In the order of the report."""
    yield Columns(
        "Cells that hold a digit, by slice", "slice, the lowest first", "share of weights", "%",
        [Column(str(k), {"not zero": share}) for k, share in enumerate(found["nonzero_slices"])],
    )  # fmt: skip
    yield from (_sums(found, row) for row in found["column_sums"])
    if found["by_bits"]:
        yield Columns(
            "Perplexity against ADC bits", "bits of every converter", "perplexity over that without arrays", "x",
            [Column(str(row["bits"]), {"ratio": row["ratio"]}) for row in found["by_bits"]],
        )  # fmt: skip
        names = list(found["by_bits"][0]["adc_energy_j"])
        yield from (_by_bits(found, name) for name in names[:2])
    yield _energy(found)


def _sums(found: Found, row: Found) -> Columns:
    counts = row["bitlines_by_bits"]
    last = max((bits for bits, count in enumerate(counts) if count), default=0)
    own = found["adc_bits"][row["slice"]] if found["adc_bits"] else None
    return Columns(
        f"Slice {row['slice']}: bits that the largest sum of each bitline needs", "bits", "bitlines", "",
        [Column(str(bits), {"bitlines": float(counts[bits])}) for bits in range(max(last, own or 0) + 1)],
        None if own is None else own + 1, f"what a {own}-bit ADC holds",
    )  # fmt: skip


def _by_bits(found: Found, name: str) -> Columns:
    return Columns(
        f"Energy of conversions against ADC bits, model {name}", "bits of every converter", "of a token", "J",
        [Column(str(row["bits"]), {"adc": row["adc_energy_j"][name]}) for row in found["by_bits"]],
    )  # fmt: skip


def _energy(found: Found) -> Columns:
    return Columns(
        "Energy of a token by model of the converters", "model", "energy", "J",
        [Column(row["model"].partition(",")[0], row["parts_j"]) for row in found["by_model"]],
        note="The models disagree by far: a saving is one of the model that it names.",
    )  # fmt: skip


def mapped(found: Found) -> Iterator[Section]:
    """Where a token's time and energy go."""
    for field, title, unit in (("time_s", "Time of a token", "s"), ("energy_j", "Energy of a token", "J")):
        both = [*(("arrays", row) for row in found["operators"]), *(("digital", row) for row in found["digital"])]
        shown = sorted(both, key=lambda pair: -pair[1][field])[:12]
        yield Columns(title, "operator", title.partition(" ")[0].lower(), unit,
                      [Column(row["name"], {side: row[field]}) for side, row in shown])  # fmt: skip


def trained(found: Found) -> Iterator[Section]:
    """A training beside a plain one: slices, and what bitlines need."""
    both = {"trained for arrays": found, "plain": found["plain"]}
    yield Columns(
        "Cells that hold a digit, by slice", "slice, the lowest first", "share of weights", "%",
        [Column(str(k), {name: each["nonzero_slices"][k] for name, each in both.items()})
         for k in range(len(found["nonzero_slices"]))],
    )  # fmt: skip
    for slice_, counts in enumerate(found["bitlines_by_bits"]):
        rows = {name: each["bitlines_by_bits"][slice_] for name, each in both.items()}
        last = max(bits for row in rows.values() for bits, share in enumerate(row) if share)
        own = found["adc_bits"][slice_]
        yield Columns(
            f"Slice {slice_}: bits that the largest sum of each bitline needs", "bits", "share of bitlines", "%",
            [Column(str(bits), {name: row[bits] for name, row in rows.items()}) for bits in range(last + 1)],
            own + 1 if len(counts) > own else None, f"what a {own}-bit ADC holds",
        )  # fmt: skip
    yield Columns(
        "ADC energy of 8 bits everywhere over that of converters that lose nothing", "model", "times less", "x",
        [Column(name, {k: each["adc_energy_saved"][name] for k, each in both.items()})
         for name in found["adc_energy_saved"]],
        note="The models disagree by far: a saving is one of the model that it names.",
    )  # fmt: skip


def summary(verb: str, found: Found) -> str:
    """The answer in a sentence."""
    if verb == "crossbar map":
        token = show(found["tpot"]["value"], "s")
        return f"{found['model']} fills {found['arrays']:,} arrays; {token} a token; bottleneck: {found['bottleneck']}."
    if verb == "crossbar train":
        return f"{found['net']}: {found['accuracy']:.2%} right, {found['accuracy_plain']:.2%} by plain training."
    quality = f"perplexity {found['quality']['value']:.2f}, {found['ratio']:.3f}x that without"
    return f"{found['model']} on arrays: {quality}; {show(found['energy']['value'], 'J/tok')} by {found['adc_model']}."
