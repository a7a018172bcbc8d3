"""How a model on arrays looks in a terminal: quality, slices, energy by every model of the converters, what is next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dovetail.app.output import folded
from dovetail.app.table import table
from dovetail.core.units import show

Found = Mapping[str, Any]


def _said(found: Found, *names: str) -> str:
    """The quantity at a path of names, with its unit."""
    for name in names:
        found = found[name]
    return show(found["value"], found["unit"])


def _array(found: Found) -> str:
    rows, columns = found["array"]
    return f"{found['arrays']:,} arrays of {rows} x {columns}, {found['encoding']}, {found['cell_bits']}-bit cells"


def sim_screen(found: Found, quiet: bool) -> None:
    """The answer of ``dovetail crossbar sim``."""
    on, off = found["quality"]["value"], found["quality_digital"]["value"]
    print(f"perplexity  {on:.3f} on arrays, {off:.3f} without: {found['ratio']:.4f}x")
    print(folded(f"text        {found['tokens']:,} tokens, {found['text']}"))
    print(f"energy      {_said(found, 'energy')} in arrays, by the ADC model {found['adc_model']}")
    print(f"area        {_said(found, 'area')}, {_array(found)}")
    print(f"time        {_said(found, 'time')} a token, {_said(found, 'interval')} in a pipeline")
    others = ", one of two that subtract" if found["arranged"] else ""
    print(f"skipped     {found['skipped_share']:.1%} of conversions: empty bitlines{others}, cycles without an input")
    if found["arranged"]:
        print(folded(f"arranged    {_arranged(found['arranged'])}"))
    if quiet:
        return
    table(["slice", "not zero", "ADC bits", "bits needed", "lossless bitlines"], list(_slices(found)))
    priced = [
        [row["model"], *(show(row[name], "J") for name in ("adc_j", "energy_j")),
         *(show(row[name], "mm2") for name in ("adc_mm2", "area_mm2"))] for row in found["by_model"]
    ]  # fmt: skip
    table(["ADC model", "ADC", "all", "ADC area", "area"], priced, "of a token, by model of the converters")
    if found["by_bits"]:
        names = list(found["by_bits"][0]["adc_energy_j"])[:2]
        table(["ADC bits", "perplexity", "ratio", *(f"ADC, {name}" for name in names)], list(_sweep(found, names)))
    if found["plan"]:
        _plan(found["plan"])
    _notes(found)
    print(f"next        dovetail crossbar map {found['model']}")


def _arranged(made: Found) -> str:
    widths = "one converter" if made["widths"] == 1 else f"converters of up to {made['widths']} widths"
    return (
        f"{widths} an array, {made['mean_bits']:.2f} bits a conversion, nothing lost: {made['balanced']:.0%} of "
        f"columns balanced, currents of {made['paired']:.0%} subtract, {made['moved']:.0%} of inputs moved"
    )


def _slices(found: Found) -> list[list[str]]:
    rows = []
    for row in found["column_sums"]:
        k = row["slice"]
        bits = "ideal" if found["adc_bits"] is None else str(found["adc_bits"][k])
        share, held = f"{found['nonzero_slices'][k]:.2%}", f"{row['held']:.2%}"
        rows.append([str(k), share, bits, str(found["needed_bits"][k]), held])
    return rows


def _sweep(found: Found, names: list[str]) -> list[list[str]]:
    return [
        [str(row["bits"]), f"{row['perplexity']:.3f}", f"{row['ratio']:.4f}x",
         *(show(row["adc_energy_j"][name], "J") for name in names)] for row in found["by_bits"]
    ]  # fmt: skip


def _plan(plan: Found) -> None:
    bits = ", ".join(f"{each:.2f}" for each in plan["mean_bits"])
    saved = f"{plan['saves_against_8_bits']:.2f}x less ADC energy than 8 bits everywhere"
    quality = f"perplexity {plan['perplexity']:.3f} ({plan['ratio']:.4f}x)"
    print(folded(f"plan        {bits} bits on average by slice: {quality}, {saved}"))


def _notes(found: Found) -> None:
    if found["smaller_than_array"]:
        named = ", ".join(found["smaller_than_array"][:3])
        print(folded(f"note        arrays have more rows than some layers have inputs, and stay part empty: {named}"))
    rest = ", ".join(f"{row['count']} {row['module']}" for row in found["stays_digital"])
    print(folded(f"digital     {rest}; attention between activations"))


def map_screen(found: Found, quiet: bool, machine: Path | None) -> None:
    """The answer of ``dovetail crossbar map``."""
    print(f"arrays      {_array(found)}")
    print(f"weights     {found['weights'] / 1e6:,.1f} M on {_said(found, 'area')}")
    halves = f"{show(found['arrays_s'], 's')} in arrays, {show(found['digital_s'], 's')} on {found['beside']}"
    print(f"token       {_said(found, 'tpot')} at {found['context']:,} tokens: {halves}")
    print(f"energy      {_said(found, 'energy_per_token')}, by the ADC model {found['adc_model']}")
    print(folded(f"bottleneck  {found['bottleneck']}"))
    if quiet:
        return
    placed = [
        [row["name"], row["layers"], f"{row['arrays']:,}", show(row["time_s"], "s"), show(row["energy_j"], "J"),
         f"{row['adc_share']:.0%}"] for row in found["operators"]
    ]  # fmt: skip
    table(["on arrays", "layers", "arrays", "time", "energy", "of it ADC"], placed)
    rest = [[row["name"], show(row["time_s"], "s"), show(row["energy_j"], "J"), row["why"]] for row in found["digital"]]
    table(["digital", "time", "energy", "why"], rest)
    _writing(found["writing"])
    if machine is None:
        print(f"next        dovetail crossbar map {found['model']} --machine machine.yaml")
    else:
        print(f"next        dovetail estimate {found['model']} --on {machine}")


def _writing(done: Found) -> None:
    worn = f"cells of {done['endurance']:.0e} writes last {done['years_of_hourly_rewrites']:,.0f} years, written hourly"
    print(folded(f"writing     {_said(done, 'time')} and {_said(done, 'energy')} for all weights; {worn}"))
    kv = f"{_said(done, 'kv_per_token', 'time')} and {_said(done, 'kv_per_token', 'energy')} a token"
    print(folded(f"            keys and values would take {kv} to write: they stay digital"))


def train_screen(found: Found, quiet: bool) -> None:
    """The answer of ``dovetail crossbar train``."""
    plain = found["plain"]
    saved = found["adc_energy_saved"]
    print(f"accuracy    {found['accuracy']:.2%}, {found['accuracy_plain']:.2%} of plain training; {found['data']}")
    if found["accuracy_converted"] is not None:
        bits = ", ".join(map(str, found["converted_bits"]))
        print(f"converters  {found['accuracy_converted']:.2%} with saturating converters of {bits} bits")
    print(
        f"slices      {_mean(found):.2%} not zero, {_mean(plain):.2%} of plain training: {_fewer(plain, found)} fewer"
    )
    shown = ", ".join(f"{saved[name]:.1f}x by {name}" for name in ("paper", "isaac_cdac"))
    print(f"ADC energy  less than with 8 bits everywhere: {shown}, nothing lost")
    if quiet:
        return
    rows = [
        [str(k), f"{share:.2%}", f"{plain['nonzero_slices'][k]:.2%}", str(bits), str(plain["adc_bits"][k])]
        for k, (share, bits) in enumerate(zip(found["nonzero_slices"], found["adc_bits"]))
    ]
    table(["slice", "not zero", "plain", "bits needed", "plain"], rows)
    print(
        folded(
            f"trained     {found['net']}, {found['parameters']:,} parameters: {'; '.join(found['training']) or 'plain'}"
        )
    )


def _mean(found: Found) -> float:
    return float(sum(found["nonzero_slices"]) / len(found["nonzero_slices"]))


def _fewer(plain: Found, found: Found) -> str:
    return f"{_mean(plain) / _mean(found):.1f}x" if _mean(found) else "all"
