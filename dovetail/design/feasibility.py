"""Why a design does not fit, what would: the binding constraint with the numbers required and available."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dovetail.core.formats import Format
from dovetail.core.units import show
from dovetail.cost import Memory
from dovetail.design.buildable import not_built
from dovetail.design.graphs import memory_of
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

_TITLES = {"vllm": "vLLM"}


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a stack has no kernel for: ``int3-g128 weights``, ``int4 inputs``; `packed` where it is packed weights."""

    what: str
    packed: bool = False
    inputs: bool = False


def without_kernel(graph: Graph, machine: Machine) -> Lacking | None:
    """The first thing that the machine's stack has no kernel for; None when it executes them all.

    Without kernels for packed weights, fp8 and int8 need a chip that multiplies them, or a stack that converts.
    """
    stack, formats = machine.stack, [weight.format for weight, _ in graph.weights()]
    if stack.packed_weights:
        bits = next((f for f in formats if f.packed and stack.packed_bits and f.bits not in stack.packed_bits), None)
        return _weights(bits) if bits is not None else _inputs(graph, stack.packed_inputs)
    if stack.unpacks:
        return None
    narrow = (f for f in formats if f.quantised)
    found = next((f for f in narrow if f.packed or not (stack.compute or _multiplies(machine, f))), None)
    return None if found is None else _weights(found)


def _weights(form: Format) -> Lacking:
    return Lacking(f"{form.name} weights", form.packed)


def _inputs(graph: Graph, bits: tuple[int, ...]) -> Lacking | None:
    """Integer inputs of packed weights that have no kernel."""
    known = {f"int{n}" for n in bits}
    products = (o for o in graph.operators if isinstance(o, Linear) and any(w.format.packed for w in o.weights))
    for product in products if bits else ():
        if product.act.startswith("int") and product.act not in known:
            return Lacking(f"{product.act} inputs of packed weights", inputs=True)
    return None


def _multiplies(machine: Machine, form: Format) -> bool:
    return form.dtype.removesuffix("_block") in machine.peak


def why_not(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, held: Memory, graph: Graph
) -> list[str]:
    """Sentences that name each constraint a scalar design breaks; empty when it fits."""
    reasons: list[str] = []
    needed = float(work.total_tokens)
    if needed > model.max_context:
        reasons.append(
            f"prompt + output need {needed:,.0f} tokens of context, {model.name} has {model.max_context:,}; "
            f"shorten the prompt by {needed - model.max_context:,.0f} tokens"
        )
    lacking = without_kernel(graph, machine)
    if lacking is not None:
        reasons.append(_kernel_reason(machine, lacking))
    if unbuilt := not_built(model, machine, recipe, work):
        reasons.append(unbuilt)
    if not bool(held.fits):
        batch = largest_batch(model, machine, recipe, plan, work)
        reasons.append(_memory_reason(machine, plan, work, held, batch))
    return reasons


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest whole number up to `most` that fits, where everything below one that fits does too; 0 for none.

    By doubling, then bisection.
    """
    over = 1
    while over <= most and fits(over):
        over *= 2
    low, high = over // 2, min(over, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_batch(model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload) -> int:
    """The largest batch up to that of `work` whose memory fits, for all replicas together; 0 when not even one does.

    Memory never falls with a replica's requests, though chunks and logits bend its line.
    """
    share = int(plan.share(machine, model, work.batch))
    fits = largest(lambda n: bool(memory_of(model, machine, recipe, plan, work, n).fits), share)
    return fits * plan.replicas(machine, model)


def _kernel_reason(machine: Machine, lacking: Lacking) -> str:
    stack = machine.stack
    name = _TITLES.get(stack.name, stack.name)
    if not stack.packed_weights:
        return f"{name} has no kernel for {'packed weights' if lacking.packed else lacking.what} on {machine.name}"
    bits = " and ".join(map(str, stack.packed_inputs if lacking.inputs else stack.packed_bits))
    kind = "inputs" if lacking.inputs else "packed weights"
    return f"{name} has no kernel for {lacking.what}; {kind} of {bits} bits have one"


def _memory_reason(machine: Machine, plan: Plan, work: Workload, held: Memory, batch: int) -> str:
    capacity, weights = float(held.capacity), float(held.weights)
    each = "each chip of " if machine.count > 1 else ""
    each = f"{each}the fullest of {plan.pp} stages of " if plan.pp > 1 else each
    if weights >= capacity:
        kept = (
            machine.stack.unpacks and not machine.stack.packed_weights and machine.packed is None
        )  # as they were, whatever a recipe stores
        fewer = "" if kept else "fewer bits per weight (--recipe), "
        return (
            f"the weights need {show(weights, 'byte')}, {each}{machine.name} leaves {show(capacity, 'byte')}; "
            f"{fewer}more chips (--on 'N x …') or a larger one"
        )
    free, needed = capacity - weights, float(held.total) - weights
    fits = f"batch {batch} fits" if batch else "not even batch 1 fits: shorten the context"
    return (
        f"KV cache, activations and buffers need {show(needed, 'byte')} at batch {float(work.batch):g}, "
        f"{show(free, 'byte')} are free beside the weights on {each}{machine.name}; {fits}"
    )
