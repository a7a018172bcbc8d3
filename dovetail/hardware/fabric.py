"""How the chips of a machine are joined, and what a communication library makes of it: plain data, SI units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.formats import Number

TOPOLOGIES = ("switch", "mesh", "ring", "torus", "pcie")
ALGORITHMS = ("ring", "one_shot", "two_shot", "in_network")
FASTEST_PCIE = 64e9  # bytes/s of a PCI Express 5.0 x16 port in each direction: a slower link is taken for one


@dataclass(frozen=True, slots=True, eq=False)
class Level(ByContent):
    """One level of fabric: joins `ways` parts, each a chip at the innermost level, a whole lower level further out.

    Parameters
    ----------
    topology : {"switch", "mesh", "ring", "torus", "pcie"}
        ``switch`` and ``mesh`` reach any chip in one hop; ``pcie`` goes through the host.
    bandwidth : Number
        Bytes/s per direction of one chip, all its ports of this level together.
    latency_s : Number
        What one hop takes beyond a hop inside the node on which the library's constants were measured.
    ports : int
        Separate links of a chip: with p - 1 partners at most p - 1 of them are used (a mesh has one for each partner).
    in_network : bool
        Its switches add up (NVLink SHARP, InfiniBand SHARP).
    """

    name: str
    ways: int
    topology: str
    bandwidth: Number
    latency_s: Number = 0.0
    ports: int = 1
    in_network: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Transport(ByContent):
    """What one algorithm of a communication library reaches on a chip's links: the constants of its time.

    Parameters
    ----------
    library : str
        ``nccl``, ``vllm`` …
    algorithm : {"ring", "one_shot", "two_shot", "in_network"}
        `dovetail.cost.collectives` says what each sends in how many steps.
    launch_s : Number
        Start and end of one call, the launch of its kernel included.
    hop_s : Number
        One step to a neighbour.
    reached : Number
        Share of the link's bandwidth.
    own : Number
        The speed at which a chip moves its own part of the result, as a multiple of the link's; 0 where that is free.
    fill : Number
        Weight of the filling of the pipeline, sqrt(latency x transfer): 2 for a pipeline of chunks of the best size.
    most : Number
        The largest message it takes, in bytes.
    stack : str
        The only software stack that calls it; empty for any.
    """

    library: str
    algorithm: str
    launch_s: Number = 0.0
    hop_s: Number = 0.0
    reached: Number = 1.0
    own: Number = 0.0
    fill: Number = 0.0
    most: Number = float("inf")
    stack: str = ""

    @property
    def name(self) -> str:
        """Library and algorithm, for readers."""
        return f"{self.library} {self.algorithm.replace('_', '-')}"


def flat(link: Number, ways: int) -> Level:
    """The one level of a machine of which no system is known: `ways` chips on their links, as in one node."""
    return Level("link", ways, "pcie" if float(np.max(link)) <= FASTEST_PCIE else "switch", link)
