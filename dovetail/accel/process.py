"""Tools that are programs: run with a time limit, and gone with all their children when it ends or on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dovetail.core.errors import CHECK_FAILED, DovetailError


def call(
    tool: str,
    command: Sequence[str],
    folder: Path,
    limit_s: float,
    hint: str,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a command prints.

    Parameters
    ----------
    tool : str
        Its name in errors.
    limit_s : float
        Seconds of wall time after which it is stopped.
    hint : str
        What to do where that is not enough.

    Raises
    ------
    DovetailError
        It cannot be started, fails, or takes longer.
    """
    process = _started(tool, command, folder, environment)
    try:
        out, error = process.communicate(timeout=limit_s)
    except BaseException as stop:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(stop, subprocess.TimeoutExpired):
            why = f"more than {limit_s:,.0f} s"
            raise DovetailError(f"{tool} took too long", where=str(folder), why=why, hint=hint) from None
        raise
    if process.returncode != 0:
        why = (error + out[-500:] if error.strip() else out).strip()[-1500:]
        raise DovetailError(f"{tool} failed", where=str(folder), why=why, exit_code=CHECK_FAILED)
    return out


def _started(
    tool: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(command), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise DovetailError(f"{tool} cannot be started", where=command[0], why=str(error)) from None
