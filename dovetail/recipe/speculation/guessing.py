"""A decode step that verifies guesses: what every method of speculation makes of a graph. No torch.

A step becomes a pass over the newest token of each sequence and its guesses, plus what it takes to guess. All
candidates are in one pass, so products have ``B (1 + guesses)`` rows, and logits are made for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Attention, Linear, Operator, Pointwise, Weight

HEAD = "lm_head"
BESIDE = "kv_select"  # operators that a method of the cache adds beside a pass
_CARRIED = ("weights", "act", "otherwise", "kv_format", "groups")  # what recipes before this one may have changed


@dataclass(frozen=True, slots=True)
class Guessing:
    """What it takes to guess beside a pass: its operators, and caches.

    `reads` says that what guesses has to read the prompt too; its operators are then those of a prefill, too.
    """

    operators: tuple[Operator, ...] = ()
    caches: tuple[Cache, ...] = ()
    reads: bool = False


def is_decode(graph: Graph) -> bool:
    """Whether it is a decode step: one new token behind others."""
    return bool(np.all(np.equal(graph.tokens, 1)) and np.any(np.greater(graph.context, 0)))


def chain_tokens(acceptance: Number, length: Number) -> Number:
    """Expected tokens of a step with `length` guesses in a row, each right with `acceptance` if those before it are.

    ``1 + a + … + a^length`` (Leviathan et al., arXiv 2211.17192, equation 1).
    """
    a = np.minimum(acceptance, 1.0 - 1e-12)
    return (1.0 - a ** (length + 1)) / (1.0 - a)


def verifying(graph: Graph, guesses: Number, tokens_per_step: Number, guessing: Guessing | None = None) -> Graph:
    """`graph`, a decode step, as one that verifies `guesses` of each sequence; any other graph holds the weights.

    Parameters
    ----------
    guesses : Number
        Of each sequence; an array broadcasts with the graph's shapes.
    tokens_per_step : Number
        Expected tokens of a sequence, the model's own included.

    Raises
    ------
    DovetailError
        The step speculates already, or cannot be made for several tokens.
    """
    guessing = guessing or Guessing()
    if not is_decode(graph):
        more = guessing.operators if guessing.reads else ()
        held = () if guessing.reads else guessing.operators
        return _holding(replace(graph, operators=(*graph.operators, *more)), held)
    if graph.origin is None or np.any(np.not_equal(graph.tokens_per_step, 1.0)):
        why = "it guesses already" if graph.origin else "nothing says what it is with several tokens"
        raise DovetailError("not a plain decode step", why=why, hint="one method of speculation", exit_code=INFEASIBLE)
    plain, wide = (graph.origin.graph(1 + each, 1 + each) for each in (0, guesses))
    operators = _carried(graph, plain, wide, guesses)
    caches = tuple(_cache(now, *_origin(now, plain.caches, wide.caches), guesses) for now in graph.caches)
    return replace(
        wide, operators=(*operators, *guessing.operators), caches=(*caches, *guessing.caches), others=graph.others,
        tokens_per_step=tokens_per_step,
    )  # fmt: skip


def _origin(now: Cache, plain: Sequence[Cache], wide: Sequence[Cache]) -> tuple[Cache, Cache]:
    """The caches of the model that a cache of a changed graph is, or is some layers of."""
    pairs = zip(plain, wide, strict=True)
    return next(pair for pair in pairs if pair[0].kind == now.kind and {*now.layers} <= {*pair[0].layers})


def _holding(graph: Graph, operators: Sequence[Operator]) -> Graph:
    """The graph with what `operators` read, and it does not, in memory."""
    known = {weight.name for weight, _ in graph.weights()}
    more = {(w.name, o.layers): (w, o.layers) for o in operators for w in o.weights if w.name not in known}
    return replace(graph, others=(*graph.others, *more.values()))


def _carried(graph: Graph, plain: Graph, wide: Graph, guesses: Number) -> tuple[Operator, ...]:
    """The operators of `wide` with what recipes made of those of `plain` in `graph`."""
    before, after = (
        {(o.name, layer): o for o in each.operators for layer in o.layers or (-1,)} for each in (plain, wide)
    )
    found, seen = [], set()
    for now in graph.operators:
        if now.name.startswith(BESIDE):  # of a method of the cache: no part of the pass
            found.append(now)
            continue
        places = [(now.name, layer) for layer in now.layers or (-1,)]
        if unknown := [place for place in places if place not in before]:
            raise _other_operators(unknown[0][0])
        seen.update(places)
        found.append(_wider(now, before[places[0]], after[places[0]], guesses))
    if missing := before.keys() - seen:
        raise _other_operators(min(missing)[0])
    return tuple(found)


def _other_operators(name: str) -> DovetailError:
    why = f"a method before changed which operators there are ({name})"
    return DovetailError("cannot verify guesses", why=why, hint="speculation first", exit_code=INFEASIBLE)


def _wider(now: Operator, then: Operator, wide: Operator, guesses: Number) -> Operator:
    """`wide`, in the layers of `now`, with what recipes made of `then` in `now`."""
    values = {name: getattr(now, name) for name in _CARRIED if hasattr(now, name)}
    if isinstance(now, Attention) and isinstance(then, Attention) and not _alike(now.kv_len, then.kv_len):
        values["kv_len"] = now.kv_len + guesses
    return replace(wide, layers=now.layers, **values)


def _cache(now: Cache, then: Cache, wide: Cache, guesses: Number) -> Cache:
    length = wide.length if _alike(now.length, then.length) else now.length + guesses
    return replace(wide, layers=now.layers, format=now.format, groups=now.groups, length=length)


def _alike(one: Number, other: Number) -> bool:
    return np.array_equal(one, other)


def head_operator(graph: Graph) -> Linear:
    """The product that makes logits. Raises `DovetailError` for a graph without."""
    found = next((o for o in graph.operators if isinstance(o, Linear) and o.name.partition("@")[0] == HEAD), None)
    if found is None:
        raise DovetailError("no output head", hint="a causal language model", exit_code=INFEASIBLE)
    return found


def logits(graph: Graph, rows: Number, of: str) -> Linear:
    """The output head once more, for `rows` states of what guesses; its matrix is held once."""
    return replace(head_operator(graph), name=f"{HEAD}@{of}", m=rows)


def owned(weight: Weight, by: str) -> Weight:
    """A tensor of what guesses: of another file than the model's, and nothing that recipes for the model change."""
    return replace(weight, name=f"{by}.{weight.name}", linear=False)


def pointwise(name: str, read: Number, written: Number, flops: float, act: str) -> Pointwise:
    return Pointwise(name, (), (), read, written, flops, act)
