"""Vision towers: patches of an image through an encoder and a projector, into tokens of the language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dovetail.core.content import ByContent
from dovetail.core.formats import Number, plain
from dovetail.model.architecture import Architecture, Stored
from dovetail.model.build import layer, layer_kinds
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Operator
from dovetail.model.projections import Projection
from dovetail.model.resolution import filled, mean_window, whole_tokens
from dovetail.model.step import GELU_FLOPS, NORM_FLOPS, Step
from dovetail.model.views import Cut, View


@dataclass(frozen=True, slots=True, eq=False)
class Projector(ByContent):
    """Two products with an activation between them, from merged patches to the language model's width.

    Parameters
    ----------
    role : str
        Prefix of its roles: ``<role>_norm`` (absent: none), ``<role>_up``, ``<role>_down``.
    norm_width : Number
        Channels that the norm sees: one patch's, or those of the merged patches.
    inputs, inner, outputs : Number
        Widths.
    bias : bool
        Of both products.
    """

    role: str
    norm_width: Number
    inputs: Number
    inner: Number
    outputs: Number
    bias: bool = True

    def operators(self, step: Step) -> Iterator[Operator]:
        """Norm, product, activation, product over `step.rows` merged patches."""
        up, down, rows = f"{self.role}_up", f"{self.role}_down", step.rows
        if f"{self.role}_norm" in step.arch.names:
            vectors = tuple(step.vectors(f"{self.role}_norm", self.norm_width))
            flops = NORM_FLOPS[step.arch.norm]
            yield step.pointwise(f"{self.role}_norm", rows * self.inputs, rows * self.inputs, flops, vectors)
        yield step.linear(up, {up: self.inner}, self.inputs, bias=self.bias)
        yield step.pointwise(f"{self.role}_activation", rows * self.inner, rows * self.inner, GELU_FLOPS, split=True)
        yield step.linear(down, {down: self.outputs}, self.inner, bias=self.bias, split="in")


@dataclass(frozen=True, slots=True, eq=False)
class Tower(ByContent):
    """An image encoder, as its module holds it.

    Parameters
    ----------
    arch : Architecture
        Width, layers and names of the encoder; its ``vocab`` and head are not used.
    patch : Number
        Numbers of one patch: channels x frames x side x side.
    side : int
        Pixels of a patch's side.
    merge : int
        Patches along each side that become one token.
    size : int
        Side in pixels to which every image is brought; 0 where the resolution is the image's own.
    pixels : tuple of int
        Least and most pixels of an image of its own resolution, between which it is scaled.
    budget : int
        Patches of the largest image, which every image is scaled to come near and then padded to; 0 without such.
    window : int
        Patches along each side of the squares in which layers whose attention has a window look around.
    prefix : int
        Positions beside the patches (a class token), which give no tokens to the language model.
    patch_bias : bool
        The patch embedding has a bias.
    projectors : tuple of Projection
        From merged patches to the language model; more than one where inner layers are projected too, or where one
        follows another.
    cut : Cut or None
        How an image becomes what the encoder sees, where `size` and `pixels` do not say it.
    """

    arch: Architecture
    patch: Number
    side: int
    merge: int
    projectors: tuple[Projection, ...]
    size: int = 0
    pixels: tuple[int, int] = (0, 0)
    budget: int = 0
    window: int = 0
    prefix: int = 0
    patch_bias: bool = False
    cut: Cut | None = None

    def views(self, height: int, width: int) -> tuple[View, ...]:
        """The pictures that the encoder sees of an image of so many pixels: one, unless the image is cut."""
        return (View(1, *self.patches(height, width)),) if self.cut is None else self.cut.views(height, width)

    def patches(self, height: int, width: int) -> tuple[int, int]:
        """Patches down and across of an image of so many pixels, after the processor has brought it to size."""
        if self.size:
            return self.size // self.side, self.size // self.side
        unit = self.side * self.merge
        if self.budget:
            down, across = filled(height, width, unit, self.budget * self.side**2)
        else:
            down, across = whole_tokens(height, width, unit, *self.pixels)
        return down // self.side, across // self.side

    def tokens(self, height: int, width: int) -> int:
        """Tokens of the language model that one image takes, without the markers that a prompt sets around them."""
        return sum(each.pictures * (each.down * each.across // self.merge**2) for each in self.views(height, width))

    def encoding(self, images: Number, height: int, width: int) -> Graph:
        """The operators that encode `images` images of so many pixels: one pass for each size of picture."""
        passes = [
            self.graph(images * view.pictures, view.down, view.across, f"~{i}" if i else "")
            for i, view in enumerate(self.views(height, width))
        ]
        return replace(passes[0], operators=tuple(operator for each in passes for operator in each.operators))

    def graph(self, images: Number, down: Number, across: Number = 1, suffix: str = "") -> Graph:
        """The operators that encode `images` pictures of `down` x `across` patches each; `suffix` ends their names."""
        arch, encoded = self.arch, (self.budget or down * across) + self.prefix
        step = Step(arch, (), suffix, plain(arch.dtype), images, encoded, 0, arch.dtype, False)
        return Graph(tuple(self._operators(step, down, across)), (), images, down * across, 0, arch.hidden)

    def stored(self) -> tuple[Stored, ...]:
        """Every tensor of the tower."""
        return tuple(self.graph(1, self.merge, self.merge).weights())

    def _operators(self, step: Step, down: Number, across: Number) -> Iterator[Operator]:
        yield from self._embedding(step)
        kinds = layer_kinds(self.arch.layers)
        for spec, layers in kinds:
            kind = f"@{layers[0]}" if len(kinds) > 1 else ""
            here = replace(step, layers=layers, suffix=kind + step.suffix)
            yield from (self._windowed(operator, down, across) for operator in layer(here, spec))
        yield from step.norm("norm_out", "norm_out")
        merged = replace(step, tokens=down * across / self.merge**2 if self.merge > 1 else down * across)
        for projector in self.projectors:
            yield from projector.operators(merged)

    def _embedding(self, step: Step) -> Iterator[Operator]:
        arch, grid = self.arch, replace(step, tokens=step.tokens - self.prefix)
        yield grid.linear("patch_embed", {"patch": arch.hidden}, self.patch, bias=self.patch_bias, quantisable=False)
        tables = tuple(step.vectors("class_token", arch.hidden))
        if arch.learned_positions:
            tables += tuple(step.weights("positions", arch.learned_positions, arch.hidden, linear=False))
        if tables:
            yield step.pointwise("positions", 2 * step.flow, step.flow, 1.0, tables)
        yield from step.norm("norm_embed", "norm_embed")

    def _windowed(self, operator: Operator, down: Number, across: Number) -> Operator:
        """Attention within windows is attention over more, shorter sequences: the mean length keeps its FLOPs exact."""
        if not isinstance(operator, Attention) or operator.window is None:
            return operator
        length = mean_window(down, across, self.window)
        windows = operator.batch * operator.tokens / length
        return replace(operator, batch=windows, tokens=length, kv_len=length, window=None, chunked=False)


def rooted(names: dict[str, tuple[str, ...]], root: str, head: str) -> dict[str, tuple[str, ...]]:
    """A language model's names where its module sits inside another: `root` in place of ``model``."""
    moved = {role: tuple(n.replace("model.", f"{root}.", 1) for n in found) for role, found in names.items()}
    return {**moved, "head": (head,)}
