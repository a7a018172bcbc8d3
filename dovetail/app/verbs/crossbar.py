"""``crossbar sim|map|train``: a model on ReRAM arrays, what building them takes, and networks trained for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dovetail.app.help import Verbs, add
from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress
from dovetail.app.question import ModelName
from dovetail.core.errors import DovetailError

AdcBits = Annotated[
    str, typer.Option("--adc-bits", metavar="N", help="Of all slices, or of each, the lowest first: 5,5,5,4.")
]
CellBits = Annotated[int, typer.Option("--cell-bits", metavar="N", help="Of a cell: 1, 2 or 4.")]
Encoding = Annotated[str, typer.Option(metavar="NAME", help="differential, balanced, offset or sign-magnitude.")]
Codes = Annotated[int, typer.Option("--code-bits", metavar="N", help="Of a weight's magnitude.")]
Array = Annotated[str, typer.Option(metavar="RxC", help="Rows (inputs) and columns (outputs) of an array.")]
InputBits = Annotated[int, typer.Option("--input-bits", metavar="N", help="Of an input: as many cycles.")]
AdcModelName = Annotated[
    str, typer.Option("--adc-model", metavar="NAME", help="paper, isaac_cdac, murmann, linear or flash.")
]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    group = typer.Typer(
        cls=Verbs, help="ReRAM arrays: simulate, map or train for them.", no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    add(
        group, "Commands", sim,
        ["dovetail crossbar sim embedded --adc-bits 7", "dovetail crossbar sim embedded --sweep 5,6,7,8 --out ./arrays",
         "dovetail crossbar sim ./my-model --adc calibrated --adc-bits 6 --device on_off=50,program_sigma=0.05",
         "dovetail crossbar sim embedded --budget 0.01", "dovetail crossbar sim embedded --arrange 2"],
    )  # fmt: skip
    add(
        group, "Commands", map_,
        ["dovetail crossbar map Qwen/Qwen3-8B", "dovetail crossbar map Qwen/Qwen3-8B --machine qwen-arrays.yaml"],
        name="map",
    )  # fmt: skip
    add(
        group, "Commands", train,
        ["dovetail crossbar train mlp --prune 0.95 --digits 1 --out ./sparse",
         "dovetail crossbar train resnet --bit-slice-l1 0.1",
         "dovetail crossbar train net.py:make --weights net.pt --noise 0.1"],
    )  # fmt: skip
    app.add_typer(group, name="crossbar", rich_help_panel="Do")


def sim(
    model: ModelName,
    adc_bits: AdcBits = "8",
    adc: Annotated[str, typer.Option(metavar="KIND", help="saturating, uniform, calibrated or ideal.")] = "saturating",
    cell_bits: CellBits = 2,
    encoding: Encoding = "differential",
    code_bits: Codes = 8,
    scale: Annotated[str, typer.Option(metavar="PER", help="layer, row, or group:N inputs.")] = "layer",
    array: Array = "128x128",
    input_bits: InputBits = 8,
    device: Annotated[
        str, typer.Option(metavar="K=V,...", help="on_off=50, program_sigma=0.1, read_sigma, stuck_low, wire, ...")
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", help="Of defects, spread and noise.")] = 0,
    text: Annotated[
        Path | None, typer.Option("--text", metavar="FILE", help="Text to measure on; else held-out library text.")
    ] = None,
    tokens: Annotated[int, typer.Option(metavar="N", help="Tokens of the text that are scored.", min=2)] = 2048,
    sweep: Annotated[str, typer.Option(metavar="N,N,...", help="Measure with these ADC bits too.")] = "",
    budget: Annotated[
        float | None,
        typer.Option(metavar="X", help="Plan each converter's bits: perplexity may grow by 0.01.", min=0.0),
    ] = None,
    adc_model: AdcModelName = "isaac_cdac",
    repair: Annotated[
        bool, typer.Option("--repair", help="Write around stuck cells and spread, slice by slice.")
    ] = False,
    arrange: Annotated[
        int | None,
        typer.Option(metavar="N", help="Choose encodings, rows and N converters an array so that nothing is lost."),
    ] = None,
    leave: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Layers that stay digital; repeatable.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Run a model's linear layers on simulated ReRAM arrays: its perplexity there, its slices, energy and area."""
    from dovetail.app.crossbar_screen import sim_screen
    from dovetail.crossbar.codes import FixedPoint
    from dovetail.design.crossbar import Simulation, simulate

    per, _, group = scale.partition(":")
    asked = Simulation(
        _setup(adc, adc_bits, cell_bits, encoding, array, input_bits, device, seed),
        FixedPoint(code_bits, per, _whole(group or "128", "scale")), adc_model, text, tokens,
        tuple(_whole(each, "sweep") for each in sweep.split(",") if each), budget, tuple(leave or ()), repair,
        arrange,
    )  # fmt: skip
    found = simulate(model, asked, lambda words: progress(words, quiet=quiet or json))
    inputs = [text] if text is not None else []
    emit(Answer("crossbar sim", found, lambda: sim_screen(found, quiet)), as_json=json, quiet=quiet, out=out,
         inputs=inputs)  # fmt: skip


