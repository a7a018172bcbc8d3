"""A language model on arrays: which operators go there, how many arrays, what writing takes, what limits a token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from dovetail.cost import GraphCost, evaluate
from dovetail.crossbar.cost import Cost, Work, cost, total
from dovetail.crossbar.layer import Setup
from dovetail.hardware.adc import AdcModel
from dovetail.hardware.crossbar_parts import ISAAC, Parts
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear, Operator


@dataclass(frozen=True, slots=True)
class OnArrays:
    """An operator that arrays make.

    Parameters
    ----------
    name : str
    repeat : int
        Layers that have it.
    arrays : int
        Of all layers, experts included.
    weights : float
    cost : Cost
        Of one token in one layer; a mixture's by the experts that a token meets. Area is that of all layers.
    """

    name: str
    repeat: int
    arrays: int
    weights: float
    cost: Cost

    @property
    def energy_j(self) -> float:
        return self.cost.energy * self.repeat

    @property
    def time_s(self) -> float:
        """Of a token through all layers."""
        return self.cost.time_s * self.repeat


@dataclass(frozen=True, slots=True)
class Digital:
    """An operator that stays digital, and why."""

    name: str
    why: str
    time_s: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class Writing:
    """What programming takes, once for the weights, and for keys and values if they were to be written too.

    Parameters
    ----------
    time_s, energy_j : float
        Of all weights; tiles write at once, a row of one array each.
    years : float
        Until cells wear out when the model is rewritten every hour.
    kv_time_s, kv_energy_j : float
        Of one token's keys and values.
    """

    time_s: float
    energy_j: float
    years: float
    kv_time_s: float
    kv_energy_j: float


@dataclass(frozen=True, slots=True)
class Mapping:
    """A model on arrays and a digital chip beside them, one token at a time.

    Parameters
    ----------
    arrays : tuple of OnArrays
    digital : tuple of Digital
    writing : Writing
    context : int
    """

    arrays: tuple[OnArrays, ...]
    digital: tuple[Digital, ...]
    writing: Writing
    adc: str
    chip: str
    context: int

    @property
    def count(self) -> int:
        """Arrays."""
        return sum(each.arrays for each in self.arrays)

    @property
    def weights(self) -> float:
        return sum(each.weights for each in self.arrays)

    @property
    def area_mm2(self) -> float:
        return sum(each.cost.area for each in self.arrays)

    @property
    def array_s(self) -> float:
        """A token's time in arrays."""
        return sum(each.time_s for each in self.arrays)

    @property
    def digital_s(self) -> float:
        return sum(each.time_s for each in self.digital)

    @property
    def tpot_s(self) -> float:
        """Of one sequence: its operators follow each other."""
        return self.array_s + self.digital_s

    @property
    def interval_s(self) -> float:
        """Between tokens of different sequences, all arrays busy: the slowest operator's."""
        return max(each.cost.interval_s for each in self.arrays)

    @property
    def energy_j(self) -> float:
        """Of a token."""
        return sum(each.energy_j for each in self.arrays) + sum(each.energy_j for each in self.digital)

    @property
    def bottleneck(self) -> str:
        """What most of a token's time goes to."""
        times = {f"arrays: {each.name}": each.time_s for each in self.arrays}
        times |= {f"digital: {each.name}": each.time_s for each in self.digital}
        most = max(times, key=lambda name: times[name])
        side = "arrays" if self.array_s >= self.digital_s else "the digital chip"
        share = max(self.array_s, self.digital_s) / self.tpot_s
        return f"{side} ({share:.0%} of a token's time; most in {most.partition(': ')[2]})"


def map_graph(
    graph: Graph, setup: Setup, code_bits: int, adc: AdcModel, chip: Machine, parts: Parts = ISAAC
) -> Mapping:  # fmt: skip
    """Map one decode step of one sequence.

    Products with stored weights go to arrays; what multiplies two activations, or looks up, or adds, stays digital, on
    a chip that starts its operators without a framework.
    """
    placed = tuple(_on_arrays(each, setup, code_bits, adc, parts) for each in graph.operators if _mapped(each))
    rest = replace(graph, operators=tuple(each for each in graph.operators if not _mapped(each)))
    found = evaluate(rest, replace(chip, stack=replace(chip.stack, launch_s=0.0, step_s=0.0)))
    writing = _writing(placed, graph, setup, code_bits, parts)
    context = int(np.max(graph.context + graph.tokens))
    return Mapping(placed, tuple(_digital(rest, found)), writing, adc.title, chip.label, context)


