"""`explain`: the tree of a number, down to the formula and the source of every constant in it."""

from __future__ import annotations

from collections.abc import Callable

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.quantity import Quantity, exact, weakest
from dovetail.cost import GraphCost, OperatorCost
from dovetail.design.estimate import Estimate
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph


def explain(estimate: Estimate, metric: str) -> Quantity:
    """The named metric of a scalar estimate as a tree of quantities.

    Raises
    ------
    DovetailError
        Unknown metric; names the nearest.
    """
    if metric not in METRICS:
        raise DovetailError(f"unknown metric '{metric}'", where="explain", hint=did_you_mean(metric, list(METRICS)))
    return METRICS[metric](estimate)


def _constant(machine: Machine, path: str, value: float, unit: str) -> Quantity:
    source = machine.source(path)
    return exact(value, unit, source.kind, source.text)


def _bandwidth(machine: Machine) -> Quantity:
    parts = (
        ("memory bandwidth", _constant(machine, "memory.bandwidth", float(machine.memory.bandwidth), "byte/s")),
        ("memory efficiency", _constant(machine, "efficiency.memory", float(machine.efficiency.memory), "")),
    )
    value = parts[0][1].value * parts[1][1].value
    return exact(
        value, "byte/s", weakest(*(q.kind for _, q in parts)), "", formula="bandwidth x efficiency", parts=parts
    )


def _arithmetic(machine: Machine, dtype: str) -> Quantity:
    parts = (
        (f"{dtype} peak", _constant(machine, f"peak.{dtype}", float(machine.peak_of(dtype)), "flop/s")),
        ("compute efficiency", _constant(machine, "efficiency.compute", float(machine.efficiency.compute), "")),
    )
    value = parts[0][1].value * parts[1][1].value
    return exact(value, "flop/s", weakest(*(q.kind for _, q in parts)), "", formula="peak x efficiency", parts=parts)


def _operator(estimate: Estimate, cost: OperatorCost) -> Quantity:
    machine = estimate.machine
    graph = ("FLOPs", exact(float(cost.flops), "flop", "modelled", "shapes of the graph"))
    moved = ("main-memory bytes", exact(float(cost.bytes), "byte", "modelled", "shapes and formats of the graph"))
    launch = ("launch", _constant(machine, "stack.launch", float(machine.stack.launch_s), "s"))
    busy = {
        "compute": (graph, ("arithmetic", _arithmetic(machine, cost.dtype))),
        "memory": (moved, ("bandwidth", _bandwidth(machine))),
        "link": (("link", _constant(machine, "link", float(machine.link), "byte/s")),),
        "launch": (),
    }[cost.bound]
    formula = (
        f"{cost.repeat} x (max(compute {float(cost.compute_s) / cost.repeat:.3g} s, "
        f"memory {float(cost.memory_s) / cost.repeat:.3g} s) + link {float(cost.link_s) / cost.repeat:.3g} s + launch); bound by {cost.bound}"
    )
    whole = estimate.quantity(float(cost.time_s), "s")
    return Quantity(whole.value, whole.low, whole.high, "s", whole.kind, "", formula, (*busy, launch))


def _step(estimate: Estimate, graph: Graph, cost: GraphCost) -> Quantity:
    whole = estimate.quantity(float(cost.time_s), "s")
    order = sorted(cost.operators, key=lambda o: -float(o.time_s))
    parts = tuple((o.name, _operator(estimate, o)) for o in order)
    parts += (
        ("step overhead", _constant(estimate.machine, "stack.step", float(estimate.machine.stack.step_s), "s")),
    )
    formula = f"sum of {len(order)} operator kinds + step overhead; batch {float(graph.batch):g}, "
    formula += f"{float(graph.tokens):g} new tokens after {float(graph.context):g} cached"
    return Quantity(whole.value, whole.low, whole.high, "s", whole.kind, whole.source, formula, parts)


def _ttft(estimate: Estimate) -> Quantity:
    return _step(estimate, estimate.steps.prefill_graph, estimate.steps.prefill)


def _tpot(estimate: Estimate) -> Quantity:
    step = _step(estimate, estimate.steps.decode_graph, estimate.steps.decode)
    per_step = exact(float(estimate.steps.decode_graph.tokens_per_step), "", "modelled", "the recipe")
    whole = estimate.tpot
    parts = (("decode step at the mean context", step), ("tokens per step", per_step))
    return Quantity(
        whole.value, whole.low, whole.high, "s", whole.kind, whole.source, "decode step / tokens per step", parts
    )


