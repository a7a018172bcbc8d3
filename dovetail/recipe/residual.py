"""Which tensors read the residual stream, write to it, or hold value heads; what a change of basis makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.hadamard import Rotation
from dovetail.recipe.arithmetic.rounding import check_finite

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint
    from dovetail.runtime.tensorfile import TensorInfo

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_FIRST, _SECOND, _LAST = "input_layernorm.weight", "post_attention_layernorm.weight", "model.norm.weight"
_LAYER = re.compile(r"(model\.layers\.\d+\.)(.+)")
_ELEMENTS_AT_ONCE = 1 << 22  # of 8 bytes
_PASSES = 7  # copies of them: as they came, with gains, with signs, before a pass, its sums, its differences, after it

# What a norm multiplies with is its weight plus this, by families whose blocks are those of `_ROLES`.
FAMILIES = {
    "llama": 0.0, "mistral": 0.0, "mixtral": 0.0, "qwen2": 0.0, "qwen3": 0.0, "qwen3_moe": 0.0, "gemma": 1.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """What a tensor has to do with the residual stream and with the values of attention.

    Parameters
    ----------
    reads : str
        The norm whose output it multiplies: a name within its layer, or a whole one.
    writes : bool
        Whether its outputs are added to the stream.
    values : {"", "made", "read"}
        Whether its outputs, or its inputs, are value heads.
    gain : bool
        Whether it is the gain of a norm of the stream.
    """

    reads: str = ""
    writes: bool = False
    values: str = ""
    gain: bool = False


_ROLES = tuple(
    (re.compile(pattern), role)
    for pattern, role in (
        (r"self_attn\.[qk]_proj\.weight", Role(_FIRST)),
        (r"self_attn\.v_proj\.weight", Role(_FIRST, values="made")),
        (r"self_attn\.v_proj\.bias", Role(values="made")),
        (r"self_attn\.o_proj\.weight", Role(writes=True, values="read")),
        (r"mlp\.(experts\.\d+\.)?(gate|up)_proj\.weight|block_sparse_moe\.experts\.\d+\.w[13]\.weight", Role(_SECOND)),
        (r"(mlp|block_sparse_moe)\.gate\.weight", Role(_SECOND)),  # routers
        (r"mlp\.(experts\.\d+\.)?down_proj\.weight|block_sparse_moe\.experts\.\d+\.w2\.weight", Role(writes=True)),
        (r"(self_attn\.o_proj|mlp\.down_proj)\.bias", Role(writes=True)),
        (r"(self_attn\.[qk]_proj|mlp\.(gate|up)_proj)\.bias|self_attn\.[qk]_norm\.weight", Role()),
        (r"self_attn\.rotary_emb\.inv_freq", Role()),  # a constant that old checkpoints hold
        (f"{re.escape(_FIRST)}|{re.escape(_SECOND)}", Role(gain=True)),
    )
)
_ONCE = {EMBED: Role(writes=True), HEAD: Role(_LAST), _LAST: Role(gain=True)}


def role_of(name: str) -> Role | None:
    """The role of a tensor of the checkpoint; None where it is not known."""
    found = _LAYER.fullmatch(name)
    if found is None:
        return _ONCE.get(name)
    return next((role for pattern, role in _ROLES if pattern.fullmatch(found[2])), None)


def check_known(graph: Graph, stored: Iterable[str] = ()) -> None:
    """Refuse a model in which something meets the residual stream in a way that is not known here.

    Raises
    ------
    DovetailError
        Names a tensor without a role, or says that attention and MLP run side by side.
    """
    named = (name for weight, layers in graph.weights() for name in weight.tensors(layers[:1]))
    lost = next((name for name in (*named, *stored) if role_of(name) is None), "")
    beside = not any(operator.name.startswith("residual_attention") for operator in graph.operators)
    if lost or beside:
        why = "how it meets the residual stream is not known" if lost else "attention and MLP run side by side"
        hint = f"a model of the families {', '.join(FAMILIES)}, of text alone"
        raise DovetailError("cannot be rotated", where=lost or "model", why=why, hint=hint, exit_code=INFEASIBLE)


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """A checkpoint in a new basis of the residual stream, tensor by tensor, computed in float64.

    Parameters
    ----------
    checkpoint : Checkpoint
        Before; norms are read from it when matrices that read them come.
    stream : Rotation
    values : Rotation or None
        Of each value head; None leaves them.
    offset : float
        What norms add to their weights.
    tied : bool
        Whether the head's matrix is the embedding's, and is to become its own.
    """

    checkpoint: Checkpoint
    stream: Rotation
    values: Rotation | None
    offset: float
    tied: bool

    def infos(self, info: TensorInfo) -> tuple[TensorInfo, ...]:
        """Names of what `tensors` makes."""
        if not self.tied or info.name not in (EMBED, HEAD):
            return (info,)
        return (info, replace(info, name=HEAD)) if info.name == EMBED else ()

    def tensors(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        """The tensor in the new basis; with the embedding comes the head where the two are tied."""
        if self.tied and name == HEAD:  # a copy beside the embedding, which nobody reads
            return {}
        check_finite(name, tensor)
        if name == EMBED:
            head = {HEAD: self._read(tensor, _LAST)} if self.tied else {}
            return {name: in_rows(tensor, self.stream), **head}
        role, kept = role_of(name) or Role(), tensor.dtype
        if role.gain:
            return {name: tensor.new_full(tensor.shape, 1.0 - self.offset)}
        turned = tensor.double() if role.values else tensor  # two changes, rounded once
        if role.reads:
            layer = _LAYER.fullmatch(name)
            turned = self._read(turned, (layer[1] if layer else "") + role.reads)
        if role.values and self.values is not None:
            turned = _heads(turned, self.values, inputs=role.values == "read")
        if role.writes:
            turned = in_rows(turned.T, self.stream).T if turned.ndim > 1 else in_rows(turned, self.stream)
        return {name: turned.to(kept).contiguous()}

    def _read(self, matrix: Tensor, norm: str) -> Tensor:
        """A matrix (outputs, channels) that reads the stream after a norm, whose gain it takes over."""
        gain = self.checkpoint.read(norm)[norm].double() + self.offset
        check_finite(norm, gain)
        return in_rows(matrix, lambda rows: self.stream(rows * gain))


def in_rows(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`change` applied to `x` (…, channels) in float64, some rows at a time, in the dtype of `x`."""
    torch = require("torch", "torch", to="rotate weights")
    rows = x.reshape(-1, x.shape[-1])
    found: Tensor = torch.empty(rows.shape, dtype=x.dtype)
    some = max(1, _ELEMENTS_AT_ONCE // rows.shape[1])
    for part, turned in zip(torch.split(rows, some), torch.split(found, some), strict=True):
        turned.copy_(change(part.double()))
    return found.reshape(x.shape)


def turning_bytes(info: TensorInfo, tied: bool, values: bool) -> float:
    """Most memory while `Turned.tensors` works on a tensor: itself, its copies, and those in float64 of some rows."""
    role = role_of(info.name) or Role()
    if info.name == EMBED:
        copies = info.bytes * (2 if tied else 1)
    elif role.values and values:
        copies = info.elements * 8 * 3  # in float64: before, in the order in which heads are rows, and after
    else:
        copies = info.bytes * (3 if role.writes else 1)  # turned over, after, and turned back
    return info.bytes + copies + 8 * _PASSES * min(info.elements, _ELEMENTS_AT_ONCE)


def _heads(tensor: Tensor, turn: Rotation, *, inputs: bool) -> Tensor:
    """Each head's channels turned: along the inputs of a matrix, or along the outputs of a matrix or a bias."""
    if inputs or tensor.ndim == 1:
        return in_rows(tensor.reshape(-1, turn.size), turn).reshape(tensor.shape)
    return in_rows(tensor.T.reshape(-1, turn.size), turn).reshape(tensor.T.shape).T
