"""Contracts as YAML that people edit: read with the path of every mistake, written without defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dovetail.core.errors import DovetailError
from dovetail.hls.design import ARRAY_MODES, ELEMENTS, SCALAR_MODES, STEPS, Contract, Port, plain


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Port(_File):
    name: str = Field(pattern=r"^[A-Za-z_]\w*$")
    ctype: str = Field(min_length=1)
    kind: Literal["scalar", "array", "stream", "pointer"] = "scalar"
    direction: Literal["in", "out", "inout"] = "in"
    shape: list[int] = []
    low: float | None = None
    high: float | None = None
    values: list[float] = []
    order: Literal["any", "sorted", "distinct", "permutation"] = "any"
    size_of: str = ""
    mode: Literal["", *SCALAR_MODES, *ARRAY_MODES] = ""  # type: ignore[valid-type]
    capacity: int = Field(default=0, ge=0)
    atol: float = Field(default=0.0, ge=0)
    rtol: float = Field(default=0.0, ge=0)
    leaves: list[str] = []

    @model_validator(mode="after")
    def _sound(self) -> _Port:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.kind == "array" and not self.shape:
            raise ValueError("an array needs its extents in 'shape'")
        if self.kind in ("scalar", "pointer") and self.shape:
            raise ValueError(f"a {self.kind} has no 'shape'; an array has")
        if any(n < 0 or (n == 0 and self.kind == "array") for n in self.shape):
            raise ValueError("extents are at least 1")
        if self.made().elements > ELEMENTS:
            raise ValueError(f"{self.made().elements} elements; at most {ELEMENTS} can be tried")
        return self

    def made(self) -> Port:
        fields: dict[str, Any] = self.model_dump()
        return Port(**fields | {"shape": tuple(self.shape), "values": tuple(self.values), "leaves": tuple(self.leaves)})


class _Contract(_File):
    top: str = Field(pattern=r"^[A-Za-z_][\w:]*$")
    ports: list[_Port] = []
    returns: str = "void"
    calls: int = Field(default=1, ge=1, le=1000)
    budget: int = Field(default=STEPS, ge=1)
    leftovers: bool = False
    call: str = ""

    @model_validator(mode="after")
    def _once(self) -> _Contract:
        names = [port.name for port in self.ports]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"ports named twice: {', '.join(sorted(twice))}")
        return self


def to_yaml(contract: Contract) -> str:
    """The contract as YAML, defaults left out."""
    return yaml.safe_dump(plain(contract), sort_keys=False, default_flow_style=None, width=110)


def from_plain(data: Any, where: str = "contract") -> Contract:
    """A contract from what YAML or JSON hold.

    Raises
    ------
    DovetailError
        A field is unknown, missing or out of its range; the message carries its dotted path.
    """
    try:
        read = _Contract.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "the file"
        message = first["msg"].removeprefix("Value error, ")
        raise DovetailError(f"{at}: {message}", where=where, hint="dovetail hls contract writes one to edit") from None
    ports = tuple(port.made() for port in read.ports)
    return Contract(read.top, ports, read.returns, read.calls, read.budget, read.leftovers, read.call)


def load_contract(path: Path) -> Contract:
    """The contract in a YAML file. Raises `DovetailError` when it cannot be read or is not one."""
    try:
        data = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())[:200]
        raise DovetailError("not YAML", where=str(path), why=why, hint="top: name, ports: […]") from None
    return from_plain(data, str(path))
