"""What `bench/accuracy.py` judges: held-out measured calls, and what the constants that ship say of them.

Nothing is fitted here. Products are priced by the public
`dovetail.cost.matmul`; the others by the functions of `dovetail.cost` that a step of a model is priced by, with the
constants of the machine's file and with what a repeated call by itself adds (operands that stay in the cache).

Three parts of each table, by the sha1 of a call's shape: the first constants were fitted on (5 %), the second says how
wide the 90 % range is (`spare`), and all that were not fitted are scored. Coverage of the range is scored on the shapes
of neither. `bench/ranges.py` prints the ranges by that rule.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import attention
import collectives
import gemm
import latent
import mixture
import numpy as np
import numpy.typing as npt

from dovetail.cost import matmul
from dovetail.cost.collectives import collective_s
from dovetail.cost.operators import energy_j
from dovetail.design.kernel_fit import Scores, scores
from dovetail.design.trust import FITTED_ENERGY
from dovetail.hardware import Machine, load_machine
from dovetail.hardware.energy import ATTENTION_SHARE
from dovetail.hardware.kernels import Attended, LatentConstants, MixtureConstants
from dovetail.hardware.kernels.known import nearest
from dovetail.hardware.relatives import borrowed

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# Weights and activations as `matmul` names them.
ASKED = {
    "bfloat16": ("bf16", "bf16"), "fp8": ("fp8", "fp8"), "fp8_block": ("fp8_block", "fp8"), "int8_wo": ("int8", "bf16"),
    "int4_wo": ("int4", "bf16"), "sq": ("int8", "int8"),
}  # fmt: skip
MIXED = {"bfloat16": "bf16", "int4_wo": "w4a16", "w4a16_mxfp4": "w4a16"}
CARRIED = (("a100-sxm", "h100-sxm"), ("h100-sxm", "h200-sxm"), ("h100-sxm", "a100-sxm"))
MANY = 200  # shapes of which 5 % say how wide a range is
NONE = float("nan")


@dataclass(frozen=True)
class Judged:
    """Predictions of one operator on one chip in one dtype, one a held-out call.

    Parameters
    ----------
    family : str
        ``products``, ``attention``, ``mixtures``, ``latent attention``, ``collectives``, ``energy`` or ``borrowed``.
    what, chip : str
        Operator and dtype, and the machine.
    found, truth, plain : Array, shape (calls,)
        Predicted, measured and by a plain roofline: seconds, or joules where `family` is ``energy``.
    time_s : Array
        Measured seconds.
    spread : float
        The 90 % range is ``found / (1 + spread)`` to ``found * (1 + spread)``; NaN where none is stated.
    spare : Flags
        Calls that the width of the range comes from; its coverage is of the others.
    fitted : bool
        Whether the constants were fitted to the rest of the same table.
    """

    family: str
    what: str
    chip: str
    found: Array
    truth: Array
    plain: Array
    time_s: Array
    spread: float
    spare: Flags
    fitted: bool = True

    @property
    def scores(self) -> Scores:
        """MAPE, MAPE above 20 us, and sum of errors over sum of truths."""
        return scores(self.found, self.truth, self.time_s)

    @property
    def coverage(self) -> float:
        """Share of calls within the range; NaN where there is none."""
        rest = ~self.spare
        return float((self.off[rest] <= 1.0 + self.spread).mean()) if self.spread == self.spread else NONE

    @property
    def off(self) -> Array:
        """By which factor each prediction is too high or too low; at least 1."""
        return np.exp(np.abs(np.log(self.found / self.truth)))

    @property
    def name(self) -> str:
        """A file's name."""
        return f"{self.what} {self.chip}".replace(" <- ", " from ").replace(",", "").replace(" ", "-").replace("/", "-")


def digest(shape: tuple[int, ...]) -> int:
    """The number that orders shapes."""
    return int(hashlib.sha1(",".join(map(str, shape)).encode()).hexdigest(), 16)


def spare(*columns: Array) -> Flags:
    """Of held-out calls those of the shapes that come first: 5 %, or a quarter where a table has few.

    A shape is a row of columns.
    """
    rows = list(zip(*(column.astype(int).tolist() for column in columns), strict=True))
    first = sorted(set(rows), key=digest)
    count = len(first) / (20 if len(first) > MANY else 4)
    chosen = set(first[: max(3, math.ceil(count))])
    return np.array([row in chosen for row in rows], bool)


def everything(data: Path) -> Iterator[Judged]:
    """All rows of the table, in its order."""
    for read in (products, attentions, mixtures, latents, all_collectives, energies, borrowed_constants):
        yield from read(data)


def product_calls(data: Path) -> Iterator[gemm.Calls]:
    """Held-out calls of every table of products."""
    for dtype in gemm.DTYPES:
        for chip in dtype.folders:
            if (calls := gemm.read(data, chip, dtype)) is not None:
                yield calls.of(~calls.fit)


