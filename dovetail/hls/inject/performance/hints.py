"""What the pragmas of a design ask for, by names and places that survive a change of the pragmas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dovetail.hls.inject.syntax import Pragma, Source, inside, text, value_of

LOOPS = ("for_statement", "while_statement", "do_statement")


@dataclass(frozen=True, slots=True)
class Split:
    """One partition of an array: `dim` counts from 1, 0 is all; `factor` 0 for complete."""

    dim: int
    kind: str
    factor: int


@dataclass(frozen=True, slots=True)
class Hints:
    """Pragmas by loop number (order of the text), function and variable.

    Parameters
    ----------
    pipelined : dict
        Loop number → initiation interval asked for (1 when none is named).
    functions : tuple of str
        Functions that are pipelined whole.
    unrolled : dict
        Loop number → factor; 0 is fully.
    splits : dict
        (function, array) → its partitions.
    modes : dict
        Port → interface mode.
    dataflow : tuple of (str, int)
        Where dataflow is asked for: a function and a loop number, -1 for the function itself, -2 for a place in the
        function after its first statements.
    independent : tuple of (int, str)
        Loop number and variable whose loop-carried dependence is declared false.
    """

    pipelined: dict[int, int]
    functions: tuple[str, ...]
    unrolled: dict[int, int]
    splits: dict[tuple[str, str], tuple[Split, ...]]
    modes: dict[str, str]
    dataflow: tuple[tuple[str, int], ...]
    independent: tuple[tuple[int, str], ...]


def loops_of(source: Source) -> list[Any]:
    """All loop nodes in the order of the text: a loop's number is its place here."""
    return list(source.of(*LOOPS))


def hints(source: Source) -> Hints:
    """What the pragmas ask for."""
    number = {node.start_byte: n for n, node in enumerate(loops_of(source))}
    found = Hints({}, (), {}, {}, {}, (), ())
    whole, flows, apart = [], [], []
    for pragma in source.pragmas:
        place = inside(pragma.node, *LOOPS)
        loop = number[place.start_byte] if place is not None and _directly(pragma.node, place) else -1
        match pragma.directive:
            case "pipeline" if not pragma.has("off"):
                if loop < 0:
                    whole.append(pragma.function)
                else:
                    found.pipelined[loop] = value_of(pragma.get("ii", "1"), source.constants) or 1
            case "unroll" if loop >= 0 and not (pragma.has("off")):
                found.unrolled[loop] = value_of(pragma.get("factor", "0"), source.constants) or 0
            case "array_partition":
                key = (pragma.function, pragma.get("variable"))
                found.splits[key] = (*found.splits.get(key, ()), _split(source, pragma))
            case "interface":
                mode = pragma.get("mode") or pragma.options[0][0]
                found.modes[pragma.get("port")] = mode
            case "dataflow":
                flows.append((pragma.function, loop if loop >= 0 else -2 if _late(pragma.node) else -1))
            case "dependence":
                if pragma.has("inter") and (pragma.has("false") or pragma.get("dependent") == "false"):
                    apart.append((loop, pragma.get("variable")))
    return Hints(found.pipelined, tuple(whole), found.unrolled, found.splits, found.modes, tuple(flows), tuple(apart))


def _split(source: Source, pragma: Pragma) -> Split:
    factor = 0 if pragma.kind == "complete" else value_of(pragma.get("factor", "1"), source.constants) or 1
    return Split(value_of(pragma.get("dim", "1"), {}) or 0, pragma.kind, factor)


def _directly(node: Any, loop: Any) -> bool:
    return bool(node.parent == loop.child_by_field_name("body"))


def _late(node: Any) -> bool:
    """Whether calls, loops or assignments come before it in its block."""
    before = [n for n in node.parent.named_children if n.end_byte <= node.start_byte]
    return any(n.type in ("expression_statement", "labeled_statement", *LOOPS) for n in before)


def bank_of(index: tuple[int, ...], shape: tuple[int, ...], splits: tuple[Split, ...]) -> tuple[int, ...] | None:
    """The bank an element is in; None when the array is in registers (complete in every dimension)."""
    bank, complete = [], [False] * len(shape)
    for split in splits:
        for dim in range(len(shape)) if split.dim == 0 else [split.dim - 1]:
            if dim >= len(shape):
                continue
            if split.kind == "complete" or split.factor >= shape[dim]:
                complete[dim] = True
                bank.append(index[dim])
            elif split.kind == "cyclic":
                bank.append(index[dim] % split.factor)
            else:
                bank.append(index[dim] // -(-shape[dim] // split.factor))
    return None if complete and all(complete) else tuple(bank)


def name_of(node: Any) -> str:
    """The array a chain of subscripts starts from."""
    while node.type == "subscript_expression":
        node = node.child_by_field_name("argument")
    return text(node)
