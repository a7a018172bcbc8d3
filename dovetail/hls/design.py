"""A design and what it promises: source, top function, and a contract for every port."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dovetail.core.errors import DovetailError, did_you_mean

Direction = Literal["in", "out", "inout"]
Kind = Literal["scalar", "array", "stream", "pointer"]
Order = Literal["any", "sorted", "distinct", "permutation"]
SCALAR_MODES = ("ap_none", "ap_vld", "ap_ack", "ap_hs", "ap_ovld", "ap_stable", "s_axilite")
ARRAY_MODES = ("ap_memory", "bram", "m_axi", "ap_fifo", "axis")
STEPS = 20_000_000  # basic blocks a call may run when nothing better is known
ELEMENTS = 1 << 22  # of a port; with more, the values of a few tests no longer fit into memory


@dataclass(frozen=True, slots=True)
class Port:
    """One argument of the top function and the inputs it may meet.

    Parameters
    ----------
    name, ctype : str
        The parameter's name, and the C++ type of one element (``"ap_fixed<16,4>"``, ``"int"``, ``"float"``).
    kind : {"scalar", "array", "stream", "pointer"}
        ``array`` covers pointers to several elements too; ``pointer`` is a reference or a pointer to one element.
    direction : {"in", "out", "inout"}
        Who writes it. An ``out`` port holds garbage before the call, and its values are compared after it.
    shape : tuple of int
        Extents of an array; for a stream one number, how many elements are put in before the call (0 when it is an
        output). Empty for scalars.
    low, high : float
        The values an element may take, both ends included.
    values : tuple of float
        When given, the only values an element may take.
    order : {"any", "sorted", "distinct", "permutation"}
        What the elements of an array have in common; a ``permutation`` is of ``low .. low + elements - 1``.
    size_of : str
        For a scalar: the array or stream whose used extent this is; informs people, `high` is what holds.
    mode : str
        The interface it is given (``m_axi``, ``axis``, ``s_axilite``, …); empty when the tool chooses.
    capacity : int
        For a stream: elements that may wait in it; 0 for no limit.
    leaves : tuple of str
        Filled in by probing: the scalars one element consists of, as `harness.leaf_range` reads them.
    atol, rtol : float
        Outputs within ``atol + rtol * |expected|`` are equal; 0 for bit equality.
    """

    name: str
    ctype: str
    kind: Kind = "scalar"
    direction: Direction = "in"
    shape: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()
    order: Order = "any"
    size_of: str = ""
    mode: str = ""
    capacity: int = 0
    atol: float = 0.0
    rtol: float = 0.0
    leaves: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """How many elements it holds: 1 for a scalar."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def read(self) -> bool:
        """Whether the design reads what was there before the call."""
        return self.direction != "out"

    @property
    def written(self) -> bool:
        """Whether the design writes it."""
        return self.direction != "in"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a design may be called with, and what it may take.

    Parameters
    ----------
    top : str
        The function that becomes hardware.
    ports : tuple of Port
        Its parameters in order.
    returns : str
        Type of the returned value, or ``"void"``.
    calls : int
        Successive calls that make one test: more than 1 for a design that keeps state.
    budget : int
        Basic blocks one test may execute before it counts as an endless loop.
    leftovers : bool
        Whether elements may stay unread in an input stream, or in a stream inside, after the call.
    call : str
        How the top is called where its name alone does not do: ``"dense<8, int>"`` for an instance of a template.
    """

    top: str
    ports: tuple[Port, ...] = ()
    returns: str = "void"
    calls: int = 1
    budget: int = STEPS
    leftovers: bool = False
    call: str = ""

    def port(self, name: str) -> Port:
        """The port of that name. Raises `DovetailError` with the near names."""
        for port in self.ports:
            if port.name == name:
                return port
        known = [port.name for port in self.ports]
        raise DovetailError(f"no port '{name}'", where=self.top, hint=did_you_mean(name, known) if known else "")

    def with_port(self, port: Port) -> Contract:
        """This contract with the port of the same name replaced."""
        self.port(port.name)
        return replace(self, ports=tuple(port if port.name == p.name else p for p in self.ports))


@dataclass(frozen=True, slots=True)
class Oracle:
    """What says which outputs are right.

    Parameters
    ----------
    kind : {"cpp", "python", "testbench"}
        A C++ function of the same signature; a Python function of NumPy arrays that returns the written ports by
        name (and ``"return"``); or a C++ `main` that calls the design and whose stdout is compared.
    source : str
        Its text.
    function : str
        The function's name; for ``cpp`` the same as the top when empty.
    path : Path, optional
        Where the text came from, for messages.
    """

    kind: Literal["cpp", "python", "testbench"]
    source: str
    function: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Design:
    """HLS source with its contract and, where there is one, its oracle.

    Parameters
    ----------
    source : str
        One C++ translation unit.
    contract : Contract
        How it may be called.
    oracle : Oracle, optional
        What its outputs must equal.
    path : Path, optional
        Where the source came from; its folder is searched for includes.
    includes : tuple of Path
        Further folders searched for includes.
    headers : tuple of (str, str)
        Private headers by name, written beside the source when it is compiled.
    """

    source: str
    contract: Contract
    oracle: Oracle | None = None
    path: Path | None = None
    includes: tuple[Path, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    name: str = ""
    notes: tuple[str, ...] = field(default=())

    def with_source(self, source: str) -> Design:
        """The same contract and oracle over another text: what a mutant or a repair is."""
        return replace(self, source=source)


def plain(contract: Contract) -> dict[str, Any]:
    """The contract as what YAML and JSON hold, defaults left out."""
    ports = [_shown(port, Port(port.name, port.ctype, kind="array")) for port in contract.ports]
    return _shown(contract, Contract(contract.top)) | {"top": contract.top, "ports": ports}


def _shown(value: Any, blank: Any) -> dict[str, Any]:
    always = {"name", "ctype", "kind", "direction", "top"}
    out: dict[str, Any] = {}
    for name in value.__dataclass_fields__:
        here = getattr(value, name)
        if name in always or here != getattr(blank, name):
            out[name] = list(here) if isinstance(here, tuple) else here
    return out
