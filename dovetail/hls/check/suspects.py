"""Which lines to look at first: sanitizer frames, the enclosing loop, uninitialised names, executed blocks, a diff."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dovetail.hls.compile import compiler
from dovetail.hls.harness import Outcome, Program
from dovetail.hls.sandbox import run
from dovetail.hls.signature import parse, text, walk

LOOPS = ("for_statement", "while_statement", "do_statement")
SIMILAR = 0.6  # of the lines shared: the reference is another version of this text, not another algorithm


def line_of(node: Any) -> int:
    """The line a node starts on, from 1."""
    return int(node.start_point[0]) + 1


def changed_lines(source: str, reference: str) -> list[tuple[int, str, str]]:
    """Lines that differ from a reference of the same shape: (line, the reference's text, this text).

    Empty when the two are not versions of one text. A line that was removed stands at the place where it was.
    """
    ours, theirs = [_plain(line) for line in source.splitlines()], [_plain(line) for line in reference.splitlines()]
    matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
    if matcher.ratio() < SIMILAR:
        return []
    out = []
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            continue
        for k in range(max(b1 - b0, 1)):
            before = theirs[a0 + k] if a0 + k < a1 else ""
            after = ours[b0 + k] if b0 + k < b1 else ""
            if before or after:
                out.append((min(b0 + k + 1, max(len(ours), 1)), before, after))
    return out


def _plain(line: str) -> str:
    return " ".join(re.sub(r"//.*", "", line).split())


def code_lines(program: Program, addresses: Iterable[int]) -> dict[int, int]:
    """The design's line of each code address of a program, where it has one."""
    listed = sorted(set(addresses))
    if not listed:
        return {}
    given = "\n".join(hex(address - 1) for address in listed).encode()
    said = run([compiler("addr2line"), "-e", program.path, "-i", "-a"], program.path.parent, stdin=given).out
    found: dict[int, int] = {}
    here = 0
    for line in said.splitlines():
        if line.startswith("0x"):
            here = int(line, 16) + 1
        elif match := re.search(r"design\.cpp:(\d+)", line):
            found.setdefault(here, int(match[1]))
    return found


def executed(program: Program, outcomes: Sequence[Outcome]) -> list[set[int]]:
    """The lines of the design each test executed."""
    lines = code_lines(program, {address for o in outcomes for address in o.blocks})
    return [{lines[a] for a in o.blocks if a in lines} for o in outcomes]


def spectrum(program: Program, failed: Sequence[Outcome], passed: Sequence[Outcome]) -> list[int]:
    """Lines by Ochiai's coefficient over tests that fail and pass, best first."""
    bad, fine = Counter[int](), Counter[int]()
    for lines in executed(program, failed):
        bad.update(lines)
    for lines in executed(program, passed):
        fine.update(lines)

    def ochiai(line: int) -> float:
        return float(bad[line] / max((len(failed) * (bad[line] + fine[line])) ** 0.5, 1e-9))

    return sorted(bad, key=lambda line: (-ochiai(line), line))


def endless(program: Program, outcome: Outcome, source: str) -> list[int]:
    """The innermost loop that holds all that ran last, and the loops around it."""
    places = code_lines(program, outcome.late)
    weight = Counter[int]()
    for address, count in outcome.late.items():
        if address in places:
            weight[places[address]] += count
    if not weight:
        return []
    last = set(weight)
    loops = [n for n in walk(parse(source)) if n.type in LOOPS]
    spans = [(line_of(n), n.end_point[0] + 1) for n in loops]
    owners = [_owner(line, spans) for line in last]
    holding = [span for span in spans if all(span[0] <= line <= span[1] for line in last)]
    inner = sorted(holding, key=lambda span: (span[0] in _ending(source), span[1] - span[0]))
    if not inner:  # spread over functions: the loop that holds most of it
        inner = [span for span, _ in Counter(span for span in owners if span).most_common(3)]
    return [start for start, _ in inner] or [line for line, _ in weight.most_common(3)]


def _ending(source: str) -> set[int]:
    """Lines of loops that run a constant number of times, whatever happens inside."""
    from dovetail.hls.check.pragmas.reading import functions_of

    return {loop.line for function in functions_of(source) for loop in function.loops
            if loop.values(function.known) is not None and not _assigned_within(loop.node, loop.counter)}  # fmt: skip


def _assigned_within(loop: Any, counter: str) -> bool:
    body = loop.child_by_field_name("body")
    changes = [n for n in walk(body) if n.type in ("assignment_expression", "update_expression")]
    return any(text(n.child_by_field_name("left") or n.child_by_field_name("argument")) == counter for n in changes)


def _owner(line: int, spans: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    holding = [span for span in spans if span[0] <= line <= span[1]]
    return min(holding, key=lambda span: span[1] - span[0]) if holding else None


def around_access(source: str, line: int) -> list[int]:
    """Lines behind an access out of bounds: the access, the header of the loop that drives it, the declaration.

    The header comes first where the index is a loop's own counter as it stands, since then its bound is wrong.
    """
    tree = parse(source)
    accesses = [n for n in walk(tree) if n.type == "subscript_expression" and line_of(n) == line]
    plain: list[int] = []
    offset: list[int] = []
    names = set()
    for access in accesses:
        names.add(text(access.child_by_field_name("argument")).split("[")[0].split(".")[-1])
        indices = access.child_by_field_name("indices") or access.named_children[-1]
        words = re.findall(r"[A-Za-z_]\w*", text(indices))
        simple = re.fullmatch(r"\[?\s*[A-Za-z_]\w*\s*\]?", text(indices)) is not None
        headers = [line_of(loop) for loop in _loops_of(access) if set(words) & _counters(loop)]
        (plain if simple else offset).extend(headers)
    arrays = [n for n in walk(tree) if n.type == "array_declarator" and _named(n) in names]
    declared = [line_of(n) for n in sorted(arrays, key=lambda n: n.parent.type == "parameter_declaration")]
    order = [*plain, line, *offset] if plain and not offset else [line, *offset, *plain]
    return list(dict.fromkeys([*order, *declared]))


def _named(declarator: Any) -> str:
    while declarator.child_by_field_name("declarator") is not None:
        declarator = declarator.child_by_field_name("declarator")
    return text(declarator)


def _loops_of(node: Any) -> list[Any]:
    out = []
    while node is not None:
        if node.type in LOOPS:
            out.append(node)
        node = node.parent
    return out


def _counters(loop: Any) -> set[str]:
    update = loop.child_by_field_name("update") or loop.child_by_field_name("condition")
    return set(re.findall(r"[A-Za-z_]\w*", text(update)))


def uninitialised(source: str) -> list[int]:
    """Declarations of local variables without a first value, those first whose first use reads."""
    found: list[tuple[int, int]] = []
    for function in walk(parse(source)):
        if function.type != "function_definition":
            continue
        body = function.child_by_field_name("body")
        uses = _first_uses(body)
        for node in walk(body):
            if node.type == "declaration" and "static" not in text(node).split("(")[0].split():
                for child in node.named_children:
                    if child.type in ("identifier", "array_declarator"):
                        found.append((uses.get(_named(child), 1), line_of(node)))
                    elif _partly(child):  # elements of a class that are not named keep what was there
                        found.append((2, line_of(node)))
    return [line for _, line in sorted(found)]


def always_zero(source: str) -> list[int]:
    """Declarations of variables that start at zero and never become anything else."""
    out = []
    for function in walk(parse(source)):
        if function.type != "function_definition":
            continue
        body = function.child_by_field_name("body")
        changed = {text(n.child_by_field_name("left") or n.child_by_field_name("argument")) for n in walk(body)
                   if n.type in ("assignment_expression", "update_expression")}  # fmt: skip
        handed = {text(n) for c in walk(body) if c.type == "argument_list" for n in c.named_children}
        for node in walk(body):
            if node.type == "init_declarator" and re.fullmatch(r"[0.]+f?", text(node.child_by_field_name("value"))):
                name = text(node.child_by_field_name("declarator"))
                if name not in changed | handed and re.search(rf"\b{re.escape(name)}\b", text(body)):
                    out.append(line_of(node))
    return out


def _partly(declarator: Any) -> bool:
    """Whether an array is declared with braces around less than two values."""
    if declarator.type != "init_declarator":
        return False
    target, value = declarator.child_by_field_name("declarator"), declarator.child_by_field_name("value")
    listed = value is not None and value.type == "initializer_list" and len(value.named_children) < 2
    return listed and target.type == "array_declarator"


def _first_uses(body: Any) -> Mapping[str, int]:
    """0 for names whose first use after the declaration reads them (or adds to them), 1 for a plain assignment."""
    first: dict[str, int] = {}
    for node in walk(body):
        if node.type != "identifier" or node.parent.type in ("array_declarator", "declaration", "init_declarator"):
            continue
        first.setdefault(text(node), _writes(node))
    return first


def _writes(node: Any) -> int:
    child = node
    while child.parent is not None and child.parent.type in ("subscript_expression", "field_expression"):
        if child.parent.named_children[0] != child:
            return 0
        child = child.parent
    up = child.parent
    left = up.child_by_field_name("left") if up is not None and up.type == "assignment_expression" else None
    return int(left == child and text(up.child_by_field_name("operator")) == "=")
