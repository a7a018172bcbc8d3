"""Scans split over chips, as vLLM shards Mamba 2 and gated delta nets: heads divided, groups divided or copied.

A head's state, gates, inputs and outputs are on one chip. B and C (queries and keys of a delta net) belong to a group
of heads: where there are fewer groups than chips, a group is on every chip that has heads of it, with the rows of the
projection, the taps and the convolution's state that make it. A norm over all heads by groups needs one number a token
from the other chips of its group; that is not counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.model.operators import Linear, Operator, Pointwise, Scan, Weight


def split_scan(operator: Operator, ways: int, scan: Scan | None) -> Operator | None:
    """What one of `ways` chips does of an operator in the layers of `scan`; None where other rules hold.

    Raises
    ------
    DovetailError
        The heads do not divide by `ways`, or the groups neither divide by it nor into it.
    """
    if scan is None:
        return None
    role = operator.name.partition("@")[0]
    if isinstance(operator, Scan):
        return _scan(operator, ways)
    if isinstance(operator, Linear) and role == "scan_in":
        first = operator.weights[0].rows  # the matrix that makes the groups, where there are two
        weights = tuple(_outputs(w, ways, scan, grouped=bool(np.all(_made(w) == first))) for w in operator.weights)
        return replace(operator, weights=weights, n=_share(operator.n, scan.grouped, ways, scan))
    if isinstance(operator, Pointwise) and role == "scan_conv":
        return _convolution(operator, ways, scan)
    if isinstance(operator, Pointwise) and role == "scan_norm":
        wide = operator.written / (scan.batch * scan.tokens)  # a vector of all heads' channels, or of one head's
        weights = tuple(replace(w, cols=w.cols / ways) if np.all(w.cols == wide) else w for w in operator.weights)
        return _scaled(replace(operator, weights=weights), 1 / ways)
    return None


def _share(whole: Number, grouped: Number, ways: int, scan: Scan) -> Number:
    """A chip's part of `whole`, of which `grouped` belongs to groups."""
    return (whole - grouped) / ways + grouped / np.minimum(scan.groups, ways)


def _scan(scan: Scan, ways: int) -> Scan:
    heads, groups = np.asarray(scan.heads), np.asarray(scan.groups)
    if np.any(heads % ways) or np.any((groups % ways != 0) & (ways % groups != 0)):
        raise DovetailError(
            f"{scan.heads} heads of a scan in {scan.groups} groups do not divide over {ways} chips",
            where="tp", hint="a number of chips that divides the heads, and divides or is divided by the groups",
            exit_code=INFEASIBLE,
        )  # fmt: skip
    rows = scan.batch * scan.tokens
    return replace(
        scan,
        weights=tuple(replace(w, cols=w.cols / ways) for w in scan.weights),  # one number a head
        flops_per_token=_share(scan.flops_per_token, scan.grouped_flops, ways, scan),
        state=scan.state / ways,
        read=_share(scan.read, rows * scan.grouped, ways, scan),
        written=scan.written / ways,
    )


def _convolution(operator: Pointwise, ways: int, scan: Scan) -> Pointwise:
    channels = operator.weights[0].rows
    part = _scaled(operator, _share(channels, scan.grouped, ways, scan) / channels)
    return replace(part, weights=tuple(_outputs(w, ways, scan, grouped=True) for w in operator.weights))


def _scaled(operator: Pointwise, share: Number) -> Pointwise:
    parts = {name: getattr(operator, name) * share for name in ("read", "written", "held")}
    return replace(operator, **parts)


def _is_vector(weight: Weight) -> bool:
    return not weight.linear and np.ndim(weight.rows) == 0 and weight.rows == 1


def _made(weight: Weight) -> Number:
    """Outputs of a matrix, or of the matrix whose bias it is."""
    return weight.cols if _is_vector(weight) else weight.rows


def _outputs(weight: Weight, ways: int, scan: Scan, *, grouped: bool) -> Weight:
    part = _share(_made(weight), scan.grouped if grouped else 0, ways, scan)
    return replace(weight, cols=part) if _is_vector(weight) else replace(weight, rows=part)