def map_(
    model: ModelName,
    adc_bits: AdcBits = "8",
    cell_bits: CellBits = 2,
    encoding: Encoding = "differential",
    code_bits: Codes = 8,
    array: Array = "128x128",
    input_bits: InputBits = 8,
    adc_model: AdcModelName = "isaac_cdac",
    beside: Annotated[str, typer.Option(metavar="MACHINE", help="The chip that does the rest.")] = "jetson-orin",
    context: Annotated[int, typer.Option(metavar="N", help="Tokens that attention sees.", min=1)] = 2048,
    machine: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the machine here, for --on of other verbs.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Say which operators go to arrays and which stay digital: arrays, time, energy, writing, endurance."""
    from dovetail.app.crossbar_screen import map_screen
    from dovetail.core.files import write_text
    from dovetail.design.crossbar import map_model

    setup = _setup("saturating", adc_bits, cell_bits, encoding, array, input_bits, "", 0)
    found = map_model(model, setup, code_bits, adc=adc_model, beside=beside, context=context)
    if machine is not None:
        write_text(machine, found["machine"])
    emit(Answer("crossbar map", found, lambda: map_screen(found, quiet, machine)), as_json=json, quiet=quiet, out=out)


def train(
    net: Annotated[str, typer.Argument(metavar="NET", help="mlp, resnet, or FILE.py:NAME that returns a module.")],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="A state dict to begin with.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="MNIST's idx files; else $DOVETAIL_DATA, or scikit-learn's.")
    ] = None,
    digits_count: Annotated[int, typer.Option("--count", metavar="N", help="Images to train on.", min=100)] = 10_000,
    prune: Annotated[float | None, typer.Option(metavar="X", help="Share of weights that become 0.")] = None,
    digits: Annotated[int | None, typer.Option(metavar="N", help="Most cells of a weight that are not 0.")] = None,
    l1: Annotated[float | None, typer.Option("--l1", metavar="X", help="Strength of L1; 10.")] = None,
    step_l1: Annotated[float | None, typer.Option("--step-l1", metavar="X", help="L1 in steps of codes; 0.03.")] = None,
    bit_slice_l1: Annotated[
        float | None, typer.Option("--bit-slice-l1", metavar="X", help="Of arXiv 1909.08496; 0.1.")
    ] = None,
    cap: Annotated[str, typer.Option(metavar="BITS", help="No bitline beyond converters of so many bits.")] = "",
    column_cap: Annotated[
        float | None, typer.Option("--column-cap", metavar="X", help="Penalty of bitlines beyond --adc-bits; 0.1.")
    ] = None,
    adc_bits: Annotated[
        str, typer.Option("--adc-bits", metavar="N", help="Measure with these converters too: 4, or 3,3,4,4.")
    ] = "",
    in_loop: Annotated[bool, typer.Option("--in-loop", help="Train with those converters.")] = False,
    noise: Annotated[float | None, typer.Option(metavar="X", help="Train with this spread of cells; 0.1.")] = None,
    stuck: Annotated[
        float | None, typer.Option(metavar="X", help="Train with so many cells stuck, half of them high; 0.01.")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", min=1)] = 20,
    batch: Annotated[int, typer.Option(metavar="N", min=1)] = 128,
    rate: Annotated[float, typer.Option(metavar="X", help="Learning rate at the start.")] = 0.1,
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights, order and noise.")] = 0,
    cell_bits: CellBits = 2,
    code_bits: Codes = 8,
    array: Array = "128x128",
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Train a small network so that its slices are empty and its converters small, beside a plain training."""
    from dovetail.app.crossbar_screen import train_screen
    from dovetail.crossbar.codes import FixedPoint
    from dovetail.crossbar.training.fit import Fit
    from dovetail.crossbar.training.train import Asked
    from dovetail.crossbar.training.train import train as trained

    converters = _converters(adc_bits, in_loop or column_cap is not None)
    cells = None if noise is None and stuck is None else (noise or 0.0, stuck or 0.0)
    parts = _parts(
        converters, prune=prune, digits=digits, cap=_bits(cap) or None, l1=l1, step_l1=step_l1,
        bit_slice_l1=bit_slice_l1, cells=cells, column_cap=column_cap, in_loop=in_loop or None,
    )  # fmt: skip
    setup = _setup("ideal", "8", cell_bits, "differential", array, 8, "", seed)
    asked = Asked(net, parts, Fit(epochs, batch, rate, seed=seed), weights, data, digits_count, _whole_bits(adc_bits),
                  FixedPoint(code_bits), setup.cells, setup.arrays)  # fmt: skip
    made = trained(asked, lambda words: progress(words, quiet=quiet or json))
    if out is not None:
        made.save(out)
    emit(Answer("crossbar train", made.found, lambda: train_screen(made.found, quiet)), as_json=json, quiet=quiet,
         out=out, inputs=[weights] if weights is not None else [])  # fmt: skip


def _parts(converters: int | tuple[int, ...], **given: Any) -> tuple[Any, ...]:
    """The parts of a training that were asked for: those whose value is not None."""
    from dovetail.crossbar.training import converting, penalties, restrictions
    from dovetail.crossbar.training import noise as errors

    make: dict[str, Any] = {
        "prune": restrictions.Prune, "digits": restrictions.Digits, "cap": restrictions.Cap, "l1": penalties.L1,
        "step_l1": penalties.StepL1, "bit_slice_l1": penalties.BitSliceL1,
        "cells": lambda cells: errors.Noise(cells[0], cells[1] / 2, cells[1] / 2),
        "column_cap": lambda x: penalties.ColumnCap(x, converters),
        "in_loop": lambda _: converting.Converting(converters),
    }  # fmt: skip
    return tuple(made(given[name]) for name, made in make.items() if given[name] is not None)


def _converters(adc_bits: str, needed: bool) -> int | tuple[int, ...]:
    found = _bits(adc_bits)
    if needed and not found:
        raise DovetailError("no converters", where="adc-bits", hint="--adc-bits 4 with --in-loop and --column-cap")
    return found


def _whole_bits(text: str) -> tuple[int, ...]:
    return tuple(_whole(each, "ADC bits") for each in text.split(",") if each)


def _bits(text: str) -> int | tuple[int, ...]:
    """Bits of all slices, or of each; () where none are given."""
    found = _whole_bits(text)
    return found[0] if len(found) == 1 else found


def _setup(
    adc: str, adc_bits: str, cell_bits: int, encoding: str, array: str, input_bits: int, device: str, seed: int
) -> Any:  # fmt: skip
    from dovetail.crossbar.adc import Adc
    from dovetail.crossbar.cells import Cells
    from dovetail.crossbar.columns import Arrays
    from dovetail.crossbar.device import Device
    from dovetail.crossbar.inputs import Inputs
    from dovetail.crossbar.layer import Setup

    bits = tuple(_whole(each, "adc-bits") for each in adc_bits.split(","))
    rows, cross, columns = array.lower().partition("x")
    if not cross:
        raise DovetailError(f"no array '{array}'", where="array", hint="128x128: rows x columns")
    return Setup(
        Cells(cell_bits, encoding), Arrays(_whole(rows, "array"), _whole(columns, "array")),
        Adc(adc, bits[0] if len(bits) == 1 else bits), Inputs(input_bits, True), Device(**_pairs(device)), seed,
    )  # fmt: skip


def _whole(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DovetailError(f"'{text}' is no whole number", where=where) from None


def _pairs(text: str) -> dict[str, Any]:
    """``on_off=50,wire=1e-4`` as numbers by the names that `Device` has."""
    from dataclasses import fields

    from dovetail.core.errors import did_you_mean
    from dovetail.crossbar.device import Device

    known = [field.name for field in fields(Device)]
    found: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        if name not in known:
            raise DovetailError(f"devices have no '{name}'", where="device", hint=did_you_mean(name, known))
        try:
            found[name] = float(value) if name != "off_column" else value.lower() in ("1", "true", "yes")
        except ValueError:
            raise DovetailError(f"'{value}' is no number", where=f"device {name}", hint=f"{name}=0.1") from None
    return found
