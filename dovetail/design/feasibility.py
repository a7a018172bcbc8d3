"""Why a design does not fit, what would: the binding constraint with the numbers required and available."""

from __future__ import annotations

import math

from dovetail.core.units import show
from dovetail.cost import Memory
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.workload import Workload


def without_kernel(graph: Graph, machine: Machine) -> str:
    """The first packed weight format that the machine's stack has no kernel for; empty when it executes them all."""
    stack = machine.stack
    if not (stack.packed_weights and stack.packed_bits):
        return ""
    formats = (weight.format for weight, _ in graph.weights())
    return next((f.name for f in formats if f.packed and f.bits not in stack.packed_bits), "")


def why_not(model: Model, machine: Machine, plan: Plan, work: Workload, held: Memory, graph: Graph) -> list[str]:
    """Sentences that name each constraint a scalar design breaks; empty when it fits."""
    reasons: list[str] = []
    needed = float(work.total_tokens)
    if needed > model.max_context:
        reasons.append(
            f"prompt + output need {needed:,.0f} tokens of context, {model.name} has {model.max_context:,}; "
            f"shorten the prompt by {needed - model.max_context:,.0f} tokens"
        )
    lacking = without_kernel(graph, machine)
    if lacking:
        bits = " and ".join(map(str, machine.stack.packed_bits))
        reasons.append(
            f"{machine.stack.name} has no kernel for {lacking} weights; packed weights of {bits} bits have one"
        )
    if not bool(held.fits):
        reasons.append(_memory_reason(machine, plan, work, held))
    return reasons


def largest_batch(machine: Machine, plan: Plan, work: Workload, held: Memory) -> int:
    """The largest batch that fits: weights are fixed, caches and activations grow with a replica's requests."""
    share, free = float(plan.share(machine, work.batch)), float(held.capacity) - float(held.weights)
    return max(0, math.floor(free * share / float(held.kv_cache + held.activations))) * plan.replicas(machine)


def _memory_reason(machine: Machine, plan: Plan, work: Workload, held: Memory) -> str:
    capacity, weights = float(held.capacity), float(held.weights)
    each = "each chip of " if machine.count > 1 else ""
    if weights >= capacity:
        return (
            f"the weights need {show(weights, 'byte')}, {each}{machine.name} leaves {show(capacity, 'byte')}; "
            "fewer bits per weight (--recipe), more chips (--on 'N x …') or a larger one"
        )
    free, needed = capacity - weights, float(held.kv_cache + held.activations)
    batch = largest_batch(machine, plan, work, held)
    fits = f"batch {batch} fits" if batch else "not even batch 1 fits: shorten the context"
    return (
        f"KV cache and activations need {show(needed, 'byte')} at batch {float(work.batch):g}, "
        f"{show(free, 'byte')} are free beside the weights on {each}{machine.name}; {fits}"
    )
