"""What families with a vision tower share: the language model of ``text_config``, and pairs of names."""

from __future__ import annotations

from collections.abc import Mapping

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
    fields = {**text.fields, "model_type": known[kind], "tie_word_embeddings": tied}
    return FAMILIES[known[kind]](Config(fields, text.where), name)
