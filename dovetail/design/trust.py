"""How far a prediction is known: the weakest of the constants it is made from, and a factor either way."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.quantity import Kind, weakest
from dovetail.cost.gpu import lent, model_of
from dovetail.cost.operators import spread_of
from dovetail.cost.traffic import operator_dtype
from dovetail.cost.transfer import RANGE
from dovetail.hardware.machine import Machine
from dovetail.hardware.relatives import TRANSFER
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer
from dovetail.model.operators import Attention, Linear

# Communication on links that nobody measured, networks among them: at least so wide a range for a time with some in it.
_MODELLED_FABRIC = 0.5
# Energy has an error of its own beside the time's: the sum over held-out kernels of an H200 is off by 14 to 36 %,
# single ones by more (docs/accuracy.md).
FITTED_ENERGY, _MODELLED_ENERGY = 0.4, 0.5


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known of the metrics of one graph on `machine`, of which `ways` chips talk to each other.

    `dtypes` are those that the graph computes in, whose energy per FLOP counts; `models` are what prices its products
    and its attention (`dovetail.cost.operators`), or the roofline where that prices them too; `host` says that it
    streams from the host's memory.
    """

    machine: Machine
    ways: int
    dtypes: tuple[str, ...]
    models: tuple[str, ...] = ("roofline",)
    lent: tuple[str, ...] = ()
    host: bool = False

    def kind_of(self, *paths: str) -> Kind:
        """The weakest of the kinds of what prices the operators, the link's where it is used, and those of `paths`.

        A time is ``calibrated`` where efficiency, or the constants of kernels, were measured, else ``modelled``.
        """
        fitted = not self.lent and all(self._made(model) in ("measured", "calibrated") for model in self.models)
        fitted = fitted and not self.host  # what copies reach of that link was not measured
        used = (*(self._links if self.ways > 1 else ()), *(("host_link",) if self.host else ()), *paths)
        return weakest("calibrated" if fitted else "modelled", *(self.machine.source(path).kind for path in used))

    def _made(self, model: str) -> Kind:
        """How the constants of what prices an operator are known.

        Beside kernels, a roofline's were fitted to their bf16 products: of what it prices there, nothing was measured.
        """
        if model == "roofline":
            return "modelled" if self.machine.kernels is not None else self.machine.source("efficiency").kind
        return self.machine.source(f"kernels.{model}").kind

    @property
    def _links(self) -> tuple[str, ...]:
        """What times on the links are made from: also the network's numbers where a replica is wider than a node."""
        wide = self.ways > self.machine.node and "network" in self.machine.sources
        return ("link", *(("fabric",) if self.machine.fabric else ()), *(("network.latency",) if wide else ()))

    @property
    def _unmeasured_links(self) -> bool:
        """Whether times on the links are modelled: another chip's constants, or a network, which nobody measured."""
        return any(path.startswith("network") or self.machine.source(path).kind == "modelled"
                   for path in self._links if path != "link")  # fmt: skip

    def kind(self, metric: str) -> Kind:
        """How `metric` is known; what is neither energy nor money is a time or its inverse."""
        if metric == "usd_per_mtok":
            return self.kind_of("price.rent")
        return self._energy if metric == "energy_per_token" else self.kind_of()

    @property
    def _energy(self) -> Kind:
        return self.kind_of("power.idle", "energy.per_byte", *(f"energy.per_flop.{dtype}" for dtype in self.dtypes))

    def factor(self, metric: str) -> float:
        """The range is ``value / factor`` to ``value * factor``."""
        spread = max(spread_of(model, self.machine) for model in self.models)
        spread = max(spread, *(TRANSFER[family] for family in self.lent)) if self.lent else spread
        if self.ways > 1 and self._unmeasured_links:
            spread = max(spread, _MODELLED_FABRIC)
        if self.host:
            spread = max(spread, RANGE)
        if metric == "energy_per_token":
            spread = max(spread, _MODELLED_ENERGY if self._energy == "modelled" else FITTED_ENERGY)
        return 1.0 + spread


def trust(graph: Graph, machine: Machine, ways: int) -> Trust:
    """The trust in metrics of `graph`, before or after it is split.

    A roofline counts where it prices products or attention; of the rest, which takes little time, only where no
    kernels are known.
    """
    dtypes = {operator_dtype(operator, machine) for operator in graph.operators}
    models = {model_of(o, machine) for o in graph.operators if isinstance(o, Linear | Attention)}
    families = {family for operator in graph.operators if (family := lent(operator, machine))}
    host = any(isinstance(operator, HostTransfer) for operator in graph.operators)
    known = tuple(sorted(models)) or ("roofline",)
    return Trust(machine, ways, tuple(sorted(dtypes)), known, tuple(sorted(families)), host)