def _workload(estimate: Estimate, name: str) -> Quantity:
    return exact(float(getattr(estimate.workload, name)), "", "datasheet", "the question asked")


def _throughput(estimate: Estimate) -> Quantity:
    whole = estimate.throughput
    parts = (
        ("batch", _workload(estimate, "batch")), ("output tokens", _workload(estimate, "output")),
        ("ttft", _ttft(estimate)), ("tpot", _tpot(estimate)),
    )  # fmt: skip
    formula = "batch x output / (ttft + (output - 1) x tpot)"
    return Quantity(whole.value, whole.low, whole.high, "tok/s", whole.kind, whole.source, formula, parts)


def _price(estimate: Estimate) -> Quantity:
    whole = estimate.usd_per_mtok
    if whole is None:
        raise DovetailError(
            f"{estimate.machine.name} has no rent", where="price.rent", hint="add price.rent to its YAML file"
        )
    rent = _constant(estimate.machine, "price", float(estimate.machine.usd_per_hour) / 3600, "USD/s")
    chips = exact(estimate.machine.count, "", "datasheet", "the question asked")
    parts = (("rent of one chip", rent), ("chips", chips), ("throughput", _throughput(estimate)))
    return Quantity(
        whole.value,
        whole.low,
        whole.high,
        whole.unit,
        whole.kind,
        whole.source,
        "rent x chips / throughput x 10^6",
        parts,
    )


def _energy(estimate: Estimate) -> Quantity:
    machine, whole = estimate.machine, estimate.energy_per_token
    parts = (
        ("idle power", _constant(machine, "power.idle", float(machine.idle_w), "W")),
        ("power limit", _constant(machine, "power.tdp", float(machine.tdp_w), "W")),
        ("energy per byte", _constant(machine, "energy.per_byte", float(machine.j_per_byte), "J/byte")),
        *(
            (f"energy per {d} FLOP", _constant(machine, "energy.per_flop", float(machine.j_per_flop[d]), "J/flop"))
            for d in _dtypes(estimate)
        ),
        ("ttft", _ttft(estimate)), ("tpot", _tpot(estimate)),
    )  # fmt: skip
    formula = "sum over operators of min(idle x time + per_flop x FLOPs + per_byte x bytes, limit x time) "
    formula += "x chips / output tokens"
    return Quantity(whole.value, whole.low, whole.high, whole.unit, whole.kind, whole.source, formula, parts)


def _dtypes(estimate: Estimate) -> list[str]:
    return sorted({o.dtype for o in estimate.steps.decode.operators})


def _memory(estimate: Estimate) -> Quantity:
    held = estimate.memory()
    tensors = tuple(
        (weight.name, exact(float(weight.payload_bytes) * (len(layers) or 1), "byte", "modelled",
                            f"{len(layers) or 1} x {weight.experts} of {float(weight.rows):g} x {float(weight.cols):g} {weight.format.name}"))
        for weight, layers in sorted(estimate.steps.decode_graph.weights(), key=lambda p: -float(p[0].payload_bytes))
        if weight.linear
    )  # fmt: skip
    caches = tuple(
        (f"layers {c.layers[0]}–{c.layers[-1]}", exact(float(c.batch * c.length * c.elements_per_token), "", "modelled",
         f"elements: batch {float(c.batch):g} x {float(c.length):g} tokens x {float(c.elements_per_token):g} ({c.format})"))
        for c in estimate.steps.decode_graph.caches
    )  # fmt: skip
    weights = exact(held["weights"].value, "byte", "modelled", "stored formats, scales included", parts=tensors)
    kv = exact(held["kv_cache"].value, "byte", "modelled", "at the end of the output", parts=caches)
    parts = (("weights", weights), ("kv_cache", kv), ("activations", held["activations"]))
    total = held["total"]
    return exact(
        total.value,
        "byte",
        "modelled",
        total.source,
        formula="weights + KV cache + activations, on each chip",
        parts=parts,
    )


METRICS: dict[str, Callable[[Estimate], Quantity]] = {
    "ttft": _ttft, "tpot": _tpot, "throughput": _throughput,
    "usd_per_mtok": _price, "energy_per_token": _energy, "memory": _memory,
}  # fmt: skip
