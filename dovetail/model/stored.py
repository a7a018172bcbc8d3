"""How a checkpoint on disk stores its linear weights, read from the ``quantization_config`` of its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dovetail.core.formats import Format, packed_int
from dovetail.model.graph import Graph, Weight

# Elements of 4 bits with a power of two of 8 bits for each 32 along the inputs (OCP Microscaling Formats 1.0, 2023)
MXFP4 = Format("mxfp4", 4, packed=True, group=32, scale="fp8")


def stored_format(config: Mapping[str, Any], dtype: str) -> Format | None:
    """The packed format of the linear weights of the layers; None where they are stored as they are computed.

    Symmetric integers in compressed-tensors' ``pack-quantized`` layout are understood, one group for all layers, and
    gpt-oss's MXFP4; other formats (fp8, nvfp4, asymmetric) are not described yet: such a graph has weights of the dtype
    of the config.
    """
    found = config.get("quantization_config")
    if isinstance(found, Mapping) and found.get("quant_method") == "mxfp4":
        return MXFP4
    if not isinstance(found, Mapping) or found.get("format") != "pack-quantized":
        return None
    groups = list((found.get("config_groups") or {}).values())
    weights = groups[0].get("weights") if len(groups) == 1 and isinstance(groups[0], Mapping) else None
    if not isinstance(weights, Mapping) or weights.get("type") != "int" or not weights.get("symmetric", True):
        return None
    return packed_int(int(weights["num_bits"]), max(0, int(weights.get("group_size") or 0)), dtype)


def as_stored(graph: Graph, form: Format) -> Graph:
    """`graph` with its layers' matrices (for MXFP4 the experts') in `form`; head, embedding, norms and biases stay."""

    def packed(weight: Weight) -> Weight:
        chosen = weight.linear and "{layer}" in weight.name and (form != MXFP4 or weight.experts > 1)
        return replace(weight, format=form) if chosen else weight

    return graph.map_weights(packed)
