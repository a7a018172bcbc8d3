"""What families with a vision tower share: the language model of ``text_config``, and pairs of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dovetail.model.architecture import Architecture
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES


def pair(path: str) -> tuple[str, str]:
    """Names of a weight and its bias."""
    return f"{path}.weight", f"{path}.bias"


def text_model(config: Config, name: str, default: str, known: Mapping[str, str]) -> Architecture:
    """The language model of ``text_config``.

    Parameters
    ----------
    default : str
        The ``model_type`` of a block that has none.
    known : mapping of str to str
        ``model_type`` of the block to the family that reads it.

    Raises
    ------
    DovetailError
        The block is of another type.
    """
    text = config.block("text_config")
    kind = text.text("model_type", default=default)
    if kind not in known:
        raise text.error("model_type", f"'{kind}' is not known here", why=f"one of {', '.join(known)}")
    tied = text.flag("tie_word_embeddings", default=config.flag("tie_word_embeddings"))
    return language_model(config, name, known[kind], tied)


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
