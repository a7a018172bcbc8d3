"""The audio tower of Gemma 4, a conformer after USM (arXiv 2303.01037): its tensors, which are held in memory."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.core.formats import plain
from dovetail.model.architecture import Stored
from dovetail.model.config import Config
from dovetail.model.operators import Weight

_ROOT, _LAYER = "model.audio_tower", "model.audio_tower.layers.{layer}"


def audio_tensors(audio: Config, outputs: int, dtype: str) -> tuple[Stored, ...]:
    """Every tensor of the tower and of its projection to `outputs` channels; none without ``audio_config``."""
    if not audio.fields:
        return ()
    layers = tuple(range(audio.whole("num_hidden_layers", default=12)))
    once = (*_subsampling(audio), *_projections(audio, outputs))
    shapes = [*((shape, ()) for shape in once), *((shape, layers) for shape in _layer(audio))]
    return tuple(
        (Weight(name, rows, cols, plain(dtype), linear=name.endswith("linear.weight")), repeated)
        for (name, rows, cols), repeated in shapes
    )


def _subsampling(audio: Config) -> Iterator[tuple[str, int, int]]:
    """Two convolutions of 3 x 3 and stride 2 over the spectrogram, a norm after each, and a product."""
    channels = audio.whole_list("subsampling_conv_channels") or [128, 32]
    if len(channels) != 2 or min(channels) < 1:
        raise audio.error("subsampling_conv_channels", f"{channels} are not the channels of two convolutions")
    for index, (inputs, made) in enumerate(((1, channels[0]), channels)):
        root = f"{_ROOT}.subsample_conv_projection.layer{index}"
        yield f"{root}.conv.weight", made, inputs * 9
        yield f"{root}.norm.weight", 1, made
    hidden = audio.whole("hidden_size", default=1024)
    yield f"{_ROOT}.subsample_conv_projection.input_proj_linear.weight", hidden, channels[0] // 4 * channels[1]


def _projections(audio: Config, outputs: int) -> Iterator[tuple[str, int, int]]:
    made, hidden = audio.whole("output_proj_dims", default=1536), audio.whole("hidden_size", default=1024)
    yield f"{_ROOT}.output_proj.weight", made, hidden
    yield f"{_ROOT}.output_proj.bias", 1, made
    yield "model.embed_audio.embedding_projection.weight", outputs, made


def _layer(audio: Config) -> Iterator[tuple[str, int, int]]:
    """Half a feed-forward block, attention with relative positions, a light convolution, the other half; norms."""
    hidden = audio.whole("hidden_size", default=1024)
    heads = audio.dividing(hidden, "num_attention_heads", default=8)
    for half in ("feed_forward1", "feed_forward2"):
        yield f"{_LAYER}.{half}.ffw_layer_1.linear.weight", 4 * hidden, hidden
        yield f"{_LAYER}.{half}.ffw_layer_2.linear.weight", hidden, 4 * hidden
    for product in ("q_proj.linear", "k_proj.linear", "v_proj.linear", "post.linear", "relative_k_proj"):
        yield f"{_LAYER}.self_attn.{product}.weight", hidden, hidden
    yield f"{_LAYER}.self_attn.per_dim_scale", 1, hidden // heads
    yield f"{_LAYER}.lconv1d.linear_start.linear.weight", 2 * hidden, hidden
    yield f"{_LAYER}.lconv1d.depthwise_conv1d.weight", hidden, audio.whole("conv_kernel_size", default=5)
    yield f"{_LAYER}.lconv1d.linear_end.linear.weight", hidden, hidden
    norms = [f"feed_forward{half}.{side}_layer_norm" for half in (1, 2) for side in ("pre", "post")]
    norms += ["lconv1d.pre_layer_norm", "lconv1d.conv_norm", "norm_pre_attn", "norm_post_attn", "norm_out"]
    for norm in norms:
        yield f"{_LAYER}.{norm}.weight", 1, hidden
