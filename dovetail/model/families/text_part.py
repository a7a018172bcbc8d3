"""The language model of a config that has towers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dovetail.model.architecture import Architecture
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES


def language_model(
    config: Config, name: str, kind: str, tied: bool, defaults: Mapping[str, Any] | None = None
) -> Architecture:
    """The architecture that ``text_config`` describes, read as `kind`, under the ``model_type`` of the whole.

    Parameters
    ----------
    config : Config
        The whole; where it has no ``text_config``, as the first configs of Qwen2-VL, the fields are its own.
    name : str
        Of the model.
    kind : str
        Family of the language model.
    tied : bool
        Whether the head is the embedding: the whole and its part may both say so, and families differ on who is heard.
    defaults : mapping
        Fields that such a ``text_config`` may leave out.
    """
    text = config.block("text_config")
    text = text if text.fields else config
    dtypes = (part.get(key) for part in (text, config) for key in ("dtype", "torch_dtype"))
    dtype = next((found for found in dtypes if found is not None), None)
    fields = {**(defaults or {}), **text.fields, "model_type": kind, "tie_word_embeddings": tied, "dtype": dtype}
    return replace(FAMILIES[kind](Config(fields, text.where), name), family=config.text("model_type"))
