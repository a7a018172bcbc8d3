"""The rules: each looks at one kind of pragma and says what does not fit, with the schedule that shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from dovetail.hls.check.pragmas.model import Access, Array, Function, Pragma, inside
from dovetail.hls.check.pragmas.schedule import (
    Partition,
    Region,
    addresses,
    interval,
    order_of,
    partition_of,
    regions,
    resolved,
)  # fmt: skip
from dovetail.hls.check.report import Finding
from dovetail.hls.design import ARRAY_MODES, SCALAR_MODES
from dovetail.hls.signature import text, walk

Rule = Callable[[Function, Sequence[Function]], Iterator[Finding]]
BURST = 0.75  # of the steps of an access go to the same or the next word: a burst
CAREFUL = re.compile(r"\b(?:old|prev|last|previous)\w*\b", re.IGNORECASE)


def _found(kind: str, line: int, message: str, evidence: str) -> Finding:
    return Finding(kind, line, message, evidence, None, (line,), "pragma lint")


def _mode(pragma: Pragma) -> str:
    words = [pragma.options.get("mode", "").lower(), *sorted(pragma.flags)]
    return next((word for word in words if word in (*SCALAR_MODES, *ARRAY_MODES, "ap_ctrl_none", "ap_ctrl_hs")), "")


def interface_modes(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """AMS, SMA: the mode of a port against what the port is; IDAP: a memory's mode on a stream."""
    declared = [(p, _mode(p), p.options.get("port", "")) for p in function.pragmas if p.name == "interface"]
    masters = {port for _, mode, port in declared if mode == "m_axi"}
    for pragma, mode, port in declared:
        if port in function.scalars and mode in ARRAY_MODES and not _packet(function.scalars[port]):
            yield _found("AMS", pragma.line, f"'{port}' is a scalar: mode {mode} is for arrays",
                         f"{function.scalars[port]} {port}")  # fmt: skip
        elif port in function.streams and mode in (*ARRAY_MODES[:3],):
            yield _found("IDAP", pragma.line, f"'{port}' is a stream: mode {mode} addresses a memory",
                         "streams are read and written in order")  # fmt: skip
        elif port in function.streams and mode in SCALAR_MODES:
            yield _found("SMA", pragma.line, f"'{port}' is a stream: mode {mode} is for scalars", "one value per call")
        elif _memory(function, port) and mode in SCALAR_MODES and not (mode == "s_axilite" and port in masters):
            yield _found("SMA", pragma.line, f"'{port}' is an array: mode {mode} is for scalars",
                         f"{_count(function.arrays[port])} elements")  # fmt: skip


def _packet(ctype: str) -> bool:
    return "axi" in ctype or "struct" in ctype


def _memory(function: Function, port: str) -> bool:
    """Whether a port holds several elements: declared with extents, or a pointer that is indexed."""
    array = function.arrays.get(port)
    if array is None or not array.port:
        return False
    return any(array.extents) or any(a.array == port and a.words != ("0",) for a in function.accesses)


def _count(array: Array) -> str:
    total = 1
    for extent in array.extents:
        total *= extent
    return str(total) if total else "several"


