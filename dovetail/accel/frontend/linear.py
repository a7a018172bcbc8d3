"""Products with weights: linear layers, GPT-2's transposed ones, slices of fused ones, convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dovetail.accel.frontend.reader import Reader, matches, shape
from dovetail.accel.frontend.trace import kind
from dovetail.accel.graph import Convolution, Linear, Pool, Reals


@matches("aten.linear.default")
def linear(reader: Reader, node: Any) -> str | None:
    x, weight, bias = [*node.args, None][:3]
    return _product(reader, node, x, reader.array(weight), bias)


@matches("aten.addmm.default")
def transposed(reader: Reader, node: Any) -> str | None:
    bias, x, weight = node.args
    return _product(reader, node, x, reader.array(weight).T, bias)


@matches("aten.matmul.default", "aten.mm.default")
def plain(reader: Reader, node: Any) -> str | None:
    x, weight = node.args
    return _product(reader, node, x, reader.array(weight).T, None) if reader.constant(weight) else None


def _product(reader: Reader, node: Any, x: Any, weight: Reals, bias: Any) -> str:
    source = reader.tensor(x)
    added = None if bias is None else reader.array(bias)
    return reader.add(Linear(reader.name(node), (source,), weight.shape[0], np.ascontiguousarray(weight), added))


@matches("<built-in function getitem>")
def part(reader: Reader, node: Any) -> str | None:
    """One part of a linear layer whose result is split: a layer of its own, with some of the rows."""
    parent, index = node.args
    if kind(parent) not in ("aten.split.Tensor", "aten.chunk.default", "aten.split_with_sizes.default"):
        return None
    whole = reader.trace.bare(_under_views(reader, parent.args[0]))
    if kind(whole) not in ("aten.linear.default", "aten.addmm.default"):
        return None
    sizes = [int(each.shape[-1]) for each in parent.meta["val"]]
    if sum(sizes) != shape(whole)[-1]:
        return None
    begin = sum(sizes[:index])
    before = {each.name for each in reader.nodes}
    found = MADE[kind(whole)](reader, whole)
    layer = reader.nodes[-1]
    if found in before or not isinstance(layer, Linear):
        return None
    rows = slice(begin, begin + sizes[index])
    bias = None if layer.bias is None else layer.bias[rows]
    reader.nodes[-1] = replace(
        layer, name=f"{reader.name(whole, '.part')}", channels=sizes[index], weight=layer.weight[rows], bias=bias
    )
    return reader.nodes[-1].name


MADE = {"aten.linear.default": linear, "aten.addmm.default": transposed}


def _under_views(reader: Reader, node: Any) -> Any:
    node = reader.trace.bare(node)
    while kind(node) in ("aten.view.default", "aten.reshape.default"):
        node = reader.trace.bare(node.args[0])
    return node


@matches("aten.conv2d.default")
def convolution(reader: Reader, node: Any) -> str | None:
    x, weight, bias, stride, padding, dilation, groups = list(node.args) + _CONVOLUTION[len(node.args) :]
    plain = (_one(stride), _one(padding), _one(dilation), groups)
    if None in plain or plain[2:] != (1, 1):
        raise reader.refused(node, "only convolutions of one group, undilated, the same in both directions")
    source = reader.tensor(x)
    return reader.add(
        Convolution(
            reader.name(node), (source,), int(np.prod(shape(node)[1:])), reader.array(weight),
            None if bias is None else reader.array(bias), _map(x), plain[0] or 1, plain[1] or 0,
        )
    )  # fmt: skip


_CONVOLUTION: list[Any] = [None, None, None, [1, 1], [0, 0], [1, 1], 1]


@matches("aten.batch_norm.default")
def folded(reader: Reader, node: Any) -> str | None:
    """A batch norm after a convolution is part of its weights."""
    x, weight, bias, mean, variance, training, _, epsilon = node.args[:8]
    source = reader.tensor(x)
    layer = next(each for each in reader.nodes if each.name == source)
    if training or not isinstance(layer, Convolution) or len(reader.trace.bare(x).users) > 1:
        return None
    scale = reader.array(weight) / np.sqrt(reader.array(variance) + epsilon)
    old = 0.0 if layer.bias is None else layer.bias
    shifted = (old - reader.array(mean)) * scale + reader.array(bias)
    changed = replace(layer, weight=layer.weight * scale[:, None, None, None], bias=shifted)
    reader.nodes[reader.nodes.index(layer)] = changed
    return source


@matches("aten.max_pool2d.default", "aten.avg_pool2d.default")
def pool(reader: Reader, node: Any) -> str | None:
    arguments = [*node.args, None]
    x, size, stride, rest = arguments[0], arguments[1], arguments[2], arguments[3:]
    square, step = _one(size), _one(stride or size)
    if square is None or step is None or any(_one(p) not in (0, None) for p in rest[:1] if p is not None):
        raise reader.refused(node, "only squares without padding")
    source = reader.tensor(x)
    how = "max" if "max" in kind(node) else "mean"
    return reader.add(
        Pool(reader.name(node, f".{how}"), (source,), int(np.prod(shape(node)[1:])), how, _map(x), square, step)
    )


def _map(node: Any) -> tuple[int, int, int]:
    _, channels, height, width = shape(node)
    return channels, height, width


def _one(value: Any) -> int | None:
    """The number that is the same in both directions."""
    both = value if isinstance(value, list | tuple) else [value]
    return int(both[0]) if len(set(both)) == 1 else None