def products(data: Path) -> Iterator[Judged]:
    """Products by the constants alone, then with the learned correction on top."""
    for corrected in (False, True):
        for calls in product_calls(data):
            machine, entry = load_machine(calls.chip), calls.dtype.entry
            found = product(calls, machine, corrected)
            judged = product_row(calls, entry, np.asarray(found.time_s), machine.kernels.gemm[entry].spread)
            yield replace(judged, what=f"{judged.what}, learned", spread=NONE) if corrected else judged


def product(calls: gemm.Calls, machine: Machine, corrected: bool = False) -> Any:
    """What the public function says of calls."""
    weight, act = ASKED[calls.dtype.name]
    p = calls.products
    return matmul(p.m, p.n, p.k, machine=machine, weight=weight, act=act, corrected=corrected)


def product_row(calls: gemm.Calls, entry: str, found: Array, spread: float) -> Judged:
    """Times of products beside the measured ones."""
    plain = gemm.Roofline(1.0, 1.0, 0.0).seconds(calls)
    kept = spare(calls.products.n, calls.products.k)
    return Judged("products", f"product {entry}", calls.chip, found, calls.time_s, plain, calls.time_s, spread, kept)


def attention_calls(data: Path) -> Iterator[tuple[str, attention.Calls]]:
    """Held-out calls of every table of attention, one entry a phase."""
    for chip in attention.CHIPS:
        for calls in attention.read(data, chip):
            held = attention.held_out(calls)
            for phase, rows in (("prefill", held.prefill), ("decode", ~held.prefill)):
                yield phase, held.of(rows)


def attentions(data: Path) -> Iterator[Judged]:
    """Prefill and decode."""
    for phase, calls in attention_calls(data):
        yield attention_row(phase, calls, load_machine(calls.chip).kernels.attention[calls.dtype])


def attention_row(phase: str, calls: attention.Calls, known: Attended) -> Judged:
    """Times of attention beside the measured ones."""
    found = np.asarray(calls.cost(known.constants, known.kernel).time_s)
    kept = spare(calls.attention.heads, calls.attention.kv_heads)
    return Judged(
        "attention", f"{phase} {calls.dtype}", calls.chip, found, calls.time_s, attention.roofline_s(calls),
        calls.time_s, known.constants.spread, kept,
    )  # fmt: skip


def mixtures(data: Path) -> Iterator[Judged]:
    """Fused mixtures of experts; weights of four bits by the constants that stand in for them."""
    for table in mixture.TABLES:
        calls, machine = mixture.read(data, table), load_machine(table.chip)
        entry = MIXED.get(table.dtype, table.dtype)
        name, constants = nearest(machine.kernels.mixture, entry)
        part = calls.only(~calls.fit) if name == entry else calls
        judged = mixture_row(f"mixture {table.dtype.replace('bfloat16', 'bf16')}", part, constants)
        if name != entry:
            nobody = np.zeros_like(judged.spare)
            judged = replace(judged, what=f"{judged.what} as {name}", spare=nobody, fitted=False)
        yield judged


def mixture_row(what: str, calls: mixture.Calls, constants: MixtureConstants) -> Judged:
    """Times of mixtures beside the measured ones."""
    found, kept = mixture.predict(calls, constants), spare(calls.hidden, calls.inner, calls.top_k, calls.experts)
    plain = mixture.roofline_s(calls)
    return Judged("mixtures", what, calls.table.chip, found, calls.time_s, plain, calls.time_s, constants.spread, kept)


def latents(data: Path) -> Iterator[Judged]:
    """Multi-head latent attention: whole modules as the sum of a graph's operators, and calls of attention alone."""
    for table in latent.TABLES:
        calls = latent.read(data, table)
        yield latent_row(table.name, calls, load_machine(table.chip).kernels.latent[table.entry])


def latent_row(what: str, calls: latent.Calls, constants: LatentConstants) -> Judged:
    """Times of the heads that nothing was fitted on beside the measured ones."""
    table, held = calls.table, ~calls.fit
    found = latent.hosted(calls, latent.predict(calls, constants), table.host)[held]
    kept, truth = spare(calls.heads[held]), calls.time_s[held]
    return Judged(
        "latent attention", what, table.chip, found, truth, latent.roofline_s(calls)[held], truth,
        constants.spread, kept, bool(table.fitted),
    )  # fmt: skip


def all_collectives(data: Path) -> Iterator[Judged]:
    """Collectives over NVLink, and those of two tables that nothing was fitted to."""
    tables = [rows for chip in collectives.CHIPS for rows in collectives.read(data, chip)]
    chosen = collectives.drawn(tables, 5.0)
    for rows in tables:
        held = rows.pick(np.array([(rows.library, shape) not in chosen for shape in rows.shapes]))
        for kind in sorted({shape[0] for shape in held.shapes}):
            part = held.pick(np.array([shape[0] == kind for shape in held.shapes]))
            yield collective_row(f"{kind.replace('_', '-')} {rows.library}", part)
    for table, rows in collectives.others(data):
        judged = collective_row(f"{rows.shapes[0][0].replace('_', '-')} {rows.library}, {table}", rows)
        yield replace(judged, fitted=False)


