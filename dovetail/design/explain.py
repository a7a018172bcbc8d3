"""`explain`: the tree of a number, down to the formula and the source of every constant in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import Number
from dovetail.core.quantity import Quantity, exact, weakest
from dovetail.cost import GraphCost, OperatorCost
from dovetail.cost.memory import cache_bytes
from dovetail.cost.packed import executed
from dovetail.cost.stationary import in_arrays, vectors
from dovetail.cost.traffic import resident_bytes
from dovetail.cost.transfer import REACHED, START_S
from dovetail.design.estimate import Estimate
from dovetail.design.kernel_tree import HOW, constants, facts
from dovetail.design.link_tree import link_parts
from dovetail.hardware.energy import ATTENTION_SHARE
from dovetail.hardware.machine import Machine
from dovetail.hardware.stationary import Stationary
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer
from dovetail.model.operators import Collective, Linear, Operator


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


def _product(unit: str, formula: str, *parts: tuple[str, Quantity]) -> Quantity:
    """The product of some constants."""
    kind = weakest(*(q.kind for _, q in parts))
    return exact(math.prod(q.value for _, q in parts), unit, kind, "", formula=formula, parts=parts)


def _bandwidth(machine: Machine) -> Quantity:
    return _product(
        "byte/s", "bandwidth x efficiency",
        ("memory bandwidth", _constant(machine, "memory.bandwidth", float(machine.memory.bandwidth), "byte/s")),
        ("memory efficiency", _constant(machine, "efficiency.memory", float(machine.efficiency.memory), "")),
    )  # fmt: skip


def _arithmetic(machine: Machine, cost: OperatorCost) -> Quantity:
    peak = _constant(machine, f"peak.{cost.dtype}", float(machine.peak_of(cost.dtype)), "flop/s")
    reached = _constant(machine, "efficiency.compute", float(machine.efficiency.compute), "")
    parts = [(f"{cost.dtype} peak", peak), ("compute efficiency", reached)]
    if _is_attention(cost) and machine.efficiency.attention != 1.0:
        relative = _constant(machine, "efficiency.attention", float(machine.efficiency.attention), "")
        parts.append(("attention's relative efficiency", relative))
    return _product("flop/s", " x ".join(("peak", *("efficiency",) * (len(parts) - 1))), *parts)


def _unpacked_too(estimate: Estimate, cost: OperatorCost, flops: Quantity) -> Quantity:
    """Arithmetic of a kernel that unpacks the weights of each pass."""
    machine, of = estimate.machine, f"packed.products.{cost.packed}"
    if machine.packed is None:
        raise DovetailError("no kernels for packed weights", where=machine.name)
    known = machine.packed.products[cost.packed]
    peak = _constant(machine, f"{of}.peak", float(known.peak), "flop/s")
    rest = float(cost.compute_s) - flops.value / peak.value
    per_weight = _constant(machine, f"{of}.weight", float(known.weight_s), "s")
    rows = _constant(machine, "packed.rows", float(machine.packed.rows), "")
    unpacking = _seconds(
        estimate, rest, "weights x passes x time of one", ("one weight", per_weight), ("rows of a pass", rows)
    )
    parts = (("FLOPs", flops), ("arithmetic", peak), ("unpacking", unpacking))
    return _seconds(estimate, cost.compute_s, "FLOPs / arithmetic + unpacking", *parts)


def _compute(estimate: Estimate, cost: OperatorCost) -> Quantity:
    flops = exact(float(cost.flops), "flop", "modelled", "shapes of the graph")
    if cost.packed:
        return _unpacked_too(estimate, cost, flops)
    arithmetic = _arithmetic(estimate.machine, cost)
    parts, formula = [("FLOPs", flops), ("arithmetic", arithmetic)], "FLOPs / arithmetic"
    if _is_attention(cost) and float(estimate.machine.efficiency.score_flops):
        constant = _constant(
            estimate.machine, "efficiency.score_flops", float(estimate.machine.efficiency.score_flops), "flop"
        )
        rest = float(cost.compute_s) - flops.value / arithmetic.value
        softmax = _seconds(estimate, rest, "scores x FLOPs / (peak x efficiency)", ("softmax of one score", constant))
        parts.append(("softmax", softmax))
        formula += " + softmax"
    return _seconds(estimate, cost.compute_s, formula, *parts)


def _is_attention(cost: OperatorCost) -> bool:
    return cost.name.partition("@")[0] == "attention"


def _moved(estimate: Estimate, cost: OperatorCost) -> Quantity:
    machine, shapes = estimate.machine, "shapes and formats of the graph"
    main = exact(float(cost.bytes), "byte", "modelled", shapes)
    if cost.packed and machine.packed is not None:
        stream = _constant(machine, "packed.bandwidth", float(machine.packed.bandwidth), "byte/s")
        return _seconds(
            estimate, cost.memory_s, "bytes / bandwidth", ("main-memory bytes", main), ("bandwidth", stream)
        )
    parts = [("main-memory bytes", main), ("bandwidth", _bandwidth(machine))]
    formula = "bytes / bandwidth"
    if float(cost.cache_bytes) and machine.caches:
        level = machine.caches[0]
        parts += [
            (f"{level.name} bytes", exact(float(cost.cache_bytes), "byte", "modelled", shapes)),
            (f"{level.name} bandwidth", _constant(machine, "caches", float(level.bandwidth), "byte/s")),
        ]
        formula += f" + {level.name} bytes / {level.name} bandwidth (no slower than memory)"
    return _seconds(estimate, cost.memory_s, formula, *parts)


def _seconds(estimate: Estimate, value: Number, formula: str, *parts: tuple[str, Quantity]) -> Quantity:
    whole = estimate.quantity(float(value), "s")
    return Quantity(whole.value, whole.low, whole.high, "s", whole.kind, "", formula, parts)


def _operator(estimate: Estimate, operator: Operator, cost: OperatorCost) -> Quantity:
    """All repetitions of one operator; the formula names the parts that are there."""
    if isinstance(operator, HostTransfer):
        return _stream(estimate, operator, cost)
    machine = estimate.machine
    if machine.stationary is not None and isinstance(operator, Linear) and in_arrays(operator):
        return _in_arrays(estimate, operator, cost, machine.stationary)
    if machine.integer_array is not None:
        return _by_cycles(estimate, cost)
    if cost.model != "roofline":
        return _by_kernel(estimate, cost)
    overlap = float(machine.efficiency.overlap)
    parts = [("compute", _compute(estimate, cost)), ("memory", _moved(estimate, cost))]
    formula = "max(compute, memory)"
    if overlap != 1.0 and not cost.packed:
        parts.append(("overlap", _constant(machine, "efficiency.overlap", overlap, "")))
        formula += " + (1 - overlap) x min(compute, memory)"
    if float(cost.unpack_s):
        constant = _constant(machine, "stack.unpack_flops", float(machine.stack.unpack_flops), "flop")
        per_weight = ("unpacking of one weight", constant)
        parts.append(("unpacking", _seconds(estimate, cost.unpack_s, "weights x FLOPs / peak", per_weight)))
        formula += " + unpacking"
    if isinstance(operator, Collective) and float(cost.link_s):
        how, known = link_parts(operator, machine)
        parts.append(("link", _seconds(estimate, cost.link_s, f"{cost.repeat} x ({how})", *known)))
        formula += " + link"
    launch = _constant(machine, "stack.launch", float(machine.stack.launch_s), "s")
    parts.append(("launch", launch))
    formula += f" + {cost.repeat} x launch; bound by {cost.bound}"
    return _seconds(estimate, cost.time_s, formula, *parts)


def _by_cycles(estimate: Estimate, cost: OperatorCost) -> Quantity:
    """All repetitions of one operator on an integer array, which shares the port's idle time with the others."""
    machine = estimate.machine
    clock = ("clock", _constant(machine, "clock", float(machine.clock_hz), "Hz"))
    moved = exact(float(cost.bytes), "byte", "modelled", "weights with their multipliers, keys and values")
    bandwidth = _constant(machine, "memory.bandwidth", float(machine.memory.bandwidth), "byte/s")
    parts = (
        ("array", _seconds(estimate, cost.compute_s, "cycles / clock (dovetail.cost.integer_array)", clock)),
        ("between products", _seconds(estimate, cost.launch_s, "cycles of vectors and pipelines / clock", clock)),
        ("port", _seconds(estimate, cost.memory_s, "bytes / bandwidth", ("bytes", moved), ("bandwidth", bandwidth))),
    )
    formula = "its share of the pass: max(all arrays + all between, all max(array, port))"
    return _seconds(estimate, cost.time_s, formula, *parts)


