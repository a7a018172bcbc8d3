"""Values that a machine's YAML may hold: numbers with a unit, within their bounds; dense peaks by dtype.

Imported only when a YAML is read, as `dovetail.hardware.schema` is.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import DTYPE_BYTES

SPARSE = re.compile(r"spars|2:4", re.IGNORECASE)


def refuse(error: DovetailError) -> PydanticCustomError:
    """Carry an error of ours through pydantic, which adds the dotted path."""
    return PydanticCustomError("dovetail", "{what}", {"what": error.what, "why": error.why, "hint": error.hint})


def positive(dimension: str, most: float = float("inf"), zero: bool = False) -> BeforeValidator:
    def parse(text: Any) -> float:
        try:
            value = units.parse(text, dimension)
        except DovetailError as error:
            raise refuse(not_dense(str(text)) if SPARSE.search(str(text)) else error) from None
        if value < 0 or (value == 0 and not zero):
            raise refuse(DovetailError(f"'{text}' is not above zero", hint="leave the field out if it is not known"))
        if value > most:
            raise refuse(DovetailError(f"'{text}' is above {most:g}", hint=f"a fraction up to {most:g}"))
        return value

    return BeforeValidator(parse)


def whole(value: float) -> float:
    if value != int(value):
        raise refuse(DovetailError(f"'{value:g}' is not a whole number", hint="132"))
    return value


def not_dense(said: str) -> DovetailError:
    """Peaks that count zeros are of no use: no kernel of a dense model reaches them."""
    hint = "halve figures quoted with 2:4 sparsity and write 'halved' in the source"
    return DovetailError("peaks are dense only", why=f"it says '{said}'", hint=hint)


def known_dtypes(table: dict[str, float]) -> dict[str, float]:
    for name in table:
        if SPARSE.search(name):
            raise refuse(not_dense(name))
        if name not in DTYPE_BYTES:
            raise refuse(DovetailError(f"unknown dtype '{name}'", hint=did_you_mean(name, list(DTYPE_BYTES))))
    if not table:
        raise refuse(DovetailError("no dtype is given", hint="{bf16: 989 TFLOP/s}"))
    return table


Bytes = Annotated[float, positive("byte")]
BytesPerSecond = Annotated[float, positive("byte/s")]
FlopPerSecond = Annotated[float, positive("flop/s")]
Hertz = Annotated[float, positive("Hz")]
Cores = Annotated[float, positive(""), AfterValidator(whole)]
Watts = Annotated[float, positive("W")]
Seconds = Annotated[float, positive("s", zero=True)]
Share = Annotated[float, positive("", most=1.0)]
Passes = Annotated[float, positive("")]
Count = Annotated[float, positive("", zero=True)]
Fraction = Annotated[float, positive("", most=1.0, zero=True)]


Bits = Annotated[int, Field(ge=1, le=8)]
InputBits = Literal[4, 8, 16]
