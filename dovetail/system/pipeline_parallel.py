"""Pipeline parallelism: contiguous layers on each of several stages in a row (GPipe, arXiv 1811.06965).

Layers are dealt out as vLLM does: evenly, and what is left over to the stages before the last, which has the head to
make. The embedding is on the first stage, with what is held beside the layers (a vision tower); the head, and what
guesses from its states, on the last. A stage receives before it computes and nothing overlaps, as in the schedules of
Megatron-LM (arXiv 2104.04473): receiving is the first thing that its graph does. Of the tp chips of a stage each sends
its share of the residual streams to its peer, and an all-gather makes them whole (section 4.1 there). While decoding,
the first stage receives the tokens that the last one sampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Collective, Operator
from dovetail.system.tensor_parallel import SUMS

RECEIVED, SAMPLED = "stage", "tokens"


def stage_layers(layers: int, stages: int) -> tuple[range, ...]:
    """The layers of each stage.

    Raises
    ------
    DovetailError
        More stages than layers.
    """
    if stages > layers:
        raise DovetailError(
            f"{layers} layers do not fill {stages} stages", where="pp", hint=f"1 to {layers}", exit_code=INFEASIBLE
        )
    base, rest = divmod(layers, stages)
    sizes = [base + (stages - 1 - rest <= stage < stages - 1) for stage in range(stages)]
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(range(a, b) for a, b in pairwise(ends))


def pipeline_parallel(graph: Graph, stages: tuple[range, ...], machine: Machine, ways: int) -> tuple[Graph, ...]:
    """What a chip of each stage does of `graph`, one chip's part of a step for one micro-batch.

    Parameters
    ----------
    stages : tuple of range
        Layers of each (`stage_layers`). Layers beyond them, of what guesses, are on the last.
    ways : int
        Chips that share a layer; those of a stage are neighbours, and stages follow each other.

    Raises
    ------
    DovetailError
        The machine joins fewer chips, or layers of several stages guess.
    """
    if len(stages) == 1:
        return (graph,)
    _check(graph, stages)
    count = len(stages)
    return tuple(
        _received(_stage(graph, kept, index == 0, index == count - 1), index, count, machine, ways)
        for index, kept in enumerate(stages)
    )


def _check(graph: Graph, stages: tuple[range, ...]) -> None:
    """Refuse guesses by the model's own layers: each would pass through the pipeline before the next begins."""
    layered = [bool(o.layers) for o in graph.operators]
    head = next((i for i in range(layered.index(True), len(layered)) if not layered[i]), len(layered))
    own = (o for o in graph.operators[head:] if o.layers and o.layers[0] < stages[-1].stop)
    if np.any(np.not_equal(graph.tokens_per_step, 1.0)) and next(own, None) is not None:
        raise DovetailError(
            "the model's first layers cannot guess in a pipeline", where="pp", why="each guess would fill it anew",
            hint="--pp 1, or another method of speculation", exit_code=INFEASIBLE,
        )  # fmt: skip


def _stage(graph: Graph, kept: range, first: bool, last: bool) -> Graph:
    end = max((max(o.layers) for o in graph.operators if o.layers), default=0) + 1
    layers = range(kept.start, max(kept.stop, end)) if last else kept
    begun, operators = False, list[Operator]()
    for operator in graph.operators:
        if not operator.layers:
            operators += [operator] if (last if begun else first) else []
            continue
        begun, here = True, _within(operator.layers, layers)
        operators += [replace(operator, layers=here)] if here else []
    caches = (replace(c, layers=_within(c.layers, layers)) for c in graph.caches)
    return replace(
        graph, operators=tuple(operators), caches=tuple(c for c in caches if c.layers),
        others=graph.others if first else (),
    )  # fmt: skip


def _within(layers: tuple[int, ...], kept: range) -> tuple[int, ...]:
    return tuple(layer for layer in layers if layer in kept)


def _received(graph: Graph, stage: int, stages: int, machine: Machine, ways: int) -> Graph:
    """The stage with what it receives from the one before."""
    return replace(graph, operators=(*_receiving(graph, stage, stages, machine, ways), *graph.operators))


def _receiving(graph: Graph, stage: int, stages: int, machine: Machine, ways: int) -> Iterator[Operator]:
    act = next((act for o in graph.operators if (act := getattr(o, "act", "")) in SUMS), "bf16")
    rows, apart = graph.batch * graph.tokens, _apart(stage, stages, machine, ways)
    if stage == 0:
        if np.any(np.greater(graph.context, 0)):  # four bytes each
            yield Collective(f"{SAMPLED}.p2p", elements=rows, ways=apart, act="fp32", kind="p2p")
        return
    flow = rows * (graph.hidden * graph.streams)
    yield Collective(f"{RECEIVED}.p2p", elements=flow / ways, ways=apart, act=act, kind="p2p")
    if ways > 1:
        yield Collective(f"{RECEIVED}.all_gather", elements=flow, ways=ways, act=act, kind="all_gather")


def _apart(stage: int, stages: int, machine: Machine, ways: int) -> int:
    """Chips of the smallest part of the machine, and twice that of the level inside, where two stages meet.

    `dovetail.cost.collectives` takes a message to pass the outermost level that so many chips span. Of several replicas
    the one whose stages lie the farthest apart counts.

    Raises
    ------
    DovetailError
        The levels of the machine join fewer chips.
    """
    each, inner = ways * stages, 1
    starts = range(0, max(machine.count, each), each)
    before, here = ((stage - 1) % stages) * ways, stage * ways
    for level in machine.levels:
        part = inner * level.ways
        if all((start + before) // part == (start + here) // part for start in starts):
            return 2 * inner
        inner = part
    if not machine.levels:
        return 2
    raise DovetailError(
        f"{stages} stages of {ways} chips are more than {machine.name} joins", where="pp",
        hint=f"{inner} chips at most", exit_code=INFEASIBLE,
    )  # fmt: skip


def all_requests(graph: Graph, requests: object) -> Graph:
    """A decode step of a micro-batch with the caches of all `requests` of the pipeline beside it."""

    def grown(cache: Cache) -> Cache:
        return replace(cache, batch=requests)

    return replace(graph, caches=tuple(map(grown, graph.caches)))
