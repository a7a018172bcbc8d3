"""The context that a cut-out function has lost: types, constants, configuration structs, template arguments, order.

What a name must be is read from how it is used; what the compiler still misses is added round by round. A guess makes
a design compile, not right: guessed contexts are listed with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.compile import Diagnostic
from dovetail.hls.inject.syntax import parse, text, walk

SIZE = 8  # a guessed constant: even, a power of two, small enough to run
CALLED = re.compile(r"^[ \t]*//[ \t]*Content of called function.*$", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
_WIDTH = re.compile(r"(?:ap_)?(u?)(?:int|bit|uint|b|u|i|s)_?(\d+)(?:_t|b|_b)?", re.IGNORECASE)
_WIDE = {
    "ap_int",
    "ap_uint",
    "ap_fixed",
    "ap_ufixed",
    "ap_axiu",
    "ap_axis",
    "IntVectorStream_dt",
    "DSVectorStream_dt",
    "Frequency",
    "Symbol",
}
_SECOND = {"DSVectorStream_dt"}
_BITS = {
    "range",
    "to_int",
    "to_uint",
    "length",
    "bit",
    "set_bit",
    "get_bit",
    "or_reduce",
    "xor_reduce",
    "and_reduce",
    "V",
    "test",
}
_STREAM = {"read", "write", "empty", "full", "read_nb", "write_nb", "size"}
_PACKET = {"data", "last", "keep", "strb", "user", "id", "dest"}
PREAMBLE = """namespace nnet {
enum cut_strategy { latency, resource, resource_strategy };
template <typename T, unsigned N> struct array {
    typedef T value_type; static const unsigned size = N; T data[N];
    T &operator[](unsigned i) { return data[i]; } const T &operator[](unsigned i) const { return data[i]; }
};
}
template <int W, int N> struct IntVectorStream_dt { ap_uint<W> data[N]; ap_uint<8> strobe; };
template <typename T, int N> struct DSVectorStream_dt { T data[N]; ap_uint<8> strobe; };
template <int W> using Frequency = ap_uint<W>;
template <int W> struct Symbol { ap_uint<W> value; ap_uint<W> frequency; };
#define PRAGMA_DATA_PACK(variable)
#define DO_PRAGMA(x)
#define PRAGMA_HLS(x)
"""


@dataclass(slots=True)
class Context:
    """A source on its way to compile.

    Parameters
    ----------
    source : str
        The text, its pieces in an order that declares before it uses.
    types, values, functions : dict
        Guessed names: type → definition, constant → value, function → definition.
    members : dict
        Guessed structs: name → member → its declaration.
    """

    source: str
    types: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    members: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def guesses(self) -> int:
        """How many names were guessed."""
        return len(self.types) + len(self.values) + len(self.functions) + len(self.members)

    def preamble(self) -> str:
        """What goes before the source."""
        lines = [f"static const int {name} = {value};" for name, value in self.values.items()]
        lines += [f"struct {name} {{ {' '.join(body.values())} }};" for name, body in self.members.items()]
        lines += [f"typedef {what} {name};" for name, what in self.types.items()]
        lines += self.functions.values()
        return "\n".join(lines)

    def rendered(self) -> str:
        """The whole text, on its own in a namespace or a file."""
        return f"{self.preamble()}\n{self.source}"


def started(source: str) -> Context:
    """A first guess from the text alone."""
    pieces = [piece.strip("\n") for piece in CALLED.split(_INCLUDE.sub("", source))]
    ordered = "\n\n".join(dict.fromkeys(reversed([p for p in pieces if p.strip()])))
    defined = _functions(ordered)
    plain = _without_arguments(ordered, defined)
    context = Context(plain)
    root = parse(plain)
    for node in walk(root):
        if node.type == "qualified_identifier":
            _member(context, node)
    numbers = _numbers(root)
    for name in sorted(numbers - set(context.members) - set(context.types)):
        if not re.search(rf"(?:int|static|const|#define)\s+(?:unsigned\s+)?{name}\b", plain):
            context.values[name] = _value(name)
    for name in sorted(_types(root) - _known(root) - numbers):
        if name not in context.members and name not in context.types:
            context.types[name] = guessed_type(name)
    return context


def _functions(source: str) -> set[str]:
    found = set()
    for node in walk(parse(source)):
        if node.type == "function_declarator":
            name = node.child_by_field_name("declarator")
            if name is not None and name.type == "identifier":
                found.add(text(name))
    return found


def _without_arguments(source: str, functions: set[str]) -> str:
    """Template arguments of calls to functions that are plain here, cut out; scopes before them too."""
    for name in functions:
        for found in reversed(list(re.finditer(rf"(?:\w+::)*\b{re.escape(name)}\s*<", source))):
            end = _closing(source, found.end())
            if end and source[end:].lstrip().startswith("("):
                source = source[: found.start()] + name + source[end:]
        source = re.sub(rf"(?:\w+::)+{re.escape(name)}(?=\s*\()", name, source)
    return source


def _closing(source: str, at: int) -> int:
    depth = 1
    for place in range(at, min(len(source), at + 400)):
        depth += {"<": 1, ">": -1}.get(source[place], 0)
        if source[place] in ";{":
            return 0
        if depth == 0:
            return place + 1
    return 0


def _types(root: Any) -> set[str]:
    return {
        text(n)
        for n in walk(root)
        if n.type == "type_identifier"
        and (n.parent is None or n.parent.type not in ("template_type", "qualified_identifier"))
    }


def _numbers(root: Any) -> set[str]:
    """Names that stand where a template of widths and sizes wants a number."""
    found: set[str] = set()
    for node in walk(root):
        if node.type == "template_type" and text(node.child_by_field_name("name")) in _WIDE:
            inside = node.child_by_field_name("arguments")
            for part in inside.named_children[1 if text(node.child_by_field_name("name")) in _SECOND else 0 :]:
                found |= {
                    text(n)
                    for n in walk(part)
                    if n.type in ("type_identifier", "identifier") and n.parent.type != "qualified_identifier"
                }
    return {name for name in found if not name.startswith("AP_")}


def _known(root: Any) -> set[str]:
    given = {
        "ap_int",
        "ap_uint",
        "ap_fixed",
        "ap_ufixed",
        "half",
        "string",
        "ap_axiu",
        "ap_axis",
        "uint",
        "ushort",
        "uchar",
        "ulong",
    }
    for node in walk(root):
        if node.type in (
            "struct_specifier",
            "class_specifier",
            "enum_specifier",
            "type_definition",
            "alias_declaration",
            "type_parameter_declaration",
        ):
            name = (
                node.child_by_field_name("name")
                or node.child_by_field_name("declarator")
                or (node.named_children[-1] if node.named_children else None)
            )
            given.add(text(name))
    return given


def _member(context: Context, node: Any) -> None:
    """``CONFIG_T::n_in`` makes a struct with a constant; ``data_T::size`` an array type; used as a type, a typedef."""
    scope, name = text(node.child_by_field_name("scope")), text(node.child_by_field_name("name"))
    if not scope or scope in ("hls", "std", "nnet", "ap", "xf") or "<" in scope or not re.fullmatch(r"\w+", name):
        return
    if name in ("size", "value_type"):
        context.types[scope] = f"nnet::array<ap_fixed<16, 6>, {SIZE}>"
        context.members.pop(scope, None)
        return
    if scope in context.types:
        return
    kind = node.child_by_field_name("name").type == "type_identifier" or name.endswith(("_t", "_T"))
    what = f"typedef {guessed_type(name)} {name};" if kind else f"static const int {name} = {_value(name)};"
    context.members.setdefault(scope, {})[name] = what


def guessed_type(name: str) -> str:
    """A type for a name: a width in it counts, a word for real numbers, for fixed-point tensors; else int."""
    low = name.lower()
    if found := _WIDTH.fullmatch(name):
        width = min(1024, max(1, int(found[2])))
        return f"ap_{'u' if low.startswith(('u', 'bit', 'b')) else ''}int<{width}>"
    if any(word in low for word in ("stream",)):
        return "hls::stream<int>"
    if name in ("TYPE",) or any(word in low for word in ("float", "real", "double")):
        return "float"
    if name.endswith("_T") or any(
        word in low for word in ("weight", "bias", "accum", "feature", "pixel", "theta", "vector")
    ):
        return "ap_fixed<16, 6>"
    return "int"


def _value(name: str) -> str:
    low = name.lower()
    if any(word in low for word in ("axis", "pad", "offset", "log", "shift")):
        return "1"
    return str(SIZE)


_MESSAGES = (
    (
        re.compile(
            r"'([\w:]+)' (?:was not declared in this scope|has not been declared|does not name a type|is not a type)"
        ),
        "name",
    ),
    (re.compile(r"'(\w+)' is not a (?:class|namespace|template).*"), "scope"),
    (
        re.compile(r"request for member '(\w+)' in '(.+?)', which is of (?:pointer to )?non-class type '([^']+)'"),
        "field",
    ),
    (re.compile(r"'(?:struct |class )?(?:[^']*::)?(\w+)(?: \{aka [^']*\})?' has no member named '(\w+)'"), "member"),
    (re.compile(r"'(\w+)' is not a member of '(?:[^']*::)?(\w+)'"), "constant"),
    (re.compile(r"invalid types '([^']+)\[[^']*' for array subscript"), "subscript"),
)


def improved(context: Context, errors: list[Diagnostic]) -> bool:
    """Add what the compiler missed; False when nothing in its messages is understood."""
    before = repr((context.types, context.values, context.functions, context.members))
    for error in errors:
        for pattern, what in _MESSAGES:
            if found := pattern.search(error.message):
                _ADD[what](context, found)
                break
    return before != repr((context.types, context.values, context.functions, context.members))


def _name(context: Context, found: re.Match[str]) -> None:
    name = found[1].rpartition("::")[2]
    if not name or name in context.types or name in context.members:
        return
    if re.search(rf"\b{name}\s*::", context.source):
        context.members.setdefault(name, {})
    elif _used_as_type(context.source, name):
        context.types[name] = guessed_type(name)
    elif re.search(rf"\b{name}\s*(?:<[^;{{}}]*>)?\s*\(", context.source):
        arguments = (
            "template <int... N, typename... A>"
            if re.search(rf"\b{name}\s*<", context.source)
            else "template <typename... A>"
        )
        context.functions[name] = f"{arguments} int {name}(A &&...) {{ return 0; }}"
    else:
        context.values[name] = _value(name)


def _used_as_type(source: str, name: str) -> bool:
    return bool(
        re.search(
            rf"(?:^|[(,;{{}}<]|const|static|typename)\s*{name}\b\s*[&*]*\s+[&*]*\s*[A-Za-z_]\w*\s*[;,)=\[(]",
            source,
            re.MULTILINE,
        )
        or re.search(rf"<\s*{name}\s*>", source)
        or re.search(rf"\(\s*{name}\s*\)\s*[\w(]", source)
    )


def _scope(context: Context, found: re.Match[str]) -> None:
    context.types.pop(found[1], None)
    context.members.setdefault(found[1], {})


def _field(context: Context, found: re.Match[str]) -> None:
    member, kind = found[1], found[3]
    name = re.match(r"(?:const )?(?:[\w:]*::)?(\w+)", kind)
    if name is None or name[1] not in context.types:
        return
    if member in _BITS:
        context.types[name[1]] = "ap_uint<32>"
    elif member in _STREAM:
        context.types[name[1]] = "hls::stream<int>"
    elif member in _PACKET:
        context.types[name[1]] = "ap_axiu<32, 1, 1, 1>"
    else:
        context.types.pop(name[1])
        context.members[name[1]] = {member: f"int {member};"}


def _struct(context: Context, found: re.Match[str]) -> None:
    if found[1] in context.members:
        context.members[found[1]].setdefault(found[2], f"int {found[2]};")


def _constant(context: Context, found: re.Match[str]) -> None:
    if found[2] in context.members:
        kind = found[1].endswith(("_t", "_T"))
        context.members[found[2]].setdefault(
            found[1],
            f"typedef {guessed_type(found[1])} {found[1]};"
            if kind
            else f"static const int {found[1]} = {_value(found[1])};",
        )


def _subscript(context: Context, found: re.Match[str]) -> None:
    name = re.match(r"(?:const )?(?:[\w:]*::)?(\w+)", found[1])
    if name is not None and name[1] in context.types and context.types[name[1]] in ("int", "float", "ap_fixed<16, 6>"):
        context.types[name[1]] = f"nnet::array<ap_fixed<16, 6>, {SIZE}>"


_ADD = {
    "name": _name,
    "scope": _scope,
    "field": _field,
    "member": _struct,
    "constant": _constant,
    "subscript": _subscript,
}
