"""Constants of one group of calls: fitted on few shapes, pulled to the machine's own, judged on all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.design.calls import attended, products
from dovetail.design.calls.attended import Attended
from dovetail.design.calls.checks import check_calls
from dovetail.design.calls.products import Flags, Products
from dovetail.design.calls.read import Group
from dovetail.design.calls.refine import refine
from dovetail.design.calls.split import shapes_for_fit
from dovetail.design.calls.table import Array
from dovetail.design.kernel_fit import PULL, Scores, fit, scores
from dovetail.hardware.kernels.known import Kernels, nearest

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
    """What a group of calls says of its constants.

    Parameters
    ----------
    before, constants : GemmConstants or AttentionConstants
        Of the machine before, and fitted; the latter with the `spread` measured on held-out calls.
    names : tuple of str
        The constants that were fitted.
    shapes, fit_shapes : int
        Different shapes, and how many of them were fitted on.
    judged : tuple of Judged
        Of all held-out calls, or of prefill and of decode apart.
    """

    group: Group
    before: Any
    constants: Any
    names: tuple[str, ...]
    shapes: int
    fit_shapes: int
    judged: tuple[Judged, ...]

    @property
    def held_out(self) -> int:
        """Calls that nothing was fitted on."""
        return sum(one.calls for one in self.judged)


def fit_group(group: Group, kernels: Kernels) -> Fitted:
    """Fit the constants of a group, starting from the machine's own or those it takes from a relative.

    Raises
    ------
    DovetailError
        Times that cannot be, or too few shapes.
    """
    before = starting(group, kernels)
    check_calls(group.family, group.calls, np.asarray(group.calls.cost(before).time_s))
    least = attended.LEAST if group.family == "attention" else products.LEAST
    chosen = shapes_for_fit(group.calls.shapes, least)
    for_fit = np.array([shape in chosen for shape in group.calls.shapes])
    best = min((_fitted(calls, before, for_fit) for calls in _alternatives(group.calls)), key=lambda found: found[0])
    _, calls, constants = best
    rest = calls.of(~for_fit)
    constants = replace(constants, spread=spread(rest, constants))
    names, shapes = tuple(calls.free(before)), len(set(calls.shapes))
    judged = tuple(_judged(group.family, rest, constants, before))
    return Fitted(replace(group, calls=calls), before, constants, names, shapes, len(chosen), judged)


def starting(group: Group, kernels: Kernels) -> Any:
    """The machine's constants for a group."""
    known = nearest(getattr(kernels, group.family), group.entry)[1]
    return getattr(known, "constants", known)


def _alternatives(calls: Products | Attended) -> list[Products | Attended]:
    """What the calls may be: with or without a write to the cache, where the table does not say."""
    if isinstance(calls, Attended) and calls.appends is None:
        return [replace(calls, appends=True), replace(calls, appends=False)]
    return [calls]


def _fitted(calls: Products | Attended, before: Any, for_fit: Flags) -> tuple[float, Products | Attended, Any]:
    """Mean |log error| of the calls for the fit, the calls, and their constants."""
    few = calls.of(for_fit)
    parts = [few.of(group) for group in few.groups]
    limits, pull = (attended.LIMITS, attended.PULL) if isinstance(calls, Attended) else (products.LIMITS, PULL)

    def log_errors(constants: Any) -> list[Array]:
        return [np.log(part.cost(constants).time_s / part.time_s) for part in parts]

    names = calls.free(before)
    found = fit(before, names, log_errors, limits=limits, pull=pull)
    found = refine(found, before, names, log_errors, limits=limits, pull=pull)
    return float(np.mean([np.abs(errors).mean() for errors in log_errors(found)])), calls, found


def spread(calls: Products | Attended, constants: Any) -> float:
    """So that nine of ten calls lie within a factor 1 + spread."""
    error = np.abs(np.log(calls.cost(constants).time_s / calls.time_s))
    return float(np.expm1(np.quantile(error, COVERED)))


def _judged(family: str, rest: Products | Attended, constants: Any, before: Any) -> Iterator[Judged]:
    names = ["products"]
    if isinstance(rest, Attended):
        names = [name for name, of in (("prefill", rest.prefill), ("decode", ~rest.prefill)) if of.any()]
    for name, group in zip(names, rest.groups, strict=True):
        part = rest.of(group)
        roofline = np.maximum(part.flops / part.chip.peak, part.bytes / part.chip.bandwidth)
        ours, theirs = (np.asarray(part.cost(c).time_s) for c in (constants, before))
        found = (scores(predicted, part.time_s) for predicted in (ours, theirs, roofline))
        yield Judged(name, len(part.time_s), *found)
