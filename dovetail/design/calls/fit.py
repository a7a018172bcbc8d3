"""Constants of measured calls: fitted on few shapes, pulled to the machine's own, judged on all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.design.calls import attended, products, roofline
from dovetail.design.calls.attended import Attended
from dovetail.design.calls.checks import check_calls, check_watts
from dovetail.design.calls.energy import Powered, powered
from dovetail.design.calls.products import Flags, Products
from dovetail.design.calls.read import Group
from dovetail.design.calls.refine import loss, refine
from dovetail.design.calls.roofline import RooflineConstants, RooflineProducts
from dovetail.design.calls.split import shapes_for_fit
from dovetail.design.calls.table import Array
from dovetail.design.kernel_fit import PULL, Scores, fit, scores
from dovetail.hardware.kernels.known import Kernels, nearest
from dovetail.hardware.machine import Machine

SURELY = 0.9  # of the error without a slow host: what one must bring it to, because it is one constant more
COVERED = 0.9  # of held-out calls lie within the spread


@dataclass(frozen=True, slots=True)
class Judged:
    """Errors on held-out calls: with the fitted constants, with those from before, and of a plain roofline."""

    name: str
    calls: int
    fitted: Scores
    before: Scores
    roofline: Scores


@dataclass(frozen=True, slots=True)
class Fitted:
    """What measured calls say of some constants.

    Parameters
    ----------
    family, entry : str
        Which of the machine's constants: ``gemm`` or ``attention`` and a dtype, or ``roofline`` and nothing.
    kernel : AttentionKernel or None
        Of attention: how its calls are cut; `appends` says whether they write the cache.
    before, constants : GemmConstants, AttentionConstants or RooflineConstants
        Of the machine before, and fitted; the latter with the `spread` measured on held-out calls.
    names : tuple of str
        The constants that were fitted.
    calls : int
        Measured calls, those for the fit among them.
    shapes, fit_shapes : int
        Different shapes, and how many of them were fitted on.
    power : tuple of (Powered, Powered)
        Calls with watts, those for the fit and all others.
    judged : tuple of Judged
        Of all held-out calls of products, by dtype, or of attention, prefill and decode apart.
    """

    family: str
    entry: str
    kernel_source: str
    before: Any
    constants: Any
    names: tuple[str, ...]
    calls: int
    shapes: int
    fit_shapes: int
    judged: tuple[Judged, ...]
    kernel: Any = None
    appends: bool | None = None
    power: tuple[tuple[Powered, Powered], ...] = ()

    @property
    def held_out(self) -> int:
        """Calls that nothing was fitted on."""
        return sum(one.calls for one in self.judged)

    @property
    def path(self) -> str:
        """Where the constants stand in a machine's file."""
        return f"kernels.{self.family}.{self.entry}" if self.entry else "efficiency"


def fit_groups(groups: Sequence[Group], machine: Machine) -> Iterator[Fitted]:
    """Fit every group, or all of them together where a roofline prices the machine.

    Raises
    ------
    DovetailError
        Times or watts that cannot be, or too few shapes.
    """
    for group in groups:
        check_watts(group.calls, float(np.max(machine.tdp_w)))
    if machine.kernels is None:
        yield fit_roofline(groups, machine)
    else:
        for group in groups:
            yield fit_group(group, machine.kernels)


def fit_group(group: Group, kernels: Kernels) -> Fitted:
    """Fit the constants of a group, starting from the machine's own or those it takes from a relative."""
    known = nearest(getattr(kernels, group.family), group.entry)[1]
    before = getattr(known, "constants", known)
    chosen, for_fit = _split(group.family, group.calls, before)
    calls, constants = _best(group.calls, before, for_fit)
    rest = calls.of(~for_fit)
    constants = replace(constants, spread=spread([_log_error(rest, constants)]))
    return Fitted(
        group.family, group.entry, group.kernel_source, before, constants, tuple(calls.free(constants)),
        len(calls.time_s), len(set(calls.shapes)), len(chosen), tuple(_parts(rest, constants, before)),
        getattr(calls, "kernel", None), getattr(calls, "appends", None),
        (_powered(group.dtype, calls, for_fit, constants),),
    )  # fmt: skip


