"""A small model in the shape of a large one: the same texts, by steps that are bound by memory."""

from __future__ import annotations

import copy
import dataclasses

import torch

from dovetail.runtime.load import Loaded


def widened(loaded: Loaded, layers: int, intermediate: int) -> Loaded:
    """A Llama-type model with wider feed-forward parts and `layers` decoder layers more, which add nothing.

    What is new reads random weights and writes with zeros, so every hidden state stays what it was, and heads that were
    trained for the model guess as well as before; a step multiplies all of it.
    """
    config = copy.deepcopy(loaded.model.config)
    config.num_hidden_layers, config.intermediate_size = config.num_hidden_layers + layers, intermediate
    model, known = type(loaded.model)(config).eval(), loaded.model.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if any(part in name for part in ("down_proj", "o_proj")):
                tensor.zero_()
            if (old := known.get(name)) is not None:
                tensor[tuple(slice(size) for size in old.shape)] = old
    return dataclasses.replace(loaded, model=model)
