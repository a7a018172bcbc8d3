"""What `ls` lists: the names of each kind, described, and the columns that a table shows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dovetail.app.describe import describe_machine, describe_model, describe_recipe
from dovetail.app.table import table
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.units import show

Row = Mapping[str, Any]
Cell = Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Listing:
    """Descriptions of one kind of thing, and the columns of their table beside the name."""

    what: str
    rows: list[dict[str, Any]]
    columns: Mapping[str, Cell]

    def print(self, quiet: bool) -> None:
        """One name a line when `quiet`, else a table."""
        if quiet:
            print("\n".join(row["name"] for row in self.rows))
        elif self.rows:
            cells = [[row["name"], *(cell(row) for cell in self.columns.values())] for row in self.rows]
            table([self.what.removesuffix("s"), *self.columns], cells)
        else:
            print(f"no {self.what} like that")


def listing(what: str, vendor: str = "", min_memory: str = "", kind: str = "") -> Listing:
    """The models, machines or recipes there are; machines of a vendor (case ignored), a kind, with a least memory.

    Raises
    ------
    DovetailError
        Another word, a vendor or kind of no machine, a memory that is not a size, or these for anything but machines.
    """
    if what not in _LISTINGS:
        raise DovetailError(f"nothing called '{what}' to list", hint=did_you_mean(what, list(_LISTINGS)))
    if what == "machines":
        return _machines(vendor, min_memory, kind)
    if vendor or min_memory or kind:
        what = f"ls {what}"
        raise DovetailError("--vendor, --kind and --min-memory choose among machines", where=what, hint="ls machines")
    return _LISTINGS[what]()


def _models() -> Listing:
    from dovetail.model import Model

    columns: dict[str, Cell] = {
        "family": lambda r: str(r["family"]), "parameters": lambda r: f"{r['parameters']:,}",
        "layers": lambda r: str(r["layers"]), "KV per token": lambda r: show(r["kv_bytes_per_token"], "byte"),
        "context": lambda r: f"{r['max_context']:,}",
    }  # fmt: skip
    return Listing("models", [describe_model(name) for name in Model.names()], columns)


def _machines(vendor: str = "", min_memory: str = "", kind: str = "") -> Listing:
    """Chips; systems where `kind` is that, with the numbers of all their chips together."""
    from dovetail.hardware.summary import summary

    kept = [row["name"] for row in summary(vendor=vendor, min_memory=min_memory or 0, kind=kind)]
    if kind == "system":
        return _systems(kept)
    columns: dict[str, Cell] = {
        "memory": _quantity("memory", "capacity"), "bandwidth": _quantity("memory", "bandwidth"),
        "bf16 peak": _quantity("peak", "bf16"), "TDP": _quantity("tdp"), "rent": _quantity("rent"),
        "kind": lambda r: str(r["kind"]),
    }  # fmt: skip
    return Listing("machines", [describe_machine(name) for name in kept], columns)


def _systems(names: list[str]) -> Listing:
    columns: dict[str, Cell] = {
        "chips": lambda r: f"{r['chips']} x {r['chip']}", "memory": _quantity("total", "memory"),
        "bf16 peak": _quantity("total", "bf16_peak"), "power": _quantity("total", "power_with_hosts"),
        "rent": _quantity("total", "rent"), "joined by": lambda r: " and ".join(_inside(r)),
    }  # fmt: skip
    return Listing("machines", [describe_machine(name) for name in names], columns)


def _inside(row: Row) -> list[str]:
    return [f"{level['ways']} by {name}" for name, level in row["levels"].items() if "ways" in level]


def _recipes() -> Listing:
    from dovetail.recipe.recipe import Recipe

    columns: dict[str, Cell] = {"methods": lambda r: str(r["description"])}
    return Listing("recipes", [describe_recipe(name) for name in Recipe.names()], columns)


def _quantity(*path: str) -> Cell:
    """The cell of the quantity at `path`; a dash where there is none."""

    def cell(row: Row) -> str:
        found: Any = row
        for name in path:
            found = found.get(name, {})
        return show(found["value"], found["unit"]) if found else "–"

    return cell


_LISTINGS: dict[str, Callable[[], Listing]] = {"models": _models, "machines": _machines, "recipes": _recipes}
