"""What a checkpoint's config says of how its layers are stored: rules, the first that names a layer decides."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.formats import Format
from dovetail.model.storage.names import Names

ALL = None  # the names of a rule for every linear layer


@dataclass(frozen=True, slots=True)
class Rule:
    """Layers and how their matrices are stored.

    Parameters
    ----------
    form : Format or None
        The format; None for the dtype of the config.
    act : str
        Dtype in which the layer's products run where the chip has it: that of the quantised inputs; empty where inputs
        are not quantised (weights are unpacked first).
    names : Names or None
        The layers; None for every linear layer.
    """

    form: Format | None
    act: str = ""
    names: Names | None = ALL


KEPT = Rule(None)


@dataclass(frozen=True, slots=True)
class Storage:
    """How a checkpoint stores its weights, and in what engines hold its cache.

    Parameters
    ----------
    rules : tuple of Rule
        For linear layers, the first that names a layer decides; a layer that none names has the dtype of the config, as
        embeddings, norms, biases and routers always do.
    kv_dtype : str
        Dtype of the KV cache that the checkpoint asks for.
    unread : str
        A form that is named by the config and not described: weights are then counted in the dtype of the config.
    """

    rules: tuple[Rule, ...] = ()
    kv_dtype: str = "bf16"
    unread: str = ""

    def rule(self, tensor: str, layer: int) -> Rule:
        """What is said of one linear layer's tensor; experts of a layer are alike, the first stands for all."""
        module = tensor.replace("{layer}", str(layer)).replace("{expert}", "0").removesuffix(".weight")
        return next((rule for rule in self.rules if rule.names is None or module in rule.names), KEPT)


def kept(*names: str) -> Rule:
    """The rule that leaves the layers of these names in the dtype of the config."""
    return Rule(None, names=Names(names))