def _in_arrays(estimate: Estimate, operator: Linear, cost: OperatorCost, held: Stationary) -> Quantity:
    """A product whose matrix stands in arrays."""
    machine = estimate.machine
    parts: tuple[tuple[str, Quantity], ...] = (
        ("vectors", exact(float(vectors(operator)), "", "modelled", "shapes of the graph")),
        ("latency", _constant(machine, "arrays.latency", float(held.latency_s), "s")),
        ("pass", _constant(machine, "arrays.passing", float(held.pass_s), "s")),
    )
    formula = f"{cost.repeat} x (latency + (vectors - 1) x pass)"
    if float(cost.memory_s):
        parts += (("what arrays do not hold", _moved(estimate, cost)),)
        formula = f"share in arrays x {formula} + the rest from memory"
    return _seconds(estimate, cost.time_s, formula, *parts)


def _stream(estimate: Estimate, operator: HostTransfer, cost: OperatorCost) -> Quantity:
    """What streaming from the host's memory adds to a step."""
    machine = estimate.machine
    parts = (
        ("bytes", exact(float(operator.size), "byte", "modelled", "what the chip has no room for")),
        ("host link", _constant(machine, "host_link", float(machine.host_link), "byte/s")),
        (
            "reached share",
            exact(REACHED["pinned"], "", "modelled", "packets and flow control (dovetail.cost.transfer)"),
        ),
        ("start of a copy", exact(START_S, "s", "modelled", "dovetail.cost.transfer")),
    )
    copies = _seconds(estimate, cost.link_s, f"{cost.repeat} x start + bytes / (link x reached)", *parts)
    return _seconds(estimate, cost.time_s, "what of it the other operators do not hide", ("copies", copies))


