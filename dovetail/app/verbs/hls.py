"""``hls check``, ``hls contract``: is this HLS code wrong, where, and with what proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dovetail.app.help import Verbs, add
from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress
from dovetail.app.verbs import hls_bugs
from dovetail.core.errors import CHECK_FAILED

Source = Annotated[Path, typer.Argument(help="An HLS C++ file.")]
Top = Annotated[str, typer.Option(metavar="NAME", help="The top function; else the last one that no other calls.")]
Reference = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What is right: C++, or a Python function over NumPy arrays.")
]
Call = Annotated[str, typer.Option(metavar="EXPR", help="Which instance of a template: 'dense<8, int>'.")]
Includes = Annotated[
    list[Path] | None,
    typer.Option("--include", "-I", metavar="DIR", help="Search this folder for includes; repeatable."),
]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    hls = typer.Typer(
        cls=Verbs, help="HLS C++: checks with proof, and bugs to try them on.", no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    add(
        hls, "Commands", check,
        ["dovetail hls check fir.cpp --top fir",
         "dovetail hls check fir.cpp --reference fir_golden.cpp --sarif fir.sarif"],
    )  # fmt: skip
    add(hls, "Commands", contract, ["dovetail hls contract fir.cpp --to fir.yaml"])
    hls_bugs.add_to(hls)
    app.add_typer(hls, name="hls", rich_help_panel="Do")


def check(
    file: Source,
    top: Top = "",
    reference: Reference = None,
    contract: Annotated[
        Path | None, typer.Option(metavar="FILE", help="How it may be called, as YAML; else FILE.yaml, else inferred.")
    ] = None,
    testbench: Annotated[
        Path | None, typer.Option(metavar="FILE", help="C++ with a main that fails or says so on wrong results.")
    ] = None,
    call: Call = "",
    include: Includes = None,
    tests: Annotated[int, typer.Option(metavar="N", help="Calls to try.", min=1)] = 32,
    sarif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write SARIF 2.1.0 for editors and CI.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Check a kernel: pragmas, faults, endless loops, streams, uninitialised values, and wrong results.

    The design runs in a sandbox. Exit status 4 when something was found.
    """
    from dovetail.app.hls_screen import findings
    from dovetail.hls.check.checker import check as checked
    from dovetail.hls.check.load import load_design
    from dovetail.hls.check.sarif import write_sarif

    design = load_design(file, top=top, reference=reference, contract=contract, testbench=testbench, call=call,
                         includes=include or ())  # fmt: skip
    report = checked(design, tests=tests)
    if sarif is not None:
        write_sarif(report, sarif)
        progress(f"written: {sarif}", quiet=quiet or json)
    code = 0 if report.clean else CHECK_FAILED
    inputs = [path for path in (file, reference, contract, testbench) if path is not None]
    answer = Answer("hls check", report.to_json(), lambda: findings(report, design.source, quiet), code)
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=inputs)


def contract(
    file: Source,
    top: Top = "",
    call: Call = "",
    include: Includes = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write the YAML here instead.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Find the inputs under which a kernel runs clean: extents, ranges, stream lengths, directions, as YAML to edit."""
    from dovetail.core.files import write_text
    from dovetail.hls.check.contract import infer_contract
    from dovetail.hls.check.load import load_design
    from dovetail.hls.contract_file import to_yaml
    from dovetail.hls.design import plain

    probed = infer_contract(load_design(file, top=top, call=call, includes=include or ()))
    text = to_yaml(probed.contract)
    for doubt in probed.doubts:
        progress(f"doubt: {doubt}", quiet=quiet or json)
    if to is not None:
        write_text(to, text)
    data = {"contract": plain(probed.contract), "doubts": list(probed.doubts)}
    emit(Answer("hls contract", data, lambda: print(f"written: {to}" if to else text, end="\n" if to else "")),
         as_json=json, quiet=quiet, out=out, inputs=[file])  # fmt: skip
