"""One text that holds many variants of itself, chosen while it runs: every line keeps its number.

Statements and conditions are written out once for each variant behind a question for the number chosen, so no type
has to be known. Each stands on a line of a file of its own, so the compiler says which of them it does not take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.check.repairs.edits import Edit, edits
from dovetail.hls.check.repairs.names import Known, held, names_of
from dovetail.hls.check.repairs.tables import entries
from dovetail.hls.signature import parse, text, walk

CHOICE = "dovetail::state().choice"
VARIANT = "variant"  # the file that variants are said to stand in, each on the line of its number
_COUNTER = Known("", "")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


Other = tuple[str, float, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A statement, a condition or a first value, and the texts that may stand there instead: (text, cost, slip)."""

    start: int
    end: int
    line: int
    kind: str
    node: Any = field(repr=False, compare=False)
    others: tuple[Other, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """One of them by its number: where, what was put, how unlikely a slip it undoes, how suspicious its line."""

    number: int
    line: int
    new: str
    cost: float
    place: Place = field(repr=False)
    slip: str = ""


def places(source: str) -> list[Place]:
    """Everything that can be replaced, with what may replace it."""
    tree, raw = parse(source), source.encode()
    literals = tuple(dict.fromkeys(_literals(tree)))[:8]
    out: list[Place] = []
    for function in walk(tree):
        if function.type == "function_definition" and function.child_by_field_name("body") is not None:
            known = names_of(function, tree)
            for node in walk(function.child_by_field_name("body")):
                out += _places(node, held(known, node), literals, raw)
    return [place for place in out if place.others]


def _literals(tree: Any) -> Iterator[str]:
    yield "1"
    for node in walk(tree):
        if node.type == "number_literal" and not re.fullmatch(r"[0.]+f?|1", text(node)):
            if node.parent.type == "unary_expression" and text(node.parent).startswith("-"):
                yield f"({text(node.parent)})"
            elif node.parent.type in ("init_declarator", "assignment_expression", "initializer_list"):
                yield text(node)
    for node in walk(tree):
        if node.type == "init_declarator" and "const" in text(node.parent).split("=")[0]:
            named = node.child_by_field_name("declarator")
            if named is not None and named.type == "identifier":
                yield text(named)


def _places(node: Any, known: Mapping[str, Known], literals: tuple[str, ...], raw: bytes) -> Iterator[Place]:
    up = node.parent
    if node.type == "compound_statement":
        yield from _tasks(node)
    if node.type == "expression_statement":
        yield _place(node, "statement", [*_edited(node, known, literals, raw), *_whole(node, known)])
    elif node.type == "return_statement":
        yield _place(node, "statement", _edited(node, known, literals, raw))
    elif node.type == "declaration" and up is not None and up.type == "compound_statement":
        yield from _unset(node)
    if node.type in ("for_statement", "while_statement", "do_statement", "if_statement"):
        condition = node.child_by_field_name("condition")
        if condition is not None:
            inner = condition if node.type == "for_statement" else next(iter(condition.named_children), None)
            if inner is not None and inner.type != "declaration":
                yield _place(inner, "condition", _edited(inner, known, literals, raw))
        update = node.child_by_field_name("update")
        if update is not None:
            stepped = [
                (f"{text(update)}, {n}++", 0.3, "")
                for n in _counters(node)
                if n not in text(update) and not known.get(n, _COUNTER).fixed
            ]
            yield _place(update, "update", [*_edited(update, known, literals, raw), *stepped])
        elif node.type == "for_statement":
            yield from _stepless(node, known)
    if node.type == "init_declarator" and _scalar(node):
        value = node.child_by_field_name("value")
        yield _place(value, "value", _edited(value, known, literals, raw))
    elif node.type == "init_declarator" and "constexpr" not in text(node.parent).split("=")[0]:
        yield from (_place(entry, "entry", others) for entry, others in entries(node))


def _place(node: Any, kind: str, others: Sequence[Other]) -> Place:
    line = int(node.start_point[0]) + 1
    flat = dict.fromkeys((_flat(new), cost, slip) for new, cost, slip in others if _flat(new) != _flat(text(node)))
    return Place(node.start_byte, node.end_byte, line, kind, node, tuple(flat))


def _flat(words: str) -> str:
    return " ".join(_COMMENT.sub(" ", words).split())


def _edited(node: Any, known: Mapping[str, Known], literals: tuple[str, ...], raw: bytes) -> list[Other]:
    return [
        (edit.of(raw, node.start_byte, node.end_byte), edit.cost, edit.slip) for edit in _safe(node, known, literals)
    ]


def _safe(node: Any, known: Mapping[str, Known], literals: tuple[str, ...]) -> Iterator[Edit]:
    if not any(n.type == "lambda_expression" for n in walk(node)):
        yield from edits(node, known, literals)


def _whole(node: Any, known: Mapping[str, Known]) -> Iterator[Other]:
    """Instead of a statement: none; twice; and for one that does nothing, a variable set to zero."""
    said = _flat(text(node))
    if said == ";":
        plain = [n.name for n in known.values() if not n.fixed and not n.extents and "stream" not in n.ctype]
        yield from ((f"{name} = 0;", 0.3, "unset") for name in plain[:12])
        listed = [n.name for n in known.values() if not n.fixed and n.extents and all(n.extents)]
        yield from ((f"dovetail::blank({name});", 0.35, "unset") for name in listed[:6])
        return
    for counter in _around_counters(node):
        if len(re.findall(rf"\b{counter}\b", said)) > 1:
            yield from ((re.sub(rf"\b{counter}\b", f"({counter} {by})", said), 0.35, "index") for by in ("+ 1", "- 1"))
    if node.named_children and node.named_children[0].type in ("call_expression", "assignment_expression"):
        yield "{}", 0.5, ""
    if ".write(" in said or ".read(" in said or "<<" in said or ">>" in said:
        yield f"{said} {said}", 0.6, ""


def _tasks(block: Any) -> Iterator[Place]:
    """Calls in a row: each two neighbours the other way round."""
    run: list[Any] = []
    for node in [*block.named_children, None]:
        if node is not None and node.type == "expression_statement" and node.named_children[:1]:
            called = node.named_children[0].child_by_field_name("function")
            if called is not None and called.type == "identifier":
                run.append(node)
                continue
        if len(run) > 1:
            whole = [text(task) for task in run]
            for place in range(len(run) - 1):
                swapped = [*whole[:place], whole[place + 1], whole[place], *whole[place + 2 :]]
                line = int(run[place].start_point[0]) + 1
                others = ((_flat(" ".join(swapped)), 0.3, ""),)
                yield Place(run[0].start_byte, run[-1].end_byte, line, "statement", run[0], others)
        run = []


def _unset(node: Any) -> Iterator[Place]:
    """After a declaration without a first value: everything in it set to zero."""
    words = {text(c) for c in node.children if c.type in ("storage_class_specifier", "type_qualifier")}
    if words & {"static", "const", "constexpr", "extern"} or "stream" in text(node):
        return
    names = []
    for child in node.children_by_field_name("declarator"):
        if child.type in ("identifier", "array_declarator") or _braces(child):
            names.append(next(text(n) for n in walk(child) if n.type == "identifier"))
    end = node.end_byte
    others = tuple((f"dovetail::blank({name});", 0.15, "unset") for name in names)
    yield Place(end, end, int(node.end_point[0]) + 1, "after", node, others)


def _braces(child: Any) -> bool:
    value = child.child_by_field_name("value") if child.type == "init_declarator" else None
    return value is not None and value.type == "initializer_list" and len(value.named_children) < 2


def _around_counters(node: Any) -> list[str]:
    out: list[str] = []
    while node is not None:
        if node.type == "for_statement":
            out += re.findall(r"[A-Za-z_]\w*", text(node.child_by_field_name("update")))[:1]
        node = node.parent
    return out


def _stepless(loop: Any, known: Mapping[str, Known]) -> Iterator[Place]:
    """A loop without a step: one for each of its counters."""
    at = next((n for n in loop.children if n.type == ")"), None)
    free = [n for n in _counters(loop) if not known.get(n, _COUNTER).fixed]
    if at is not None:
        others = tuple((f"{n}{by}", cost, "") for n in free for by, cost in (("++", 0.1), ("--", 0.2)))
        yield Place(at.start_byte, at.start_byte, int(loop.start_point[0]) + 1, "step", loop, others)


def _counters(loop: Any) -> list[str]:
    first, condition = loop.child_by_field_name("initializer"), loop.child_by_field_name("condition")
    nodes = [n for part in (first, condition) if part is not None for n in walk(part)]
    return list(dict.fromkeys(text(n) for n in nodes if n.type == "identifier" and not text(n).isupper()))


def _scalar(node: Any) -> bool:
    declared, value = node.child_by_field_name("declarator"), node.child_by_field_name("value")
    words = text(node.parent).split("=")[0]
    plain = declared is not None and declared.type == "identifier" and "auto" not in words and "constexpr" not in words
    apart = "static" not in words and "const" not in words.split()
    return plain and apart and value is not None and value.type != "initializer_list"


def chosen(found: Sequence[Place], suspicion: Mapping[int, float], most: int) -> list[Variant]:
    """At most `most` variants, the likely slips on suspicious lines first."""
    every = [(cost + suspicion.get(place.line, 1.0), place, new, cost, slip)
             for place in found for new, cost, slip in place.others]  # fmt: skip
    every.sort(key=lambda one: (one[0], one[1].start, one[2]))
    return [
        Variant(n, place.line, new, cost, place, slip) for n, (_, place, new, cost, slip) in enumerate(every[:most], 1)
    ]


def woven(source: str, variants: Sequence[Variant]) -> str:
    """The text with all variants in it. Places may lie within each other: the inner one then holds in the original."""
    by_place: dict[tuple[int, int, str], list[Variant]] = {}
    for variant in variants:
        by_place.setdefault((variant.place.start, variant.place.end, variant.place.kind), []).append(variant)
    raw, inserts = source.encode(), []  # (at, order, text); what ends somewhere comes before what begins there
    for (start, end, kind), mine in by_place.items():
        before, after = _around(kind, mine, mine[0].place)
        inserts.append((start, 1, -end, before))
        inserts.append((end, 0, -start, after))
    out, at = bytearray(), 0
    for place, _, _, new in sorted(inserts):
        out += raw[at:place] + new.encode()
        at = place
    return bytes(out + raw[at:]).decode(errors="replace")


def _set(variant: Variant, line: int) -> str:
    """A variant's text on its line, and back to a line of the design."""
    return f'\n#line {variant.number} "{VARIANT}"\n{variant.new}\n#line {line} "design.cpp"\n'


def _around(kind: str, mine: Sequence[Variant], place: Place) -> tuple[str, str]:
    """What goes before a place and after it."""
    texts = [(f"{CHOICE} == {v.number}", _set(v, place.line)) for v in mine]
    if kind == "statement":
        return "{ " + "".join(f"if ({asked}) {{ {new} }} else " for asked, new in texts) + "{ ", " } }"
    if kind == "after":
        return "", "".join(f" if ({asked}) {{ {new} }}" for asked, new in texts)
    if kind == "step":
        return "", "(" + "".join(f"{asked} ? (void)({new}) : " for asked, new in texts) + "(void)0)"
    ctype = {"condition": "bool", "update": "void"}.get(kind) or _type_of(place.node)
    cast = f"static_cast<{ctype}>"  # of a place that is a value
    return "(" + "".join(f"{asked} ? {cast}({new}) : " for asked, new in texts) + f"{cast}(", "))"


def _type_of(value: Any) -> str:
    """The type a first value, or an entry of a list of them, is declared with."""
    while value.type != "declaration":
        value = value.parent
    return text(value.child_by_field_name("type"))