def _mapped(operator: Operator) -> TypeGuard[Linear]:
    return isinstance(operator, Linear) and any(weight.linear for weight in operator.weights)


def _on_arrays(operator: Linear, setup: Setup, code_bits: int, adc: AdcModel, parts: Parts) -> OnArrays:
    matrices = [weight for weight in operator.weights if weight.linear]
    costs, arrays, weights = [], 0, 0.0
    for weight in matrices:
        done = dense_work(int(np.max(weight.rows)), int(np.max(weight.cols)), setup, code_bits)
        one = cost(done, adc, parts)
        copies = weight.experts * operator.repeat
        met = operator.top_k if weight.experts > 1 else 1
        arrays += done.arrays * copies
        weights += float(np.max(weight.elements)) * operator.repeat
        costs.append(replace(one, energy_j={part: met * joules for part, joules in one.energy_j.items()},
                             area_mm2={part: copies * area for part, area in one.area_mm2.items()}))  # fmt: skip
    together = total(costs)  # matrices that share their inputs work at once, in arrays of their own
    together = replace(together, time_s=max(each.time_s for each in costs))
    return OnArrays(operator.name, operator.repeat, arrays, weights, together)


def dense_work(outputs: int, inputs: int, setup: Setup, code_bits: int) -> Work:
    """What a matrix whose bitlines all hold digits does for one vector, without its weights.

    Equal to `cost.work` of such a layer; slices that training emptied make it less.
    """
    cells, arrays, cycles = setup.cells, setup.arrays, setup.inputs.bits
    slices, planes = cells.slices(code_bits), len(cells.polarities)
    bits = setup.adc.of_slices(slices)
    tiles, blocks = math.ceil(inputs / min(arrays.rows, inputs)), math.ceil(outputs / arrays.columns)
    pair = 2 if cells.signed else 1
    counted, busiest, widest = np.zeros(13), np.zeros((slices, 13)), np.zeros(13)
    np.add.at(counted, bits, planes * tiles * outputs * cycles)
    np.add.at(widest, bits, planes * tiles * blocks)
    busiest[np.arange(slices), bits] = min(arrays.columns, outputs)
    size = planes * slices * pair
    return Work(
        size * tiles * blocks, cycles, counted, 0.0, busiest, float(size * blocks * inputs * cycles),
        float(size * outputs * inputs * cycles), float(counted.sum()),
        float(inputs * blocks * cycles / 8 + outputs * 4), widest, arrays.rows, arrays.columns,
    )  # fmt: skip


def _digital(rest: Graph, found: GraphCost) -> Iterator[Digital]:
    for operator, done in zip(rest.operators, found.operators):
        if isinstance(operator, Attention):
            why = "multiplies activations: keys and values change with every token"
        elif isinstance(operator, Linear):
            why = "its matrix is the table that the embedding looks up"
        else:
            why = "no matrix product" if operator.name != "embed" else "a look-up"
        yield Digital(operator.name, why, float(np.max(done.time_s)), float(np.max(done.energy_j)))


def _writing(placed: tuple[OnArrays, ...], graph: Graph, setup: Setup, code_bits: int, parts: Parts) -> Writing:
    cells_of_code = setup.cells.slices(code_bits) * setup.cells.devices
    cells = sum(each.weights for each in placed) * cells_of_code
    row_of_keys = float(np.max(sum(cache.elements_per_token for cache in graph.caches)))
    rows = math.ceil(row_of_keys / setup.arrays.columns)
    return Writing(
        parts.tile_arrays * setup.arrays.rows * parts.write_s, cells * parts.write_j,
        parts.endurance / (24 * 365.25), rows * parts.write_s, row_of_keys * cells_of_code * parts.write_j,
    )  # fmt: skip
