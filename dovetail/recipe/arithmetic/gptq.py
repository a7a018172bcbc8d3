"""GPTQ (Frantar et al., arXiv 2210.17323): columns are rounded one by one, each error is made good by those to come.

With the second moment H of a layer's inputs, the loss of a rounding is ``tr((W - Q) H (W - Q)^T)``. Fixing column j at
q_j, the best of all later columns moves by ``-(w_j - q_j) / U_jj * U_j,j+1..`` where ``H^-1 = U^T U`` (U upper).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.recipe.arithmetic.rounding import nearest, quantise, searched_grid
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BLOCK = 128  # columns whose errors are passed on together
_TRIES = 5  # times the damping is multiplied by ten where H is not positive definite


class Rounded(NamedTuple):
    """Integers (rows, cols), scales and zero points (rows, groups), and the fp32 values that they stand for."""

    steps: Tensor
    scale: Tensor
    zero: Tensor | None
    values: Tensor


def gptq(
    weight: Tensor,
    moment: Tensor,
    scheme: Scheme,
    *,
    damp: float = 0.01,
    order: bool = True,
    search: bool = True,
    dtype: torch.dtype | None = None,
) -> Rounded:
    """Round a matrix so that its products change least on inputs with a given second moment.

    Zeros stay zeros, so that a pruned matrix stays pruned: what they would take over goes to the weights after them.

    Parameters
    ----------
    weight : Tensor (rows, cols)
    moment : Tensor (cols, cols)
        Sum, or mean, of ``x x^T`` over inputs.
    damp : float
        Added to the diagonal, as a share of its mean.
    order : bool
        Columns with the largest inputs come first. Groups stay those of neighbours, with scales of the weights as they
        were ("static groups"): nothing more is stored.
    search : bool
        Scales by the least squared error weighted by the inputs' power, otherwise by the largest weight.
    dtype : torch.dtype
        Of the scales; the weight's by default.

    Raises
    ------
    DovetailError
        The moment is not finite.
    """
    return compensated(weight, factorised(moment, damp=damp, order=order), scheme, search=search, dtype=dtype)


class Factored(NamedTuple):
    """All that rounding asks of inputs: one serves every matrix that reads them, at every scheme.

    Parameters
    ----------
    power : Tensor (cols,)
        Of each input; 0 where it never came.
    places : Tensor (cols,)
        Columns in the order in which they are rounded.
    upper : Tensor (cols, cols)
        U with ``H^-1 = U^T U``, in that order.
    ordered : bool
        Whether the order is another than that of the columns.
    """

    power: Tensor
    places: Tensor
    upper: Tensor
    ordered: bool


def factorised(moment: Tensor, *, damp: float = 0.01, order: bool = True) -> Factored:
    """The factor of the inverse of a second moment (cols, cols); parameters and errors as those of `gptq`."""
    torch = require("torch", "torch", to="quantise")
    if not moment.isfinite().all():
        raise DovetailError("inputs are not finite", where="gptq", why="the model overflows on the calibration text")
    power = moment.diagonal().float()
    places = torch.argsort(power, descending=True, stable=True) if order else torch.arange(len(power))
    return Factored(power, places, _inverse_factor(moment, places, damp), order)


def compensated(
    weight: Tensor, inputs: Factored, scheme: Scheme, *, search: bool = True, dtype: torch.dtype | None = None
) -> Rounded:
    """`gptq` with what it asks of the inputs already found."""
    torch = require("torch", "torch", to="quantise")
    power, places = inputs.power, inputs.places
    work = torch.where(power == 0, torch.zeros_like(power), weight.float())
    grids = _Grids.of(work, scheme, power if search else None, dtype or weight.dtype, late=not inputs.ordered)
    done = rounded_columns(work[:, places], weight == 0, places.tolist(), inputs.upper, grids)
    return Rounded(quantise(done, grids.scale, grids.zero, scheme), grids.scale, grids.zero, done)


@dataclass(slots=True)
class _Grids:
    """Scales and zero points (rows, groups): of the weights as they were, or `late`, when their group is reached."""

    scheme: Scheme
    power: Tensor | None
    scale: Tensor
    zero: Tensor | None
    late: bool

    @classmethod
    def of(cls, weight: Tensor, scheme: Scheme, power: Tensor | None, dtype: torch.dtype, late: bool) -> _Grids:
        return cls(scheme, power, *searched_grid(weight, scheme, power, dtype), late and bool(scheme.group))

    def reach(self, column: int, rest: Tensor) -> None:
        """Scale the group that begins at `column` by what its weights, the first of `rest`, have become."""
        size = self.scheme.group
        if not self.late or column % size:
            return
        part = slice(column // size, column // size + 1)
        power = None if self.power is None else self.power[column : column + size]
        scale, zero = searched_grid(rest[:, :size], replace(self.scheme, group=0), power, self.scale.dtype)
        self.scale[:, part] = scale
        if self.zero is not None and zero is not None:
            self.zero[:, part] = zero

    def nearest(self, values: Tensor, column: int) -> Tensor:
        """What is kept of the values (rows, 1) of a column."""
        group = column // self.scheme.group if self.scheme.group else 0
        part = slice(group, group + 1)
        return nearest(values, self.scale[:, part], None if self.zero is None else self.zero[:, part], self.scheme)


class Rounds(Protocol):
    """What a column's values become."""

    @property
    def late(self) -> bool:
        """Whether something is decided only when its column is reached, hence of values that are up to date."""
        ...

    def reach(self, column: int, rest: Tensor) -> None:
        """This column, the first of `rest`, comes next."""
        ...

    def nearest(self, values: Tensor, column: int) -> Tensor:
        """What is kept of the values (rows, 1) of a column."""
        ...


