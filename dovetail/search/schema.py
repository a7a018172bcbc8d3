"""The shape of a space file: checked by pydantic at the edge, with dotted paths and did-you-mean in every complaint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from dovetail.core.errors import DovetailError, did_you_mean

Count = Annotated[int, Field(ge=1, le=2**53, strict=True)]  # beyond 2**53 a float64 no longer counts one by one


class Range(BaseModel):
    """``{from: 1, to: 256, steps: log2}``: doublings and the end point; a number of even steps; or ``by`` a stride."""

    model_config = ConfigDict(extra="forbid")
    start: Count = Field(alias="from")
    to: Count
    steps: Literal["log2"] | Count | None = None
    by: Count | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.to < self.start:
            raise ValueError(f"it is empty: from {self.start} is above to {self.to}")
        if (self.steps is None) == (self.by is None):
            raise ValueError("give steps (log2 or a number) or by (a stride), not both")
        return self

    @property
    def size(self) -> int:
        """How many values at most, known before any is made."""
        if self.by:
            return (self.to - self.start) // self.by + 1
        if self.steps == "log2":
            return (self.to // self.start).bit_length() + 1
        return min(int(self.steps or 1), self.to - self.start + 1)

    def values(self) -> NDArray[np.float64]:
        """The values, ascending and distinct."""
        if self.by:
            return np.arange(self.start, self.to + 1, self.by, dtype=float)
        if self.steps == "log2":
            doublings = [self.start * 2**k for k in range((self.to // self.start).bit_length())]
            return np.unique(np.asarray([*doublings, self.to], float))
        return np.unique(np.round(np.linspace(self.start, self.to, self.size)))


def _form(value: Any) -> str:
    return "range" if isinstance(value, Mapping | Range) else "list" if isinstance(value, list | tuple) else "number"


def _plain(value: Any) -> Any:
    """NumPy arrays and scalars of Python callers as the lists and numbers of a file."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and (value == np.floor(value)).all():
        value = value.astype(np.int64)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else value


_TAGS = ("number", "list", "range")
AxisSpec = Annotated[
    Annotated[Count, Tag("number")]
    | Annotated[list[Count], Field(min_length=1), Tag("list")]
    | Annotated[Range, Tag("range")],
    Discriminator(_form),
    BeforeValidator(_plain),
]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_listed), Field(min_length=1)]
Entries = Annotated[list[Any], BeforeValidator(lambda value: [value] if isinstance(value, Mapping) else _listed(value)),
                    Field(min_length=1)]  # fmt: skip
Lines = Annotated[list[str], BeforeValidator(_listed)]


class WorkloadFile(BaseModel):
    """Requests served together, prompt tokens and output tokens of each."""

    model_config = ConfigDict(extra="forbid")
    batch: AxisSpec
    prompt: AxisSpec
    output: AxisSpec


Counts = Annotated[list[Count], BeforeValidator(lambda v: [v] if isinstance(v, int) else v), Field(min_length=1)]


class PlanFile(BaseModel):
    """How layers are split: `tp` chips share each, in each of `pp` stages. A machine of one chip becomes tp x pp."""

    model_config = ConfigDict(extra="forbid")
    tp: Counts | None = Field(None, description="chips that share a layer; without it as many as a node allows")
    pp: Counts | None = Field(None, description="stages of a pipeline, each with some of the layers; without it one")

    @model_validator(mode="after")
    def _given(self) -> PlanFile:
        if not self.model_fields_set:
            raise ValueError("it says nothing: give tp, pp or both")
        return self


_OBJECTIVES = ("quality", "tpot", "energy_per_token", "usd_per_mtok")


class SpaceFile(BaseModel):
    """A space as a user writes it."""

    model_config = ConfigDict(extra="forbid")
    name: str = "space"
    models: Names
    recipes: Entries = ["none"]
    machines: Entries
    workload: WorkloadFile
    plan: PlanFile | None = None
    constraints: Lines = []
    objectives: Annotated[Lines, Field(min_length=1, max_length=5)] = list(_OBJECTIVES)
    pick: str = "knee"
    reference: str = "none"


def check(data: Mapping[str, Any], where: str) -> SpaceFile:
    """The validated file. Raises `DovetailError` for its first fault, with the dotted path of the field."""
    try:
        return SpaceFile.model_validate(dict(data))
    except ValidationError as error:
        raise _explain(error, where) from None


def _explain(error: ValidationError, where: str) -> DovetailError:
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a misspelt key explains a missing one
    loc = [part for part in first["loc"] if part not in _TAGS]
    path = ".".join(map(str, loc))
    here = f"{where}: {path}" if path else where
    if first["type"] == "extra_forbidden":
        return DovetailError(
            f"unknown field '{loc[-1]}'", where=here, hint=did_you_mean(str(loc[-1]), _fields(loc[:-1]))
        )
    if first["type"] == "missing":
        return DovetailError(f"'{loc[-1]}' is missing", where=here, hint=_HINTS.get(str(loc[-1]), f"{loc[-1]}: …"))
    if first["type"] == "too_short":
        return DovetailError("it is empty", where=here, hint=_HINTS.get(str(loc[-1]), "list at least one"))
    given = first.get("input")
    why = "" if isinstance(given, dict | list) else f"it is {given!r}"
    message = _WORDS.get(first["type"], first["msg"].removeprefix("Value error, ").lower()).format(
        **first.get("ctx", {})
    )
    return DovetailError(message, where=here, why=why, hint=_HINTS.get(str(loc[-1]) if loc else "", ""))


def _fields(loc: list[Any]) -> list[str]:
    if not loc:
        return list(SpaceFile.model_fields)
    files: dict[tuple[Any, ...], type[BaseModel]] = {("workload",): WorkloadFile, ("plan",): PlanFile}
    inner = files.get(tuple(loc))
    return list(inner.model_fields) if inner else ["from", "to", "steps", "by"]


_AXIS = "1, [1, 8, 32], {from: 1, to: 256, steps: log2} or {from: 128, to: 4096, by: 128}"
_HINTS = {
    "batch": _AXIS, "prompt": _AXIS, "output": _AXIS,
    "models": "models: [embedded]", "machines": "machines: [host, h100-sxm]",
    "tp": "plan: {tp: [1, 2, 4]}", "pp": "plan: {pp: [1, 2]}", "plan": "plan: {tp: [1, 2, 4], pp: [1, 2]}",
    "workload": "workload: {batch: [1, 8], prompt: 1024, output: 128}",
    "objectives": "1 to 5 of tpot, usd_per_mtok, quality, …",
}  # fmt: skip
_WORDS = {
    "model_type": "it should be a mapping", "list_type": "it should be a list", "string_type": "it should be text",
    "int_type": "it should be a whole number", "greater_than_equal": "it should be at least {ge}",
    "less_than_equal": "it should be at most {le}", "too_long": "at most {max_length} are allowed",
    "literal_error": "it should be {expected}",
}  # fmt: skip
