"""How a checkpoint on disk stores its linear weights, read from the ``quantization_config`` of its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dovetail.core.formats import Format, packed_int
from dovetail.model.graph import Graph, Weight


def stored_format(config: Mapping[str, Any], dtype: str) -> Format | None:
    """The packed format of the linear weights of the layers; None where they are stored as they are computed.

    Symmetric integers in compressed-tensors' ``pack-quantized`` layout are understood, one group for all layers; other
    formats (fp8, nvfp4, asymmetric) are not described yet: such a graph has weights of the dtype of the config.
    """
    found = config.get("quantization_config")
    if not isinstance(found, Mapping) or found.get("format") != "pack-quantized":
        return None
    groups = list((found.get("config_groups") or {}).values())
    weights = groups[0].get("weights") if len(groups) == 1 and isinstance(groups[0], Mapping) else None
    if not isinstance(weights, Mapping) or weights.get("type") != "int" or not weights.get("symmetric", True):
        return None
    return packed_int(int(weights["num_bits"]), max(0, int(weights.get("group_size") or 0)), dtype)


def as_stored(graph: Graph, form: Format) -> Graph:
    """`graph` with the matrices of its layers in `form`; head, embedding, norms and biases stay."""

    def packed(weight: Weight) -> Weight:
        return replace(weight, format=form) if weight.linear and "{layer}" in weight.name else weight

    return graph.map_weights(packed)
