"""What a language model is made of: the numbers of its config, quirks resolved, names of its tensors included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.blocks import Block
from dovetail.model.blocks.attention import AttentionSpec
from dovetail.model.blocks.feed_forward import FeedForwardSpec
from dovetail.model.blocks.hyper_connection import HyperConnectionSpec
from dovetail.model.operators import Weight

if TYPE_CHECKING:
    from dovetail.model.traced import Traced
    from dovetail.model.vision import Tower

__all__ = ["Architecture", "AttentionSpec", "FeedForwardSpec", "LayerSpec", "Stored"]

Stored = tuple[Weight, tuple[int, ...]]  # a tensor and the layers it repeats over (none: once)


@dataclass(frozen=True, slots=True, eq=False)
class LayerSpec(ByContent):
    """One layer: a mixer of tokens, then a feed-forward block, each after a norm and added to the residual stream.

    Hybrid models have layers of one block only. With `parallel` both read the same stream and are added at once.
    What runs `after` them adds to the stream by itself.
    """

    mixer: Block | None
    feed_forward: Block | None
    parallel: bool = False
    after: Block | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Architecture(ByContent):
    """A language model, as its Hugging Face module holds it.

    Parameters
    ----------
    name, family : str
        Zoo name or path; the `model_type` that was matched.
    names : mapping of str to tuple of str
        Role to tensor names with ``{layer}`` (and ``{expert}``) to fill in: first the weight, then the bias. Blocks say
        which roles they read; a norm whose role is absent is not there. Of all models: ``embed, positions, norm_embed``
        (once); ``norm_in, norm_mixer_out, norm_post, norm_ffn_out`` (around the blocks), ``scale_mixer_out,
        scale_ffn_out`` (a learned factor for each channel of what a block adds); ``norm_out, head``.
    norm : {"rms", "layer"}
        Which kind of norm: RMSNorm has one vector, LayerNorm two (or as many as `names` has).
    learned_positions : int
        Rows of the table of positions; 0 for none.
    inputs_first : bool
        Linear weights are stored (inputs, outputs) as GPT-2's `Conv1D` does, not (outputs, inputs).
    fused_inputs_first : bool
        So are the tensors that hold all experts of a layer: (experts, inputs, outputs).
    dtype : str
        Dtype of the checkpoint.
    rope_theta : float
        Base of the rotary frequencies; 0 without rotary positions.
    embed_dim : Number or None
        Width of the token table where that is not `hidden` (projections ``project_in, project_out``).
    head_bias : bool
        The language-model head has a bias.
    beside_embed : Block or None
        What is made of the tokens and their embeddings once for all layers (per-layer inputs).
    before_head : Block or None
        What the rows that get logits pass through first (BERT's transform).
    streams : HyperConnectionSpec or None
        How blocks read and write several residual streams; None for the one stream that outputs are added to.
    others : tuple of (Weight, layers)
        Tensors of the module that no operator of a text step reads: counted, and held in memory.
    vision : Tower or None
        The image encoder of a vision-language model; its tensors are among `others`.
    matched_by : str
        How the family was found when the `model_type` is unknown; empty otherwise.
    traced : Traced or None
        The operators of a torch module, which then are the model's: `names` is empty, and `layers` hold no more than a
        description tells (heads).
    """

    name: str
    family: str
    hidden: Number
    vocab: Number
    layers: tuple[LayerSpec, ...]
    max_context: int
    tied: bool
    names: Mapping[str, tuple[str, ...]]
    norm: Literal["rms", "layer"] = "rms"
    learned_positions: int = 0
    inputs_first: bool = False
    fused_inputs_first: bool = False
    dtype: str = "bf16"
    rope_theta: float = 0.0
    embed_dim: Number | None = None
    head_bias: bool = False
    beside_embed: Block | None = None
    before_head: Block | None = None
    streams: HyperConnectionSpec | None = None
    others: tuple[Stored, ...] = ()
    vision: Tower | None = None
    matched_by: str = ""
    traced: Traced | None = None

    def first(self, field: str) -> Number | None:
        """A field of the first block that has it (``heads``, ``intermediate``), for a description; None without one."""
        blocks = (block for layer in self.layers for block in (layer.mixer, layer.feed_forward))
        return next((getattr(block, field) for block in blocks if hasattr(block, field)), None)
