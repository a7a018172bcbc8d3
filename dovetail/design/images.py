"""Images in a workload: the tokens a model makes of them, and the pass of its encoder before the prefill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.workload import Workload


def with_image_tokens(model: Model, work: Workload) -> Workload:
    """`work` with the tokens that `model` makes of each of its images.

    Raises
    ------
    DovetailError
        There are images, and the model has no encoder for them.
    """
    if work.images is None:
        return work
    tokens = model.image_tokens(work.images.height, work.images.width)
    return replace(work, images=replace(work.images, tokens=tokens))


def image_graph(model: Model, machine: Machine, plan: Plan, share: Number, work: Workload) -> Graph | None:
    """What one chip does to encode the images of `share` requests in one pass; None without images.

    Every chip holds the whole encoder, which recipes leave as it is; chips that share a layer of the language model
    share the images, and gathering their tokens afterwards is not counted.
    """
    if work.images is None:
        return None
    each = np.ceil(share * work.images.count / plan.ways(machine, model))
    return model.vision_graph(each, work.images.height, work.images.width)
