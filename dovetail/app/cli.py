"""The command line: parses, calls the function of the same name, and turns every error into one sentence."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dovetail.app.help import Verbs
from dovetail.app.verbs import choose, crossbar, describe, do, hls, predict, serve, train
from dovetail.core.errors import USAGE, DovetailError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

app = typer.Typer(
    name="dovetail",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for verbs in (describe, predict, do, serve, train, hls, crossbar, choose):
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
    """Co-design large language models and the hardware they run on: describe, predict, do, choose, show.

    Every verb answers on one screen, with --json for scripts and --out DIR for a report. Exit status: 0 done,
    2 usage, 3 infeasible, 4 a check failed.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return (as a program: exit with) its status.

    0 done, 2 usage, 3 infeasible, 4 a check failed.
    """
    code = _run(arguments)
    if arguments is None:
        sys.exit(code)
    return code


def _run(arguments: list[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="dovetail", standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer makes this of Ctrl-C
            return _interrupted()
        return result if isinstance(result, int) else 0
    except DovetailError as error:
        print(f"dovetail: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:  # `dovetail ls models | head`
        return _left()
    except SystemExit as stop:  # what click makes of a broken pipe, inside a verb
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        return _left()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"dovetail: {where}{error.strerror or error}.", file=sys.stderr)
        return USAGE
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's errors have it
            raise
        return _usage(error)


def _left() -> int:
    """The reader went away with what it wanted: nothing is left to say, nor to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _interrupted() -> int:
    print("\ndovetail: stopped, nothing is left half-written; the same command keeps the stages that were finished",
          file=sys.stderr)  # fmt: skip
    return INTERRUPTED


def _usage(error: Exception) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message, file=sys.stderr)
        return USAGE
    context = getattr(error, "ctx", None)
    hint = f" Try: {context.command_path} --help" if context is not None else ""
    print(f"dovetail: {' '.join(message.split())}{hint}", file=sys.stderr)
    return USAGE
