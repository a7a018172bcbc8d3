"""What is asked of a model: fixed batches, images in their prompts, and length distributions."""

from dovetail.workload.images import Images
from dovetail.workload.lengths import Lengths
from dovetail.workload.workload import Workload

__all__ = ["Images", "Lengths", "Workload"]