def _by_kernel(estimate: Estimate, cost: OperatorCost) -> Quantity:
    """All repetitions of one operator that the constants of its kernel price."""
    machine, shapes = estimate.machine, "shapes of the graph"
    work = (
        ("FLOPs", exact(float(cost.flops), "flop", "modelled", shapes)),
        ("main-memory bytes", exact(float(cost.bytes), "byte", "modelled", "shapes and formats of the graph")),
    )
    busy = float(cost.time_s) - float(cost.launch_s)
    family = cost.model.partition(".")[0]
    parts = (*work, *facts(cost, machine), *constants(cost, machine))
    kernel = _seconds(estimate, busy, f"{cost.repeat} x {HOW[family]}", *parts)
    of = machine.source(f"kernels.{cost.model}")
    launch = exact(float(cost.launch_s), "s", of.kind, of.text)
    formula = f"{cost.model} kernel + launches; bound by {cost.bound}"
    return _seconds(estimate, cost.time_s, formula, ("kernel", kernel), ("launches", launch))


def _step(estimate: Estimate, graph: Graph, cost: GraphCost, rows: str = "") -> Quantity:
    whole = estimate.quantity(float(cost.time_s), "s")
    estimate = replace(estimate, machine=executed(graph, estimate.machine))
    on_path = [pair for pair in zip(graph.operators, cost.operators, strict=True) if pair[1].repeat]
    order = sorted(on_path, key=lambda pair: -float(pair[1].time_s))
    parts = tuple((o.name, _operator(estimate, o, c)) for o, c in order)
    parts += (("step overhead", _overhead(estimate.machine, float(cost.passes))),)
    formula = f"sum of {len(order)} operator kinds + step overhead; batch {float(graph.batch):g}, "
    if estimate.plan.pp > 1:
        words = (
            f"what a micro-batch waits for in {estimate.plan.pp} stages: {len(order)} operator kinds + step overhead"
        )
        formula = f"{words}; {float(graph.batch):g} requests, "
    formula += rows or f"{float(graph.tokens):g} new tokens after {float(graph.context):g} cached"
    return Quantity(whole.value, whole.low, whole.high, "s", whole.kind, whole.source, formula, parts)


def _overhead(machine: Machine, passes: float) -> Quantity:
    """The fixed time of a step, as often as it counts."""
    once = _constant(machine, "stack.step", float(machine.stack.step_s), "s")
    if passes == 1.0:
        return once
    times = exact(
        passes, "", "modelled", "stages on the critical path, the slowest once for each micro-batch it serves"
    )
    return _product("s", "fixed time x stages passed", ("fixed time", once), ("stages passed", times))


def _ttft(estimate: Estimate) -> Quantity:
    """The prefill, after the pass over images where there are some."""
    found = estimate.steps
    prefill = _step(estimate, found.prefill_graph, found.prefill)
    if found.image_graph is None or found.images is None:
        return prefill
    images = _step(estimate, found.image_graph, found.images, f"{float(found.image_graph.tokens):g} patches each")
    whole, parts = estimate.ttft, (("images", images), ("prefill", prefill))
    return Quantity(whole.value, whole.low, whole.high, "s", whole.kind, whole.source, "images + prefill", parts)