def collective_row(name: str, rows: collectives.Rows) -> Judged:
    """Times of collectives beside the measured ones."""
    machine = collectives.node(rows.chip, rows.library)
    found = rows.predict(lambda kind, size, ways: np.asarray(collective_s(kind, size, ways, machine)))
    plain = rows.predict(lambda kind, size, ways: collectives.bandwidth_only(machine, kind, size, ways))
    return Judged(
        "collectives", name, rows.chip, found, rows.time_s, plain, rows.time_s, NONE, np.zeros(len(found), bool)
    )


def energies(data: Path) -> Iterator[Judged]:
    """Joules of calls whose board's watts were measured, with predicted time; beside them the limit times the time."""
    for calls in product_calls(data):
        if not np.isnan(calls.power_w).any():
            machine, entry = load_machine(calls.chip), calls.dtype.entry
            found, kept = np.asarray(product(calls, machine).energy_j), spare(calls.products.n, calls.products.k)
            yield energy_row(f"energy product {entry}", calls, found, machine, kept)
    for phase, calls in attention_calls(data):
        if not np.isnan(calls.power_w).any():
            machine, a = load_machine(calls.chip), calls.attention
            known = machine.kernels.attention[calls.dtype]
            cost = calls.cost(known.constants, known.kernel)
            found = energy_j(cost.time_s, a.executed_flops, cost.bytes, calls.dtype, machine, ATTENTION_SHARE)
            kept = spare(a.heads, a.kv_heads)
            yield energy_row(f"energy {phase} {calls.dtype}", calls, np.asarray(found), machine, kept)


def energy_row(what: str, calls: gemm.Calls | attention.Calls, found: Array, machine: Machine, kept: Flags) -> Judged:
    """Energies beside the measured ones."""
    truth, plain = calls.power_w * calls.time_s, float(np.max(machine.tdp_w)) * calls.time_s
    return Judged("energy", what, calls.chip, found, truth, plain, calls.time_s, FITTED_ENERGY, kept)


def borrowed_constants(data: Path) -> Iterator[Judged]:
    """Constants of another chip as `hardware/relatives.py` carries them; nothing is fitted on the chip itself."""
    for calls in product_calls(data):
        entry = calls.dtype.entry
        for source, machine, ratio in donors(calls.chip):
            if own(machine, f"gemm.{entry}"):
                constants = borrowed(machine.kernels.gemm[entry], ratio)
                yield from_(source, product_row(calls, entry, calls.seconds(constants), constants.spread))
    for phase, calls in attention_calls(data):
        for source, machine, ratio in donors(calls.chip):
            if own(machine, f"attention.{calls.dtype}"):
                known = borrowed(machine.kernels.attention[calls.dtype], ratio)
                yield from_(source, attention_row(phase, calls, known))
    for table in mixture.TABLES:
        for source, machine, ratio in donors(table.chip):
            if table.dtype == "bfloat16":
                calls, constants = mixture.read(data, table), borrowed(machine.kernels.mixture["bf16"], ratio)
                yield from_(source, mixture_row("mixture bf16", calls.only(~calls.fit), constants))
    for latents in (latent.read(data, table) for table in latent.TABLES if table.fitted and table.cache == "bfloat16"):
        for source, machine, ratio in donors(latents.table.chip):
            if own(machine, "latent.bf16"):
                kernels = load_machine(latents.table.chip).kernels.latent["bf16"]
                constants = latent.carried(borrowed(machine.kernels.latent["bf16"], ratio), kernels)
                yield from_(source, latent_row(latents.table.name, latents, constants))


def own(machine: Machine, entry: str) -> bool:
    """Whether constants were measured on this chip."""
    return entry.partition(".")[2] in getattr(machine.kernels, entry.partition(".")[0]) and (
        machine.source(f"kernels.{entry}").kind == "calibrated"
    )


def donors(chip: str) -> Iterator[tuple[str, Machine, float]]:
    """The chips whose constants `chip` is tried with, and their clock over its own."""
    for source, target in CARRIED:
        if target == chip:
            machine = load_machine(source)
            yield source, machine, float(np.max(machine.clock_hz)) / float(np.max(load_machine(chip).clock_hz))


def from_(source: str, judged: Judged) -> Judged:
    """The row of borrowed constants: all of its calls are judged."""
    what = f"{judged.what} <- {source}"
    return replace(judged, family="borrowed", what=what, spare=np.zeros_like(judged.spare), fitted=False)
