"""Time of one collective: a latency, a transfer, and the filling of a pipeline, over the levels of fabric it spans.

For a message of S bytes among w chips (S is what a chip holds before a reduction or after a gathering):

    latency  a = launch + sum over levels of steps x (hop + the level's own latency)
    transfer x = sum over levels of sent / (bandwidth x reached) + S / w / (bandwidth x own)
    time       = a + x + fill x sqrt(a x)

The last term is what a transfer cut into chunks pays for its first and last ones: a pipeline of chunks of the best size
takes (sqrt(a) + sqrt(x))^2, that is ``fill = 2`` (Hockney's model, Parallel Computing 20, 1994). Each algorithm that
the library has for the message is priced, and the fastest taken. Levels are spanned from the innermost out: a
collective inside a node first, then between chips of equal place with the part that each holds, as NCCL's rings do
with one network card for each chip. Steps and bytes sent of a ring: Patarasuk and Yuan, JPDC 69, 2009; of one- and
two-shot all-reduces: vLLM's custom all-reduce; in the network: each chip sends its message once to the switch, and
once the part that it adds up for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.core.formats import Number
from dovetail.hardware.fabric import Level, Transport, flat
from dovetail.hardware.machine import Machine

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "p2p")
IDEAL = Transport("ideal", "ring")  # of a chip without constants: bandwidth alone
_ENGINE_WAYS = (2, 4, 6, 8)  # what vLLM's own all-reduces are made for, inside one node
_DIRECT = ("switch", "mesh")


@dataclass(frozen=True, slots=True)
class Phase:
    """What a collective does on one level: `steps` one after the other, `sent` bytes from each chip at `bandwidth`."""

    level: Level
    parts: int
    steps: float
    sent: Number
    bandwidth: Number


def span(machine: Machine, ways: int) -> tuple[tuple[Level, int], ...]:
    """The levels of fabric that `ways` chips span, with how many parts of each: the innermost is filled first.

    Raises
    ------
    DovetailError
        No link, or more chips than the levels join (in equal shares).
    """
    if not np.all(np.asarray(machine.link) > 0):
        raise DovetailError(
            f"{machine.name} has no link to other chips", where="link",
            hint="one chip, or add link (bytes/s per direction) to its YAML", exit_code=INFEASIBLE,
        )  # fmt: skip
    levels = machine.levels or (flat(machine.link, ways),)
    levels = (replace(levels[0], bandwidth=machine.link), *levels[1:])
    found, rest = [], ways
    for level in levels:
        parts = max(d for d in range(1, min(rest, level.ways) + 1) if rest % d == 0)
        rest //= parts
        found += [(level, parts)] if parts > 1 else []
    if rest > 1:
        shape = " x ".join(str(level.ways) for level in levels)
        raise DovetailError(
            f"{ways} chips do not form equal groups on {machine.label}", where="tp", why=f"its levels join {shape}",
            hint=f"a divisor of {math.prod(level.ways for level in levels)}", exit_code=INFEASIBLE,
        )  # fmt: skip
    return tuple(found)


def candidates(machine: Machine, kind: str, ways: int) -> tuple[Transport, ...]:
    """The algorithms that the machine's stack can call for a collective, whatever its size.

    Raises
    ------
    DovetailError
        None: the machine's file has constants, but not of a ring, which does everything.
    """
    levels, stack = span(machine, ways), machine.stack.name
    found = tuple(t for t in machine.fabric or (IDEAL,) if t.stack in ("", stack) and _has(t, kind, ways, levels))
    if not any(np.all(np.isinf(t.most)) for t in found):
        raise DovetailError(
            f"no library on {machine.name} does {kind} of any size", where="fabric",
            hint="add a ring without 'most' or 'stack' to fabric",
        )  # fmt: skip
    return found


def _has(transport: Transport, kind: str, ways: int, levels: tuple[tuple[Level, int], ...]) -> bool:
    if transport.algorithm == "ring":
        return True
    if kind != "all_reduce" or (transport.stack and (len(levels) > 1 or ways not in _ENGINE_WAYS)):
        return False
    if transport.algorithm == "in_network":
        return ways > 2 and all(level.in_network for level, _ in levels)
    return len(levels) == 1 and levels[0][0].topology in _DIRECT


def phases(kind: str, size: Number, ways: int, machine: Machine, algorithm: str = "ring") -> Iterator[Phase]:
    """What each chip does on each level. `size` bytes may be an array."""
    levels, inner = span(machine, ways), 1
    if kind == "p2p":  # the two ends lie on either side of the outermost level
        levels = ((levels[-1][0], 2),)
    for level, parts in levels:
        steps, sent = _work(kind, algorithm, parts, inner, ways, size)
        yield Phase(level, parts, steps, sent, _bandwidth(level, parts, kind))
        inner *= parts


def _work(kind: str, algorithm: str, parts: int, inner: int, ways: int, size: Number) -> tuple[float, Number]:
    """Steps and bytes sent on a level with `parts`, of which `inner` chips each hold a share already."""
    part = size / inner
    if algorithm == "one_shot":
        return 0, size * (parts - 1)
    if algorithm == "two_shot":
        return 1, size * (2 * (parts - 1) / parts)
    if algorithm == "in_network":
        return 0 if inner == 1 else 2, part * (1 + 1 / parts)
    if kind == "all_to_all":  # what is meant for the other parts of this level; in log2 rounds, there and back
        return 2 * math.log2(parts), size * (inner * (parts - 1) / ways)
    if kind in ("p2p", "broadcast"):
        return parts - 1, part
    once = part * ((parts - 1) / parts)
    return (2 * (parts - 1), 2 * once) if kind == "all_reduce" else (parts - 1, once)


def _bandwidth(level: Level, parts: int, kind: str) -> Number:
    """Of one chip, over the ports that lead to partners; messages to far chips of a ring or torus pass others.

    In a torus of d dimensions of k chips (k even) two chips are d k / 4 hops apart in the mean over all pairs.
    """
    used = min(parts - 1, level.ports) / level.ports
    if kind != "all_to_all" or level.topology not in ("ring", "torus"):
        return level.bandwidth * used
    dimensions = max(1, level.ports // 2)
    hops = dimensions * parts ** (1 / dimensions) / 4 * (parts / (parts - 1))  # to another chip
    return level.bandwidth * (used / max(1.0, hops))


def transport_s(transport: Transport, kind: str, size: Number, ways: int, machine: Machine) -> Number:
    """Seconds of one call by one algorithm; infinite for messages that it does not take."""
    latency, transfer = transport.launch_s, 0.0
    found = tuple(phases(kind, size, ways, machine, transport.algorithm))
    for phase in found:
        latency = latency + phase.steps * (transport.hop_s + phase.level.latency_s)
        transfer = transfer + phase.sent / (phase.bandwidth * transport.reached)
    if np.any(transport.own) and kind not in ("p2p", "broadcast"):
        transfer = transfer + size / (ways * found[0].bandwidth * transport.own)
    time = latency + transfer
    if np.any(transport.fill) and kind != "p2p":  # one message over one step has no pipeline to fill
        time = time + transport.fill * np.sqrt(latency * transfer)
    return time if math.isinf(float(np.min(transport.most))) else np.where(size <= transport.most, time, np.inf)


def collective_s(kind: str, size: Number, ways: int, machine: Machine) -> Number:
    """Seconds of one collective, the launch of its kernel included where the machine has constants of its library.

    Parameters
    ----------
    kind : str
        One of `KINDS`. For ``p2p``, `ways` is how many chips the two ends lie apart from first to last.
    size : Number
        Bytes that a chip holds before a reduction, after a gathering, or exchanges in all; may be an array.
    ways : int
        Chips that take part; 0 seconds for one.

    Raises
    ------
    DovetailError
        Another kind, no link, or more chips than the machine joins.
    """
    if kind not in KINDS:
        raise DovetailError(f"unknown collective '{kind}'", hint=did_you_mean(kind, list(KINDS)))
    if ways == 1:
        return 0.0 * size
    times = [transport_s(t, kind, size, ways, machine) for t in candidates(machine, kind, ways)]
    return times[0] if len(times) == 1 else np.minimum.reduce(np.broadcast_arrays(*times))


def beyond_launch_s(kind: str, size: Number, ways: int, machine: Machine) -> Number:
    """`collective_s` without the launch that the stack pays for every operator."""
    time = collective_s(kind, size, ways, machine)
    return np.maximum(time - machine.stack.launch_s, 0.0) if machine.fabric else time


def fastest(kind: str, size: float, ways: int, machine: Machine) -> Transport:
    """The algorithm that a scalar message takes."""
    return min(candidates(machine, kind, ways), key=lambda t: float(np.max(transport_s(t, kind, size, ways, machine))))
