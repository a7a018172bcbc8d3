"""The command line: parses, calls the function of the same name, and turns every error into one sentence."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dovetail.app.verbs import choose, describe, do, predict
from dovetail.core.errors import USAGE, DovetailError

app = typer.Typer(
    name="dovetail",
    help="Co-design large language models and the hardware they run on: describe, predict, do, choose, show.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verbs in (describe, predict, do, choose):
    verbs.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        from dovetail.core.version import __version__

        print(f"dovetail {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Co-design large language models and the hardware they run on: describe, predict, do, choose, show."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return (and, as a program, exit with) its status: 0 done, 2 usage, 3 infeasible, 4 a check failed."""
    code = _run(arguments)
    if arguments is None:
        sys.exit(code)
    return code


def _run(arguments: list[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="dovetail", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except DovetailError as error:
        print(f"dovetail: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ndovetail: stopped; nothing is half-written, the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return _usage(error)
        if type(error).__name__ == "Abort":
            return 130
        raise


def _usage(error: Exception) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    hint = f" Try: {context.command_path} --help" if context is not None else ""
    print(f"dovetail: {message}{hint}", file=sys.stderr)
    return USAGE
