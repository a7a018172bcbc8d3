"""Norms, activations, gates, residual additions, and views, which change nothing of a vector of channels."""

from __future__ import annotations

from typing import Any

from dovetail.accel.frontend.reader import Reader, matches, shape
from dovetail.accel.frontend.trace import kind
from dovetail.accel.graph import Activation, Add, Embedding, Multiply, Norm, Positions


@matches("aten.embedding.default")
def embedding(reader: Reader, node: Any) -> str | None:
    table, ids = node.args[:2]
    if reader.tensor(ids) != reader.source:
        return None
    rows = reader.array(table)
    return reader.add(Embedding(reader.name(node), (reader.source,), rows.shape[1], rows))


@matches(
    "aten.view.default", "aten.reshape.default", "aten.transpose.int", "aten.flatten.using_ints", "aten.squeeze.dim",
    "aten.unsqueeze.default", "aten.permute.default", "aten._unsafe_view.default", "aten.expand.default",
)  # fmt: skip
def view(reader: Reader, node: Any) -> str | None:
    """Heads are parts of a token's channels: however they are laid out, the vector is the same."""
    return reader.tensor(node.args[0])


@matches("aten.slice.Tensor")
def whole_slice(reader: Reader, node: Any) -> str | None:
    return reader.tensor(node.args[0]) if shape(node) == shape(node.args[0]) else None


@matches("aten.mul.Tensor")
def rms_norm(reader: Reader, node: Any) -> str | None:
    """``weight * (x * rsqrt(mean(x**2) + epsilon))``, written out."""
    still, moving = _sides(reader, node)
    inner = reader.trace.bare(moving)
    if still is None or kind(inner) != "aten.mul.Tensor":
        return None
    x, root = (reader.trace.bare(each) for each in inner.args)
    if kind(root) != "aten.rsqrt.default":
        return None
    mean, epsilon = reader.trace.bare(root.args[0]).args
    squares = reader.trace.bare(reader.trace.bare(mean).args[0])
    if kind(squares) != "aten.pow.Tensor_Scalar" or reader.trace.bare(squares.args[0]) is not x:
        return None
    return _norm(reader, node, x, still, None, float(epsilon), mean=False)


@matches("aten.rms_norm.default")
def fused_rms_norm(reader: Reader, node: Any) -> str | None:
    x, _, weight, epsilon = node.args
    return _norm(reader, node, x, weight, None, float(epsilon), mean=False)


@matches("aten.layer_norm.default")
def layer_norm(reader: Reader, node: Any) -> str | None:
    x, sizes, weight, bias, epsilon = (
        (*node.args, 1e-5)[:5] if len(node.args) >= 4 else (*node.args, None, None, 1e-5)[:5]
    )
    if len(sizes) != 1 or weight is None:
        raise reader.refused(node, "only over the channels, with a weight")
    return _norm(reader, node, x, weight, bias, float(epsilon), mean=True)


def _norm(reader: Reader, node: Any, x: Any, weight: Any, bias: Any, epsilon: float, mean: bool) -> str:
    source = reader.tensor(x)
    scale = reader.array(weight)
    channels = reader.channels(source)
    added = None if bias is None else reader.array(bias)
    return reader.add(
        Norm(reader.name(node), (source,), channels, scale, added, epsilon, mean, channels // scale.shape[-1])
    )


@matches("aten.silu.default", "aten.relu.default", "aten.relu_.default", "aten.silu_.default")
def activation(reader: Reader, node: Any) -> str | None:
    return _activation(reader, node, node.args[0], kind(node).removeprefix("aten.").partition(".")[0].strip("_"))


@matches("aten.gelu.default")
def gelu(reader: Reader, node: Any) -> str | None:
    return _activation(reader, node, node.args[0], "gelu_tanh" if node.kwargs.get("approximate") == "tanh" else "gelu")


@matches("aten.mul.Tensor")
def written_gelu(reader: Reader, node: Any) -> str | None:
    """``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` as GPT-2 writes it."""
    left, right = (reader.trace.bare(each) for each in node.args)
    one = next((each for each in (left, right) if kind(each) == "aten.add.Tensor"), None)
    half = next((each for each in (left, right) if kind(each) == "aten.mul.Tensor"), None)
    if one is None or half is None or kind(one.args[0]) != "aten.tanh.default" or 0.5 not in half.args:
        return None
    x = half.args[0] if half.args[1] == 0.5 else half.args[1]
    return _activation(reader, node, x, "gelu_tanh")


def _activation(reader: Reader, node: Any, x: Any, of: str) -> str:
    source = reader.tensor(x)
    return reader.add(Activation(reader.name(node), (source,), reader.channels(source), of))


@matches("aten.mul.Tensor")
def multiply(reader: Reader, node: Any) -> str | None:
    still, _ = _sides(reader, node)
    if still is not None:
        return None
    names = tuple(reader.tensor(each) for each in node.args)
    return reader.add(Multiply(reader.name(node, ".product"), names, reader.channels(names[0])))


@matches("aten.add.Tensor")
def add(reader: Reader, node: Any) -> str | None:
    still, moving = _sides(reader, node)
    if still is None:
        first, second = (reader.tensor(each) for each in node.args)
        order = [each.name for each in reader.nodes]
        first, second = sorted((first, second), key=order.index)  # the stream is older than what joins it
        return reader.add(Add(reader.name(node, ".sum"), (first, second), reader.channels(first)))
    if not hasattr(still, "meta") or len(shape(still)) < 2 or shape(still)[-2:] != shape(moving)[-2:]:
        return None
    source = reader.tensor(moving)
    table = reader.array(still)
    return reader.add(
        Positions(reader.name(still), (source,), reader.channels(source), table.reshape(table.shape[-2:]))
    )


def _sides(reader: Reader, node: Any) -> tuple[Any, Any]:
    """(what no input reaches, what one does) of two operands; (None, None) where both move."""
    first, second = node.args[:2]
    if reader.constant(first):
        return first, second
    return (second, first) if reader.constant(second) else (None, None)