def rounded_columns(work: Tensor, zeros: Tensor, places: list[int], upper: Tensor, grids: Rounds) -> Tensor:
    """The values (rows, cols) that columns round to, one after the other; `work`, in the order of `places`, is used up.

    Errors are passed on within a block at once and beyond it together, unless scales of later groups wait for them.
    """
    torch = require("torch", "torch", to="quantise")
    done: Tensor = torch.empty_like(work)
    cols = work.shape[1]
    for begin in range(0, cols, _BLOCK):
        end = min(begin + _BLOCK, cols)
        reach = cols if grids.late else end
        errors = torch.empty(len(work), end - begin)
        for j in range(begin, end):
            column, now = places[j], work[:, j : j + 1]
            grids.reach(column, work[:, j:])
            best = torch.where(zeros[:, column : column + 1], 0.0, grids.nearest(now, column))
            done[:, column : column + 1] = best
            errors[:, j - begin : j - begin + 1] = error = (now - best) / upper[j, j]
            work[:, j + 1 : reach] -= error * upper[j, j + 1 : reach]
        work[:, reach:] -= errors @ upper[begin:end, reach:]
    return done


def _inverse_factor(moment: Tensor, places: Tensor, damp: float) -> Tensor:
    """Upper U with ``H^-1 = U^T U``, for the damped moment in the order of `places`; dead inputs count as 1.

    Each step lets go of the matrix before it: three matrices of that size are there at once, besides the moment.
    """
    torch = require("torch", "torch", to="quantise")
    share = damp * float(_alive(moment.diagonal()).mean())
    total = share
    for _ in range(_TRIES):
        damped = moment.float()[places][:, places]
        diagonal = damped.diagonal()
        diagonal.copy_(_alive(diagonal) + total)
        lower, failed = torch.linalg.cholesky_ex(damped)
        del damped, diagonal
        if not failed:
            inverse = torch.cholesky_inverse(lower)
            del lower
            factor, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not failed:
                found: Tensor = factor
                return found
        share *= 10
        total += share
    raise DovetailError("inputs do not tell weights apart", where="gptq", hint="more calibration text, or damp=0.1")


def _alive(diagonal: Tensor) -> Tensor:
    """A diagonal in which inputs that never came count as 1."""
    torch = require("torch", "torch", to="quantise")
    found: Tensor = torch.where(diagonal == 0, 1.0, diagonal.float())
    return found