def _tpot(estimate: Estimate) -> Quantity:
    step = _step(estimate, estimate.steps.decode_graph, estimate.steps.decode)
    per_step = exact(float(estimate.steps.decode_graph.tokens_per_step), "", "modelled", "the recipe")
    whole = estimate.tpot
    what = "decode step" if estimate.plan.pp == 1 else "round of the pipeline"
    parts = ((f"{what} at the mean context", step), ("tokens per step", per_step))
    return Quantity(
        whole.value, whole.low, whole.high, "s", whole.kind, whole.source, f"{what} / tokens per step", parts
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
    rent = _constant(estimate.machine, "price.rent", float(estimate.machine.usd_per_hour) / 3600, "USD/s")
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
            (f"energy per {d} FLOP", _constant(machine, f"energy.per_flop.{d}", float(machine.j_per_flop[d]), "J/flop"))
            for d in _dtypes(estimate)
        ),
        ("ttft", _ttft(estimate)), ("tpot", _tpot(estimate)),
    )  # fmt: skip
    floor = f"(idle + {ATTENTION_SHARE} x limit in attention)" if estimate.machine.kernels is not None else "idle"
    formula = f"sum over operators of min({floor} x time + per_flop x FLOPs + per_byte x bytes, limit x time) "
    formula += "x chips (one without requests idles) / output tokens"
    return Quantity(whole.value, whole.low, whole.high, whole.unit, whole.kind, whole.source, formula, parts)


def _dtypes(estimate: Estimate) -> list[str]:
    return sorted({o.dtype for o in estimate.steps.decode.operators})


def _weights(estimate: Estimate) -> Iterator[tuple[str, Quantity]]:
    """Bytes of every kind of matrix, the largest first; norms and biases together."""
    rest, matrices = 0.0, []
    machine = executed(estimate.steps.last_graph, estimate.machine)
    for weight, layers in estimate.steps.last_graph.weights():
        repeat = len(layers) or 1
        size = float(resident_bytes(weight, machine)) * repeat
        if float(weight.rows) == 1:
            rest += size
            continue
        shape = f"{float(weight.rows):g} x {float(weight.cols):g} {weight.format.name}"
        matrices.append((weight.name, exact(size, "byte", "modelled", f"{repeat * weight.experts} of {shape}")))
    yield from sorted(matrices, key=lambda part: -part[1].value)
    yield "norms and biases", exact(rest, "byte", "modelled", "vectors of the graph")


def _caches(estimate: Estimate) -> Iterator[tuple[str, Quantity]]:
    for c in estimate.steps.last_graph.caches:
        size = float(cache_bytes(c, estimate.machine))
        text = f"batch {float(c.batch):g} x {float(c.length):g} tokens x {float(c.elements_per_token):g} elements"
        yield f"layers {c.layers[0]}–{c.layers[-1]}", exact(size, "byte", "modelled", text)


def _memory(estimate: Estimate) -> Quantity:
    held = estimate.memory()
    weights, kv, total = held["weights"], held["kv_cache"], held["total"]
    parts = (
        ("weights", replace(weights, formula="sum of all tensors, scales included", parts=tuple(_weights(estimate)))),
        ("kv_cache", replace(kv, formula="sum at the end of the output", parts=tuple(_caches(estimate)))),
        *(
            (name, replace(held[name], formula=formula))
            for name, formula in _OTHER_MEMORY.items()
            if name in held and held[name].value
        ),
    )
    where = f" of stage {estimate.steps.stage + 1}, the fullest of {estimate.plan.pp}" if estimate.plan.pp > 1 else ""
    return replace(total, formula=f"sum on each chip{where}", parts=parts)


_OTHER_MEMORY = {
    "activations": "((2 + residual streams) x hidden + widest place of a block) x rows in flight x element size",
    "workspace": "batch x vocabulary x 4 bytes: fp32 logits for sampling",
    "communication": "buffers of the collective library",
    "fragmentation": "rest of the last page of each sequence",
    "staging": "two layers of what streams from the host",
    "host": "what the chip has no room for, in its host's memory; not in the sum",
}


METRICS: dict[str, Callable[[Estimate], Quantity]] = {
    "ttft": _ttft, "tpot": _tpot, "throughput": _throughput,
    "usd_per_mtok": _price, "energy_per_token": _energy, "memory": _memory,
}  # fmt: skip