def fit_roofline(groups: Sequence[Group], machine: Machine) -> Fitted:
    """Fit the efficiencies and the launch of a machine to products of all dtypes, which weigh the same."""
    before = RooflineConstants.of(machine)
    calls = [RooflineProducts(g.calls, machine, g.entry) for g in groups if isinstance(g.calls, Products)]
    split = [_split("gemm", one, before) for one in calls]
    parts = [one.of(mask) for one, (_, mask) in zip(calls, split, strict=True)]
    rest = [one.of(~mask) for one, (_, mask) in zip(calls, split, strict=True)]
    names = roofline.free(before)
    constants = _moved(parts, before, names, roofline.LIMITS, PULL)
    constants = replace(constants, spread=spread([_log_error(part, constants) for part in rest]))
    shapes = [len(set(one.shapes)) for one in calls]
    return Fitted(
        "roofline", "", ", ".join(g.kernel_source for g in groups if g.kernel_source), before, constants, tuple(names),
        sum(len(one.time_s) for one in calls), sum(shapes), sum(len(chosen) for chosen, _ in split),
        tuple(_judged(f"{part.entry} products", part, constants, before) for part in rest),
        power=tuple(_powered(g.dtype, c, s[1], constants) for g, c, s in zip(groups, calls, split, strict=True)),
    )  # fmt: skip


def _split(family: str, calls: Any, before: Any) -> tuple[frozenset[str], Flags]:
    """The shapes to fit on and the calls that have them, of calls that can be true. Raises `DovetailError`."""
    check_calls(family, calls, np.asarray(calls.cost(before).time_s))
    chosen = shapes_for_fit(calls.shapes, attended.LEAST if family == "attention" else products.LEAST)
    return chosen, np.array([shape in chosen for shape in calls.shapes])


def _powered(dtype: str, calls: Any, for_fit: Flags, constants: Any) -> tuple[Powered, Powered]:
    return powered(dtype, calls.of(for_fit), constants), powered(dtype, calls.of(~for_fit), constants)


def _best(calls: Products | Attended, before: Any, for_fit: Flags) -> tuple[Products | Attended, Any]:
    """The calls, as what they are most likely, and their constants.

    Attention may write to the cache or not, where the table does not say. Products may be issued one by one by a host
    that is slower than the shortest of them; taken for the kernels' launch, that would slow down captured graphs too.
    """
    if isinstance(calls, Attended):
        writes = (True, False) if calls.appends is None else (calls.appends,)
        trials = [_fitted(replace(calls, appends=one), before, for_fit) for one in writes]
        return min(trials, key=lambda found: found[0])[1:]
    plain = _fitted(calls, before, for_fit)
    if before.host_s:
        return plain[1:]
    issued = _fitted(calls, replace(before, host_s=float(np.quantile(calls.time_s, 0.25))), for_fit)
    return (issued if issued[0] < plain[0] * SURELY else plain)[1:]


def _fitted(calls: Products | Attended, before: Any, for_fit: Flags) -> tuple[float, Products | Attended, Any]:
    """Mean |log error| of the calls for the fit, the calls, and their constants."""
    few = calls.of(for_fit)
    parts = [few.of(group) for group in few.groups]
    limits, pull = (attended.LIMITS, attended.PULL) if isinstance(calls, Attended) else (products.LIMITS, PULL)
    found = _moved(parts, before, calls.free(before), limits, pull)
    return float(np.mean([np.abs(_log_error(part, found)).mean() for part in parts])), calls, found


def _moved(
    parts: Sequence[Any], before: Any, names: Sequence[str], limits: Mapping[str, tuple[float, float]], pull: float
) -> Any:
    def log_errors(constants: Any) -> list[Array]:
        return [_log_error(part, constants) for part in parts]

    starts = (fit(before, names, log_errors, limits=limits, pull=pull), before)  # each may end in another valley
    ends = [refine(one, before, names, log_errors, limits=limits, pull=pull) for one in starts]
    return min(ends, key=lambda one: loss(one, before, names, log_errors, pull))


def _log_error(calls: Any, constants: Any) -> Array:
    return np.asarray(np.log(calls.cost(constants).time_s / calls.time_s))


def spread(log_errors: Sequence[Array]) -> float:
    """So that nine of ten calls lie within a factor 1 + spread."""
    return float(np.expm1(np.quantile(np.abs(np.concatenate(log_errors)), COVERED)))


def _parts(rest: Products | Attended, constants: Any, before: Any) -> Iterator[Judged]:
    if not isinstance(rest, Attended):
        yield _judged("products", rest, constants, before)
        return
    for name, of in (("prefill", rest.prefill), ("decode", ~rest.prefill)):
        if of.any():
            yield _judged(name, rest.of(of), constants, before)


def _judged(name: str, part: Any, constants: Any, before: Any) -> Judged:
    plain = np.maximum(part.flops / part.chip.peak, part.bytes / part.chip.bandwidth)
    ours, theirs = (np.asarray(part.cost(c).time_s) for c in (constants, before))
    return Judged(name, len(part.time_s), *(scores(predicted, part.time_s) for predicted in (ours, theirs, plain)))