def partition_factor(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """FND: a factor that does not divide the extent it splits; DID: a dimension that is not there."""
    for pragma, array, partition in _partitions(function):
        rank = len(array.extents)
        if partition.dim > rank:
            yield _found("DID", pragma.line, f"'{array.name}' has {rank} dimensions, not {partition.dim}",
                         f"extents {array.extents}")  # fmt: skip
            continue
        twice = next((q for q, a, p in _partitions(function) if a is array and q.line < pragma.line
                      and p.dim == partition.dim), None)  # fmt: skip
        if twice is not None and twice.name == pragma.name:
            message = f"'{array.name}' is split along dimension {partition.dim} twice"
            yield _found("DID", pragma.line, message, f"first at line {twice.line}")
            continue
        if partition.kind == "complete":
            continue
        if not partition.factor:
            yield _found(
                "APT", pragma.line, f"a {partition.kind} partition of '{array.name}' without a factor", "no banks"
            )
            continue
        sizes = array.extents if partition.dim == 0 else (array.extents[partition.dim - 1],)
        uneven = next((size for size in sizes if size and size % partition.factor), 0)
        if uneven and not _window(function, array, partition):
            whole, rest = divmod(uneven, partition.factor)
            message = f"factor {partition.factor} does not divide '{array.name}', {uneven} long"
            yield _found("FND", pragma.line, message, f"{uneven} = {whole} x {partition.factor} + {rest}")


def _window(function: Function, array: Array, partition: Partition) -> bool:
    """Whether one iteration takes as many neighbours along the dimension as there are banks: a sliding window."""
    for region in regions(function):
        along: set[int] = set()
        for access in function.accesses:
            if access.array == array.name and inside(access.node, region.scope):
                wanted = addresses(function, access, region, 1) or set()
                along |= {address[partition.dim - 1] for address in wanted if len(address) >= max(partition.dim, 1)}
        if len(along) == partition.factor and max(along) - min(along) == partition.factor - 1:
            return True
    return False


def unroll_factor(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """FND: an unroll factor that does not divide the trip count: every copy then checks for the end."""
    for pragma in function.pragmas:
        loop = function.loop_of(pragma.scope) if pragma.name == "unroll" else None
        factor = pragma.number("factor", function.known)
        values = loop.values(function.known) if loop is not None else None
        if factor and values and len(values) % factor and "skip_exit_check" not in pragma.flags:
            whole, rest = divmod(len(values), factor)
            message = f"factor {factor} does not divide the {len(values)} iterations of the loop"
            yield _found("FND", pragma.line, message, f"{len(values)} = {whole} x {factor} + {rest}")


def _partitions(function: Function) -> Iterator[tuple[Pragma, Array, Partition]]:
    for pragma in function.pragmas:
        array = function.arrays.get(pragma.options.get("variable", ""))
        if pragma.name in ("array_partition", "array_reshape") and array is not None:
            yield pragma, array, partition_of(pragma, function.known)


def partition_shape(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """APT, DID: another type, or another dimension, would serve the parallel accesses that this one does not."""
    every_region = regions(function)
    places = [r for r in every_region if not any(o.scope != r.scope and inside(o.scope, r.scope) for o in every_region)]
    for pragma, array, partition in _partitions(function):
        if partition.dim > len(array.extents) or not all(array.extents):
            continue
        if partition.kind != "complete" and not partition.factor:
            continue
        others = tuple(p for q, a, p in _partitions(function) if a is array and q is not pragma)
        for region in places:
            now = interval(function, array, region, partition, *others)
            if now <= region.target:
                continue
            better = _better(function, array, region, partition, others, now)
            if better is not None:
                kind, what, then = better
                message = f"{_said(partition)} of '{array.name}' does not serve its accesses: {what}"
                yield _found(kind, pragma.line, message,
                             f"initiation interval {now} at line {region.line}, {then} with {what}")  # fmt: skip
                break


def _said(partition: Partition) -> str:
    factor = f" factor {partition.factor}" if partition.kind != "complete" else ""
    return f"{partition.kind}{factor} along dimension {partition.dim}"


def _better(
    function: Function,
    array: Array,
    region: Region,
    partition: Partition,
    others: tuple[Partition, ...],
    now: int,
) -> tuple[str, str, int] | None:
    tries: list[tuple[int, int, str, str]] = []
    for dim in range(1, len(array.extents) + 1):
        if dim != partition.dim and partition.dim != 0 and all(dim != other.dim for other in others):
            other = Partition(partition.kind, partition.factor, dim)
            tries.append((interval(function, array, region, other, *others), 0, "DID", f"dimension {dim}"))
    for kind in ("cyclic", "block", "complete"):
        if kind != partition.kind:
            extent = array.extents[max(partition.dim, 1) - 1]
            other = Partition(kind, partition.factor or _wanted(extent), partition.dim)
            name = "complete" if kind == "complete" else f"{kind} factor {other.factor}"
            tries.append((interval(function, array, region, other, *others), 1 + (kind == "complete"), "APT", name))
    best = min(tries, default=None)
    return (best[2], best[3], best[0]) if best is not None and best[0] < now else None


def _wanted(extent: int) -> int:
    return next((f for f in (4, 2, 8) if extent % f == 0), 1)


def dataflow_place(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """DFP: dataflow over something that is not a sequence of tasks."""
    ours = {f.name for f in every}
    for pragma in function.pragmas:
        if pragma.name != "dataflow":
            continue
        why = _no_dataflow(function, pragma, ours)
        if why:
            lines = (pragma.line, pragma.scope.start_point[0] + 1)
            message = f"dataflow has no tasks to overlap here: {why}"
            yield Finding("DFP", pragma.line, message, "a region of tasks in a row", None, lines, "pragma lint")


def _no_dataflow(function: Function, pragma: Pragma, ours: set[str]) -> str:
    body = _body(pragma.scope)
    statements = (
        [n for n in body.named_children if n.type not in ("comment", "preproc_call", "declaration")] if body else []
    )
    tasks = [n for n in statements if _task(n, ours)]
    block = pragma.node.parent
    if block is not None and block.parent is not None and block.parent.type in ("if_statement", "else_clause"):
        return "it is inside a condition"
    if any(p.name == "pipeline" and inside(pragma.scope, p.scope) for p in function.pragmas if p is not pragma):
        return "the region is pipelined"
    if len(tasks) < 2:
        return f"{len(tasks)} task" + "s" * (len(tasks) != 1)
    if function.around(pragma.scope) and function.loop_of(pragma.scope) is None:
        return "it is in a nested block"
    before = [n for n in tasks if n.end_byte <= pragma.node.start_byte]
    if before:
        return f"a task at line {before[0].start_point[0] + 1} comes before it"
    decides = ("if_statement", "return_statement", "switch_statement", "break_statement")
    stray = next((n for n in statements if n not in tasks and n.type in decides), None)
    if stray is not None and not (stray.type == "return_statement" and stray is statements[-1]):
        return f"a condition at line {stray.start_point[0] + 1} decides about tasks"
    return ""


def _body(scope: Any) -> Any:
    body = scope.child_by_field_name("body") if scope is not None else None
    return body if body is not None and body.type == "compound_statement" else None


def _task(node: Any, ours: set[str]) -> bool:
    """A loop, or a statement that calls a function (of this text, or one with several arguments)."""
    if node.type in ("for_statement", "while_statement", "labeled_statement"):
        return True
    if node.type != "expression_statement":
        return False
    call = next((n for n in node.named_children if n.type == "call_expression"), None)
    if call is None:
        return False
    name = text(call.child_by_field_name("function")).split("<")[0].split("::")[-1]
    return name in ours or "." not in text(call.child_by_field_name("function"))


def fifo_order(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """IDAP: a port that hands elements over in order, accessed out of order, twice, or both ways."""
    for pragma in function.pragmas:
        port = pragma.options.get("port", "")
        if pragma.name != "interface" or _mode(pragma) not in ("ap_fifo", "axis") or port not in function.arrays:
            continue
        for where, name in _passed(function, port, every):
            why = _out_of_order(where, [a for a in where.accesses if a.array == name])
            if why:
                yield _found("IDAP", pragma.line, f"mode {_mode(pragma)} hands '{port}' over in order: {why}",
                             f"accesses of '{name}' in {where.name}")  # fmt: skip
                break


def _out_of_order(function: Function, accesses: Sequence[Access]) -> str:
    if not accesses:
        return ""
    line = accesses[0].line
    if any(a.written for a in accesses) and any(a.read for a in accesses):
        return f"it is read and written (line {line})"
    again = next((a for a in accesses if a.loops and not a.loops[-1].counter), None)
    if again is not None and not _steps_within(again):
        return f"line {again.line} takes the same element again"
    seen: set[tuple[Any, ...]] = set()
    for access in accesses:
        key = (*(loop.line for loop in access.loops), *access.words)
        if key in seen and access.loops:
            return f"line {access.line} takes an element that was taken before"
        seen.add(key)
    if len(accesses) == 1:
        order = order_of(function, accesses[0])
        if order is None:
            return f"the index at line {line} depends on data" if resolved_by_data(function, accesses[0]) else ""
        if any(b != a + 1 for a, b in pairwise(order)):
            return f"line {line} goes from element {_jump(order)}"
        return ""
    parts = [order_of(function, access) for access in accesses]
    if any(part is None for part in parts):
        return ""
    loops = {tuple(loop.line for loop in access.loops) for access in accesses}
    if len(loops) == 1 and accesses[0].loops:  # several in one iteration: one after the other
        merged = [at for step in zip(*(part for part in parts if part is not None)) for at in step]
    else:
        merged = [at for part in parts if part is not None for at in part]
    if any(b != a + 1 for a, b in pairwise(merged)):
        return f"elements are taken as {', '.join(map(str, merged[:4]))}, …"
    return ""


def _steps_within(access: Access) -> bool:
    """Whether the innermost loop changes a variable of the index."""
    names = {text(n) for index in access.indices for n in walk(index) if n.type == "identifier"}
    changes = [n for n in walk(access.loops[-1].node) if n.type in ("update_expression", "assignment_expression")]
    changed = {text(n.child_by_field_name("argument") or n.child_by_field_name("left")) for n in changes}
    return bool(names & changed)


def _jump(order: Sequence[int]) -> str:
    a, b = next((a, b) for a, b in pairwise(order) if b != a + 1)
    return f"{a} to {b}"


def resolved_by_data(function: Function, access: Access) -> bool:
    """Whether an index depends on an array, a stream or a call, not on counters and constants alone."""
    nodes = [*access.indices, *(node for _, node in resolved(function, access))]
    kinds = {n.type for node in nodes for n in walk(node)}
    return (
        bool(kinds & {"subscript_expression", "call_expression", "field_expression"})
        or order_of(function, access) is None
    )


def _passed(function: Function, port: str, every: Sequence[Function], depth: int = 0) -> Iterator[tuple[Function, str]]:
    """Where a port is accessed: here under its name, and in the functions it is handed to under theirs."""
    yield function, port
    if depth > 4:
        return
    for node in walk(function.node):
        if node.type != "call_expression":
            continue
        name = text(node.child_by_field_name("function")).split("<")[0].split("::")[-1]
        callee = next((f for f in every if f.name == name and f is not function), None)
        if callee is None:
            continue
        given = [text(a) for a in node.child_by_field_name("arguments").named_children]
        taken = _taken(callee)
        for argument, parameter in zip(given, taken):
            if argument == port and parameter in callee.arrays:
                yield from _passed(callee, parameter, every, depth + 1)


def _taken(function: Function) -> list[str]:
    listed = next((n for n in walk(function.node) if n.type == "parameter_list"), None)
    items = [n for n in listed.named_children if n.type.endswith("parameter_declaration")] if listed is not None else []
    return [next((text(n) for n in walk(i.child_by_field_name("declarator")) if n.type == "identifier"), "")
            if i.child_by_field_name("declarator") is not None else "" for i in items]  # fmt: skip


def bursts(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """RAMB: m_axi accesses that no burst can serve: strided, or decided by data."""
    for pragma in function.pragmas:
        port = pragma.options.get("port", "")
        if pragma.name != "interface" or _mode(pragma) != "m_axi" or port not in function.arrays:
            continue
        for where, name in _passed(function, port, every):
            bad = next(((a, why) for a, why in _random(where, name) if why), None)
            if bad is not None:
                access, why = bad
                message = f"'{port}' is accessed at random through m_axi (line {access.line}): {why}"
                lines = (access.line, pragma.line)
                yield Finding(
                    "RAMB", access.line, message, "one bus transaction per element", None, lines, "pragma lint"
                )
                break


def _random(function: Function, name: str) -> Iterator[tuple[Access, str]]:
    """Accesses of a port with why no burst serves them; those of one iteration count together."""
    together: dict[tuple[Any, ...], list[Access]] = {}
    for access in function.accesses:
        if access.array == name and access.loops:
            key = (access.written, *(loop.line for loop in access.loops))
            together.setdefault(key, []).append(access)
    for group in together.values():
        yield group[0], _no_burst(function, group)


def _no_burst(function: Function, group: Sequence[Access]) -> str:
    orders = [order_of(function, access, 512) for access in group]
    for access, order in zip(group, orders):
        if order is None:
            return f"the index [{access.words[0]}] depends on data" if _by_data(function, access) else ""
    steps = [sorted(set(step)) for step in zip(*(order for order in orders if order is not None))]
    order = [at for step in steps for at in step]
    if len(order) < 4:
        return ""
    near = sum(b - a in (0, 1) for a, b in pairwise(order)) / (len(order) - 1)
    return f"it goes from element {_leap(order)}" if near < BURST else ""


def _leap(order: Sequence[int]) -> str:
    a, b = next((a, b) for a, b in pairwise(order) if b - a not in (0, 1))
    return f"{a} to {b}"


def _by_data(function: Function, access: Access) -> bool:
    """Whether data decide the address of every element; a base that data decide is fine when a row follows it."""
    inner = access.loops[-1]
    if not any(_drawn(function, name, inner.node) for name in _index_names(function, access)):
        indices = [n for index in access.indices for n in walk(index)]
        if not any(n.type in ("subscript_expression", "call_expression") for n in indices):
            values = [n for n in indices if n.type == "identifier" and text(n) == inner.counter]
            if values and text(access.indices[-1]).count("*") == 0:
                return False
    nodes = [*access.indices, *(node for _, node in resolved(function, access))]
    if any(n.type in ("subscript_expression", "call_expression") for node in nodes for n in walk(node)):
        return True
    counters = {loop.counter for loop in access.loops}
    names = {text(n) for index in access.indices for n in walk(index) if n.type == "identifier"}
    free = names - counters - set(function.known) - set(function.scalars) - set(function.locals)
    return any(_drawn(function, name) for name in free)


def _index_names(function: Function, access: Access) -> set[str]:
    """Variables an index depends on, through local ones too."""
    nodes = [*access.indices, *(node for _, node in resolved(function, access))]
    return {text(n) for node in nodes for n in walk(node) if n.type == "identifier"} | {
        name for name, _ in resolved(function, access)
    }


def _drawn(function: Function, name: str, scope: Any = None) -> bool:
    """Whether a variable is assigned from an array or a stream, within a scope."""
    for node in walk(scope if scope is not None else function.node):
        if node.type in ("assignment_expression", "init_declarator"):
            target = node.child_by_field_name("left") or node.child_by_field_name("declarator")
            value = node.child_by_field_name("right") or node.child_by_field_name("value")
            if text(target) == name and value is not None:
                return any(n.type in ("subscript_expression", "call_expression") for n in walk(value))
    return False


def nested_pipelines(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """MLP: a pipeline inside a pipeline; the inner loop would be unrolled away."""
    piped = [p for p in function.pragmas if p.name == "pipeline" and "off" not in p.flags]
    for pragma in piped:
        outer = next((o for o in piped if o.scope != pragma.scope and inside(pragma.scope, o.scope)), None)
        if outer is not None:
            message = f"this loop lies in one that is pipelined at line {outer.line}: it is unrolled, not pipelined"
            yield Finding("MLP", outer.line, message, f"pipelines at lines {outer.line} and {pragma.line}", None,
                          (outer.line, outer.scope.start_point[0] + 1, pragma.line), "pragma lint")  # fmt: skip
            return


def inner_loops(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """ILNU: loops inside a pipelined or unrolled one that cannot be, or are told not to be, fully unrolled."""
    for region in regions(function):
        for loop in function.within(region.scope):
            unrolled = function.of(loop.node, "unroll")
            if function.of(loop.node, "pipeline"):
                continue
            why = _not_unrolled(function, loop, unrolled, region)
            if why:
                line = unrolled[0].line if unrolled else region.line
                message = f"the loop at line {loop.line} stays a loop: {why}"
                yield Finding("ILNU", line, message, f"inside the region of line {region.line}", None,
                              tuple(dict.fromkeys((line, region.line, loop.line))), "pragma lint")  # fmt: skip
                return


def _not_unrolled(function: Function, loop: Any, unrolled: Sequence[Pragma], region: Region) -> str:
    values = loop.values(function.known)
    if values is None and region.pipelined:
        return "its trip count is not a constant, so it cannot be unrolled"
    count = len(values) if values is not None else 0
    factor = unrolled[0].number("factor", function.known) if unrolled else None
    if unrolled and "off" in unrolled[0].flags:
        return "unrolling is switched off"
    if factor and count > factor and not count % factor:
        return f"unrolled by {factor} of {count} iterations"
    if not region.pipelined and not unrolled and count > 1:
        return f"{count} iterations in a row in every unrolled copy"
    return ""


def false_dependences(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """DEP: a dependence declared false that an iteration a few steps on does have."""
    for pragma in function.pragmas:
        if pragma.name != "dependence" or not _declared_false(pragma):
            continue
        name = pragma.options.get("variable", "")
        for array in [name] if name else sorted({a.array for a in function.accesses}):
            why = _carried(function, pragma, array)
            if why:
                yield _found("DEP", pragma.line, f"the dependence on '{array}' is real: {why}", "read after write")
                break


def _declared_false(pragma: Pragma) -> bool:
    values = {value.lower() for value in pragma.options.values()}
    return bool({"false"} & (pragma.flags | values)) and "intra" not in (pragma.flags | values)


def _carried(function: Function, pragma: Pragma, array: str) -> str:
    scope = pragma.scope
    writes = [a for a in function.accesses if a.array == array and a.written and inside(a.node, scope)]
    reads = [a for a in function.accesses if a.array == array and a.read and inside(a.node, scope)]
    for write in writes:
        for read in reads:
            found = _meeting(function, write, read, scope)
            if found:
                return found
    return ""


def _meeting(function: Function, write: Access, read: Access, scope: Any) -> str:
    """How an iteration of the loop reads what an earlier one wrote; the loops around it stand at their first values."""
    if not write.loops or not read.loops:
        return ""
    stored, loaded = (order_of(function, access, 2048, scope) for access in (write, read))
    if stored is None or loaded is None:
        same = write.words == read.words and _by_data(function, read)
        if same and not CAREFUL.search(text(function.node)):
            return f"two iterations may meet in [{read.words[0]}] (line {read.line})"
        return ""
    if len(stored) != len(loaded):
        return ""
    last: dict[int, int] = {}
    for step, (put, got) in enumerate(zip(stored, loaded)):
        if got in last and step - last[got] >= 1:
            return f"element {got}, written at line {write.line}, is read {step - last[got]} iterations later"
        last[put] = step
    return ""


RULES: tuple[Rule, ...] = (
    interface_modes, partition_factor, unroll_factor, partition_shape, dataflow_place, fifo_order, bursts,
    nested_pipelines, inner_loops, false_dependences,
)  # fmt: skip


def lint(functions: Sequence[Function]) -> list[Finding]:
    """Everything the rules say about a text's functions; at most one finding per line and class."""
    out: dict[tuple[str, int], Finding] = {}
    for function in functions:
        for rule in RULES:
            for finding in rule(function, functions):
                out.setdefault((finding.kind, finding.line), finding)
    return list(out.values())
