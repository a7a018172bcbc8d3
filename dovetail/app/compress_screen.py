"""How a compression looks in a terminal: the folder, before and after, where it pays, what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dovetail.app.output import command, folded
from dovetail.app.table import table
from dovetail.core.units import show

Found = Mapping[str, Any]
_BARE = "dense"  # how weights are multiplied that are not packed


def compress_screen(found: Found, quiet: bool) -> None:
    """The answer of ``dovetail compress``."""
    print(f"{found['path']}: {found['model']} by {found['recipe']}")
    columns = ["", "before", "after", "change", "range", *(["predicted"] if found["speed"] else [])]
    table(columns, [row[: len(columns)] for row in _rows(found)])
    if found["quality_why"]:
        print(folded(f"quality     not measured: {found['quality_why']}"))
    for note in found["notes"]:
        print(folded(f"note        {note}"))
    if quiet:
        return
    if found["speed_why"]:
        print(folded(f"speed       not measured: {found['speed_why']}"))
    for row in found["pays"]:
        print(folded(f"{row['machine']:<12}{_pays(row)}"))
    if found["text"]:
        print(folded(f"text        {found['perplexity_after']['source'] if found['kl'] else found['text']}"))
    if made := found["calibration"]:
        words = f"{made['samples']} x {made['tokens']} tokens of {made['text']}, seed {made['seed']}"
        print(folded(f"calibrated  {words}"))
    print(folded(f"memory      {_memory(found['memory'])}"))
    print(command(_next(found)))


def _rows(found: Found) -> Iterator[list[str]]:
    before, after = found["bytes_before"]["value"], found["bytes_after"]["value"]
    yield ["weights", show(before, "byte"), show(after, "byte"), f"{after / before:.3f}x", "", ""]
    if found["kl"]:
        old, new, ratio = (found[f"perplexity_{key}"] for key in ("before", "after", "ratio"))
        yield ["perplexity", f"{old['value']:.3f}", f"{new['value']:.3f}", *_risen(ratio), ""]
        yield ["KL to the original", "0", f"{found['kl']['value']:.4f}", "", _range(found["kl"], "{:.4f}"), ""]
        yield ["same likeliest token", "100 %", _percent(found["top1"]["value"]), "", _shares(found["top1"]), ""]
    for row in found.get("tasks", ()):
        one, two = row["before"], row["after"]
        gap = f"{100 * (two['value'] - one['value']):+.1f} points"
        name = f"{row['task']}, {row['metric']}"
        yield [name, _percent(one["value"]), _percent(two["value"]), gap, _shares(two), ""]
    for row in found["speed"]:
        one, two = (show(row[side]["value"], "tok/s") for side in ("before", "after"))
        expected = row["predicted"]
        words = f"{expected['value']:.2f}x" if expected else "–"
        kernels = "" if row["kernels"] == _BARE else f", {row['kernels']} kernels"
        yield [f"{row['metric']} here, batch 1{kernels}", one, two, f"{row['ratio']:.2f}x", "", words]


def _risen(ratio: Found) -> tuple[str, str]:
    low, high = (f"{100 * (ratio[end] - 1):+.2f}" for end in ("low", "high"))
    return f"{100 * (ratio['value'] - 1):+.2f} %", f"{low} – {high} %"


def _range(found: Found, form: str) -> str:
    return f"{form.format(found['low'])} – {form.format(found['high'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _shares(found: Found) -> str:
    return f"{100 * found['low']:.1f} – {100 * found['high']:.1f} %"


def _pays(row: Found) -> str:
    """The ratio of time per token at batch 1, and from which batch on the method stops paying."""
    ratio = row["ratio"]
    if not ratio:
        return f"does not run there: {row['verdict']}"
    at = f"{ratio['value']:.2f}x [{ratio['low']:.2f} – {ratio['high']:.2f}] a token at batch 1"
    guessed = row["machine"] == "host" and ratio["kind"] == "modelled"
    hint = "; 'dovetail calibrate --host' measures it" if guessed else ""
    return f"{at}, {ratio['kind']}; {row['verdict']}{hint}"


def _next(found: Found) -> list[str]:
    if found["format"] == "gguf":
        return ["llama-cli", "-m", f"{found['path']}/{found['file']}", "--file", "FILE"]
    return ["dovetail", "run", found["path"], "--prompt-file", "FILE"]


def _memory(found: Found) -> str:
    expected, measured = found["predicted"]["value"], found["measured"]
    words = f"{show(measured['value'], 'byte')} at the peak, " if measured else ""
    return f"{words}{show(expected, 'byte')} forecast"
