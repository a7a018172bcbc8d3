"""Step 3.7 (StepFun, 2026): Step 3.5 beside a tower whose patches two strided convolutions merge.

A flat config, without ``text_config``, describes the language model alone, and is read as one; `transformers` leaves
its fields unread and builds the default model. Where it names no heads of the window layers' own (Step 3.5's published
config does, 96 beside 64, in ``attention_other_setting``), those have the heads of the others, and the description says
so.
"""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import MAX_LAYERS, Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.step3 import step3p5
from dovetail.model.families.towers import pair, text_model
from dovetail.model.projections import Convolution, Product
from dovetail.model.views import WholeAndWindows
from dovetail.model.vision import Tower

_ROOT, _LAYER = "vision_model", "vision_model.transformer.resblocks.{layer}"
NAMES: dict[str, tuple[str, ...]] = {
    "patch": (f"{_ROOT}.conv1.weight",),
    "positions": (f"{_ROOT}.positional_embedding",),
    "norm_embed": pair(f"{_ROOT}.ln_pre"),
    "norm_in": pair(f"{_LAYER}.ln_1"),
    "qkv": (f"{_LAYER}.attn.in_proj_weight", f"{_LAYER}.attn.in_proj_bias"),
    "o": pair(f"{_LAYER}.attn.out_proj"),
    "scale_mixer_out": (f"{_LAYER}.ls_1.gamma",),
    "norm_post": pair(f"{_LAYER}.ln_2"),
    "up": pair(f"{_LAYER}.mlp.c_fc"),
    "down": pair(f"{_LAYER}.mlp.c_proj"),
    "scale_ffn_out": (f"{_LAYER}.ls_2.gamma",),
    "downsampler1": pair(f"{_ROOT}.vit_downsampler1"),
    "downsampler2": pair(f"{_ROOT}.vit_downsampler2"),
    "projector": pair("vit_large_projector"),
}
_MERGE = 4  # two convolutions of stride 2


@FAMILIES.register("step3p7")
def step3p7(config: Config, name: str) -> Architecture:
    if not config.get("text_config"):
        model = step3p5(Config({**config.fields, "model_type": "step3p5"}, config.where), name)
        said = "its flat config is read as the language model alone; it describes no tower"
        if not config.keys() & {"attention_other_setting", "num_sliding_attention_heads"}:
            said += ", nor heads of the window layers' own"
        return replace(model, family="step3p7", matched_by=said)
    model = text_model(config, name, "step3p5", {"step3p5": "step3p5"})
    bias = config.flag("projector_bias")
    tower = step_tower(config.block("vision_config"), model.hidden, model.dtype, bias)
    return replace(model, family="step3p7", others=tower.stored(), vision=tower)


def step_tower(vision: Config, outputs: int, dtype: str, projector_bias: bool) -> Tower:
    """The tower of a ``vision_config``, into `outputs` channels."""
    hidden = vision.whole("width", "hidden_size", default=1536)
    heads = vision.dividing(hidden, "heads", "num_attention_heads", default=16)
    layers = vision.whole("layers", "num_hidden_layers", default=47, high=MAX_LAYERS)
    side, size = vision.whole("patch_size", default=14), vision.whole("image_size", default=728)
    if (size // side) % _MERGE:
        what = f"{size // side} patches along a side do not divide into tokens of {_MERGE}"
        raise vision.error("image_size", what)
    inner = int(hidden * vision.number("mlp_ratio", default=8960 / 1536))
    attention = AttentionSpec(heads, heads, hidden // heads, True, True, causal=False)
    block = FeedForwardSpec(inner, gated=False, bias=True, activation=vision.text("hidden_act", default="quick_gelu"))
    arch = Architecture(
        "vision", family="vision", hidden=hidden, vocab=0, layers=(LayerSpec(attention, block),) * layers,
        max_context=0, tied=True, names=NAMES, norm="layer", dtype=dtype, learned_positions=(size // side) ** 2,
    )  # fmt: skip
    merging = (
        Convolution("downsampler1", hidden, 2 * hidden, 3, outputs_per_token=4),
        Convolution("downsampler2", 2 * hidden, 4 * hidden, 3),
        Product("projector", 4 * hidden, outputs, bias=projector_bias),
    )
    patch = vision.whole("num_channels", default=3) * side * side
    # the crops' side is the image processor's, for every model published
    cut = WholeAndWindows(size, 504 if size >= 504 else size, side)
    return Tower(arch, patch, side, _MERGE, merging, cut=cut)
