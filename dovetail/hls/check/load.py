"""A design from what a command line gives: a source file, perhaps a top, a contract and an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.core.files import read_text
from dovetail.hls.contract_file import load_contract
from dovetail.hls.design import Contract, Design, Oracle
from dovetail.hls.signature import top_function


def load_design(
    file: Path,
    *,
    top: str = "",
    reference: Path | None = None,
    contract: Path | None = None,
    testbench: Path | None = None,
    call: str = "",
    includes: Sequence[Path] = (),
) -> Design:
    """The design in a file.

    Parameters
    ----------
    file : Path
        HLS C++.
    top : str
        Its top function; the last function that no other calls when empty.
    reference : Path, optional
        C++ with a function of the same signature, or Python (``.py``) with one of the same name over NumPy arrays.
    contract : Path, optional
        YAML; ``FILE.yaml`` beside the source is taken when it is there.
    testbench : Path, optional
        C++ with a `main` that fails, or prints that it does, on wrong results.
    call : str
        The instance of a template top: ``"dense<8, int>"``.
    includes : sequence of Path
        Folders to search for includes.

    Raises
    ------
    DovetailError
        A file cannot be read, or holds no such function.
    """
    source = read_text(file, "the design", "an HLS C++ file")
    beside = file.with_suffix(".yaml")
    chosen = contract or (beside if beside.is_file() else None)
    held = load_contract(chosen) if chosen is not None else Contract("")
    if top and held.top and top != held.top:
        raise DovetailError("the contract is for another function", where=str(chosen), why=f"{held.top}, not {top}",
                            hint=f"--top {held.top}")  # fmt: skip
    name = top_function(source, top or held.top).name
    oracle = _oracle(reference, testbench, name)
    return Design(source, replace(held, top=name, call=call or held.call), oracle, file, tuple(includes), name=name)


def _oracle(reference: Path | None, testbench: Path | None, top: str) -> Oracle | None:
    if reference is None and testbench is None:
        return None
    if reference is not None and testbench is not None:
        raise DovetailError("two oracles", why="--reference and --testbench", hint="give one of them")
    path = reference or testbench or Path()
    source = read_text(path, "the oracle", "C++ or Python")
    if testbench is not None:
        return Oracle("testbench", source, path=path)
    if path.suffix == ".py":
        return Oracle("python", source, top, path)
    return Oracle("cpp", source, top_function(source, _same(source, top)).name, path)


def _same(source: str, top: str) -> str:
    """The top's name where the reference has it too; else its own last function stands for it."""
    return top if f"{top}(" in source.replace(" ", "") else ""
