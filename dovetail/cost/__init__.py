"""(graph, machine) to time, energy and memory: one point or a million by the same code."""

from dovetail.cost.evaluate import GraphCost, evaluate
from dovetail.cost.memory import Memory, memory
from dovetail.cost.operators import OperatorCost
from dovetail.cost.products import ProductCost, matmul

__all__ = ["GraphCost", "Memory", "OperatorCost", "ProductCost", "evaluate", "matmul", "memory"]
