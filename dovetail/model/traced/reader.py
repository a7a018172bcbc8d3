"""From a trace to operators, one after the other, each at the place in the module where it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dovetail.core.formats import Format
from dovetail.model.graph import Cache
from dovetail.model.operators import Linear, Operator
from dovetail.model.traced.atens import FLOPS, NOTHING, VIEWS, aten
from dovetail.model.traced.attention import Found, attentions
from dovetail.model.traced.contractions import CONTRACTIONS, Contraction
from dovetail.model.traced.export import Exported, module_path, refused
from dovetail.model.traced.flow import Flow, root
from dovetail.model.traced.pointwise import pointwise
from dovetail.model.traced.products import Products
from dovetail.model.traced.siblings import siblings, stacked, stacked_name, together
from dovetail.model.traced.size import BATCH, TOKENS
from dovetail.model.traced.split import splits

if TYPE_CHECKING:
    from torch.fx import Node


@dataclass(frozen=True, slots=True)
class Placed:
    """An operator whose numbers may be `Size`, where it is called, and what it keeps between steps."""

    path: str
    operator: Operator
    caches: tuple[Cache, ...] = ()


class Reader:
    """Walks a trace once.

    Parameters
    ----------
    trace : Exported
        The graph.
    formats : dict of str to Format
        How each parameter is stored.

    Attributes
    ----------
    vocabulary : int
        Rows of the table that token ids are looked up in; 0 without one.
    positions : int
        Rows of the smallest table that is looked up by position; 0 without one.
    mixes : str
        The first place where tokens meet other than in attention or a convolution; empty where there is none.
    """

    def __init__(self, trace: Exported, formats: dict[str, Format]) -> None:
        self.trace, self.flow = trace, Flow.of(trace)
        self.products = Products(self.flow, formats)
        self.attentions = attentions(self.flow)
        self.inner = {node for found in self.attentions.values() for node in found.inner}
        self.tables = dict(self._tables())
        self.vocabulary = next((rows for rows, learned in self.tables.values() if not learned), 0)
        self.positions = min((rows for rows, learned in self.tables.values() if learned), default=0)
        self.contractions = dict(self._contractions())
        weighted = {n: c for n, c in self.contractions.items() if self._weight(c) and n not in self.inner}
        self.hidden = self._hidden(weighted)
        self.splits = splits(self.flow, weighted, self.attentions, self.hidden)
        self.siblings = siblings(self.flow, weighted)
        self.mixes = ""
        self.convolves = False
        self.kept: set[tuple[Node, Node]] = set()

    def operators(self) -> Iterator[Placed]:
        """All operators, in order.

        Raises
        ------
        DovetailError
            One that is not understood, by its name and place.
        """
        group: list[Node] = []
        for node in self.trace.nodes:
            kind = aten(node)
            if (
                node.op != "call_function"
                or node not in self.flow.data
                or node in self.inner
                or kind in VIEWS | NOTHING
            ):
                continue
            if self.siblings.get(node, [node])[0] is not node:
                continue  # one kernel with the first of them
            single = node in self.attentions or node in self.contractions
            if group and (single or not together(module_path(group[-1]), module_path(node))):
                yield from self._elementwise(group)
                group = []
            if single:
                yield from self._single(node)
            elif kind in FLOPS or kind in CONTRACTIONS:
                group.append(node)
            else:
                raise refused(node, "not an operator that is understood", "an equivalent of plain torch operators")
        yield from self._elementwise(group)

    def _single(self, node: Node) -> Iterator[Placed]:
        if node in self.attentions:
            yield self._attention(node, self.attentions[node])
        else:
            yield from self._product(node, self.contractions[node])

    def _attention(self, node: Node, found: Found) -> Placed:
        operator = replace(found.attention, whole=node not in self.splits.divided)
        kept = Cache((), BATCH, TOKENS, operator.kv_heads, operator.head_dim, window=operator.window,
                     value_dim=operator.value_dim)  # fmt: skip
        new = operator.causal and found.kept not in self.kept  # another layer may have kept the same
        self.kept.add(found.kept)
        return Placed(module_path(node), operator, (kept,) if new else ())

    def _product(self, node: Node, found: Contraction) -> Iterator[Placed]:
        path = self._path_of(node, found)
        if max(found.k.degree, found.n.degree) or (found.batch * found.m).degree > 1:
            self._note_mixing(node)
        if self._is_head(node, found):
            name, split = "lm_head", "out"
        else:
            name, split = self._name(path, node), self.splits.products.get(node, "whole")
        convolution = aten(node).startswith("conv")
        linear = not convolution and self._weight(found) not in self.tables
        operators = list(self.products.operators(name, found, linear=linear, split=split))
        together = [self.contractions[n] for n in self.siblings.get(node, [])[1:]]
        if together:
            name = stacked_name([self._path_of(n, self.contractions[n]) for n in self.siblings[node]])
            more = [o for c in together for o in self.products.operators(name, c, linear=linear, split=split)]
            operators = [stacked(name, [*operators, *more])]
        for operator in operators:
            yield Placed(
                path, operator, tuple(self._kept(node)) if convolution and isinstance(operator, Linear) else ()
            )

    def _kept(self, node: Node) -> Iterator[Cache]:
        """The last inputs of a causal convolution over tokens, all but the one that the next step brings."""
        x, weight = node.args[:2]
        *_, positions = self.trace.shape(x)  # type: ignore[arg-type]
        taps = self.trace.shape(weight)[-1].constant or 1  # type: ignore[arg-type]
        channels = self.trace.shape(x)[1].constant  # type: ignore[arg-type]
        if positions.degree and taps > 1 and channels:
            self.convolves = True
            yield Cache((), BATCH, 1, 1, channels * (taps - 1), value_dim=0, kind="state")

    def _is_head(self, node: Node, found: Contraction) -> bool:
        """Whether it makes logits: the last product, of each token or sequence, as wide as the table has rows."""
        return (
            node is next(reversed(self.contractions))
            and found.n.constant == self.vocabulary
            and found.batch * found.m in (BATCH * TOKENS, BATCH)
        )

    def _elementwise(self, group: list[Node]) -> Iterator[Placed]:
        if not group:
            return
        if any(self.flow.elements(node).degree > 1 for node in group):
            self._note_mixing(group[0])
        path = module_path(group[0])
        if operator := pointwise(self._name(path, group[-1]), group, self.flow, self.products):
            table = any(aten(node) == "embedding" for node in group)
            inner = table or all(node in self.splits.divided for node in group)
            yield Placed(path, replace(operator, split=inner))

    def _note_mixing(self, node: Node) -> None:
        self.mixes = self.mixes or f"'{node.target}' in {module_path(node) or 'the module itself'}"

    def _contractions(self) -> Iterator[tuple[Node, Contraction]]:
        for node in self.trace.nodes:
            if node in self.flow.data and node.op == "call_function" and aten(node) in CONTRACTIONS:
                found = CONTRACTIONS[aten(node)](self.trace, node)
                if found is not None:
                    yield node, found

    def _weight(self, found: Contraction) -> str:
        """Name of the parameter that is one of the operands; empty where both are activations."""
        return self.flow.parameter(found.right) or self.flow.parameter(found.left)

    def _hidden(self, products: dict[Node, Contraction]) -> int:
        """Channels of the residual stream: the width that most products with a weight take or give."""
        widths = Counter(size.constant for c in products.values() for size in (c.k, c.n) if size.constant)
        return max(widths, key=lambda width: widths[width] or 0, default=0) or 0

    def _tables(self) -> Iterator[tuple[str, tuple[int, bool]]]:
        """Name, rows, and whether positions are looked up (not the data), of each table."""
        for node in self.trace.nodes:
            if node.op == "call_function" and aten(node) == "embedding" and self.flow.parameter(node.args[0]):  # type: ignore[arg-type]
                rows = self.trace.shape(root(node.args[0]))[0].constant or 0  # type: ignore[arg-type]
                each = self.flow.elements(node.args[1]).degree == 1  # type: ignore[arg-type] # not each pair of them
                yield self.flow.parameter(node.args[0]), (rows, each and node.args[1] not in self.flow.data)  # type: ignore[arg-type]

    def _name(self, path: str, node: Node) -> str:
        """A leaf module's own path, or a path and what is called there."""
        leaf = path and not list(self.trace.module.get_submodule(path).children())
        return path if leaf else f"{path}.{aten(node)}".removeprefix(".")

    def _path_of(self, node: Node, found: Contraction) -> str:
        """Where a product is called, or where its weight is if that is deeper (``self.layers[3].weight``)."""
        path = module_path(node)
        home = self._weight(found).rpartition(".")[0]
        return home if home.startswith(path) else path
