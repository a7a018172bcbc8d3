"""What is asked of a model: fixed batches and length distributions."""

from dovetail.workload.lengths import Lengths
from dovetail.workload.workload import Workload

__all__ = ["Lengths", "Workload"]
