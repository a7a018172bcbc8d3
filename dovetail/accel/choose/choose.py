"""The design that takes the least time for a token among those that fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dovetail.accel.choose.budget import Budget
from dovetail.accel.choose.candidates import Candidate, candidate, shapes
from dovetail.accel.compile.schedule import schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.resources.modelled import arithmetic
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.hardware.target import Target

SMALLEST = 12  # arrays of which the one that takes the least is found


def choose(
    model: IntegerModel, target: Target, budget: Budget, shape: Shape | None = None, room: int = 0
) -> Candidate:  # fmt: skip
    """The fastest design that a budget allows, by the cycle model; the smaller of two that are within 1 %.

    Parameters
    ----------
    shape : Shape, optional
        The one shape to take.
    room : int
        Inputs that memory holds, of a model without tokens.

    Raises
    ------
    DovetailError
        A model that the overlay does not run, or a budget that no design meets: what binds, and the smallest that does.
    """
    wanted = [shape] if shape is not None else list(shapes(model, room))
    allowed = list(_allowed(model, wanted, target, budget))
    if not allowed:
        raise _infeasible(model, wanted, target, budget)
    times = {id(each): each.request_cycles(model.context) for each in allowed}
    best = min(times.values())
    near = [each for each in allowed if times[id(each)] <= 1.01 * best]
    return min(near, key=lambda each: (_share(each, budget.limits), times[id(each)]))


def check(model: IntegerModel, target: Target, budget: Budget, shape: Shape | None = None) -> None:
    """Raise what `choose` would where no design meets a budget, without looking for the fastest."""
    wanted = [shape] if shape is not None else list(shapes(model))
    if next(_allowed(model, wanted, target, budget), None) is None:
        raise _infeasible(model, wanted, target, budget)


def _allowed(model: IntegerModel, wanted: list[Shape], target: Target, budget: Budget) -> Iterator[Candidate]:
    """Designs within a budget. A tile whose memories are too large for it rules out the larger tiles of its array."""
    beyond: set[tuple[int, ...]] = set()
    for each in wanted:
        if _size(each) in beyond or any(arithmetic(each, target.family).beyond(budget.limits)):
            continue
        made = _made(model, each, target, budget)
        if made is not None and any(made.resources.beyond(budget.limits)):
            beyond.add(_size(each))
        elif made is not None:
            yield made


def _size(shape: Shape) -> tuple[int, ...]:
    return shape.rows, shape.columns, shape.lanes


def _made(model: IntegerModel, shape: Shape, target: Target, budget: Budget) -> Candidate | None:
    return candidate(model, shape, target.family, budget.bandwidth, budget.clock_hz, target.latency_s)


def _share(each: Candidate, limits: Mapping[str, float]) -> float:
    """The largest share of a limit that a design takes."""
    return max(count / limits[kind] for kind, count in each.resources.to_json().items())


def _infeasible(model: IntegerModel, wanted: list[Shape], target: Target, budget: Budget) -> DovetailError:
    """What binds, and the least that a design takes of it with the others as they are, as far as they can be."""
    some = list({_size(each): each for each in reversed(wanted)}.values())[
        : -SMALLEST - 1 : -1
    ]  # of each its least tile
    found = [made for each in some if (made := _made(model, each, target, budget)) is not None]
    if not found:
        schedule(model, some[0])  # says why
        raise DovetailError("no overlay holds this model", where=model.name, exit_code=INFEASIBLE)
    least = min(found, key=lambda each: _share(each, budget.limits))
    needed = least.resources.to_json()
    binding = list(least.resources.beyond(budget.limits))
    shape = least.program.shape
    why = "; ".join(f"{kind} binds: {needed[kind]:,} needed, {budget.limits[kind]:,.0f} allowed" for kind in binding)
    hint = ",".join(f"{kind}<={needed[kind]}" for kind in binding)
    why += f", by the smallest array of {shape.rows} x {shape.columns} x {shape.lanes}"
    return DovetailError(
        f"no design meets the budget on {target.name}", where="budget", why=why, hint=hint, exit_code=INFEASIBLE
    )
