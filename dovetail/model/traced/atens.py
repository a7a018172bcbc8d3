"""The ATen operators that are understood, by what they do; everything else is refused by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.model.step import ACTIVATION_FLOPS, GELU_FLOPS, NORM_FLOPS, SOFTMAX_FLOPS

if TYPE_CHECKING:
    from torch.fx import Node

# The same elements seen otherwise, or some of them: nothing is computed, and a kernel that reads them reads through it.
_VIEWS = """
    _to_copy _unsafe_view alias broadcast_to chunk clone contiguous detach dropout expand expand_as feature_dropout
    flatten getitem lift_fresh_copy mT matrix_H movedim narrow native_dropout numpy_T permute repeat repeat_interleave
    reshape select slice split split_with_sizes squeeze swapaxes t tensor_split to transpose type_as unbind unflatten
    unsafe_chunk unsafe_split unsqueeze view view_as
    view_as_complex view_as_real
"""
VIEWS = frozenset(_VIEWS.split())
# Tensors made of shapes alone, whatever the values of their arguments.
_SHAPES = """
    empty empty_like full full_like new_empty new_full new_ones new_zeros ones ones_like scalar_tensor sym_numel
    sym_size zeros zeros_like
"""
SHAPES = frozenset(_SHAPES.split())
# FLOPs for each element written. Copies, comparisons and choices have none worth counting but move as many bytes.
_COPIES = """
    __and__ __or__ __xor__ all any argmax argmin argsort bitwise_and bitwise_not bitwise_or cat concat constant_pad_nd
    copy embedding eq fill flip gather ge gt hstack index index_put index_select isfinite isinf isnan le logical_and
    logical_not logical_or lt masked_fill masked_scatter maximum max min minimum ne one_hot pad roll scatter scatter_add
    polar sort stack take_along_dim topk tril triu where nan_to_num
"""
_SIMPLE = """
    abs add addcdiv addcmul amax amin ceil clamp clamp_max clamp_min clip cumprod cumsum diff div divide floor
    floor_divide fmod frac leaky_relu lerp mean mul multiply neg nansum pow prod reciprocal relu6 remainder round rsqrt
    rsub sign sqrt square sub subtract sum threshold true_divide
"""
_CURVED = (
    "acos asin atan atan2 celu cos cosh elu erf erfc exp exp2 expm1 log log10 log1p log2 selu sigmoid sin sinh tan"
)
FLOPS: dict[str, float] = {
    **dict.fromkeys(_COPIES.split(), 0.0),
    **dict.fromkeys(_SIMPLE.split(), 1.0),
    **dict.fromkeys([*_CURVED.split(), "logsumexp", "tanh"], 4.0),  # as many as `ACTIVATION_FLOPS` gives a SiLU
    **dict.fromkeys(["gelu", "glu", "hardsigmoid", "hardswish", "logit", "mish", "softplus"], GELU_FLOPS),
    **dict.fromkeys(["softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax"], SOFTMAX_FLOPS),
    **dict.fromkeys(["layer_norm", "native_layer_norm", "group_norm", "native_group_norm"], NORM_FLOPS["layer"]),
    **dict.fromkeys(["batch_norm", "var", "std", "var_mean", "norm", "linalg_vector_norm"], NORM_FLOPS["rms"]),
    "rms_norm": NORM_FLOPS["rms"],
    "relu": ACTIVATION_FLOPS["relu"],
    "silu": ACTIVATION_FLOPS["silu"],
}
SOFTMAX = frozenset(["softmax", "_softmax", "_safe_softmax"])
# What may lie between the scores of attention and its softmax, or after it, and change each score by itself.
_ON_SCORES = "add sub mul div masked_fill where tanh to clamp nan_to_num maximum minimum rsub"
ON_SCORES = frozenset(_ON_SCORES.split())
# Checks of the trace itself.
NOTHING = frozenset(["_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_assert_async"])


def aten(node: Node) -> str:
    """Name of the operator a node calls, without its overload and the underscore of in-place forms."""
    name = str((getattr(node.target, "_schema", None) and node.target._schema.name) or node.target)  # type: ignore[union-attr]
    name = name.partition("::")[2] or getattr(node.target, "__name__", name)
    return name if name.startswith("__") else name.removesuffix("_") or name
