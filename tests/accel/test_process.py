"""Programs that are run: they end with their children when time is up and on Ctrl-C, and say why they failed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dovetail.accel.process import call
from dovetail.core.errors import DovetailError

SLEEPS = "sleep 60 & echo $! > child; echo $$ > parent; wait"


def gone(folder: Path) -> bool:
    """Whether neither the shell nor what it started is alive (or more than a zombie)."""
    for name in ("child", "parent"):
        stat = Path("/proc") / (folder / name).read_text().strip() / "stat"
        deadline = time.monotonic() + 10
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


def started(folder: Path) -> None:
    while not ((folder / "parent").exists() and (folder / "parent").read_text().strip()):
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_time_that_is_up(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="Sleep took too long") as error:
        call("Sleep", ["sh", "-c", SLEEPS], tmp_path, 3.0, "less of it")
    assert error.value.hint == "less of it"
    assert gone(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_interrupted(tmp_path: Path) -> None:
    def interrupt() -> None:
        started(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            call("Sleep", ["sh", "-c", SLEEPS], tmp_path, 60.0, "")
    finally:
        signal.signal(signal.SIGINT, before)
    assert gone(tmp_path)


def test_failures_are_told(tmp_path: Path) -> None:
    assert call("Echo", ["echo", "yes"], tmp_path, 9.0, "") == "yes\n"
    with pytest.raises(DovetailError, match="Shell failed") as error:
        call("Shell", ["sh", "-c", "echo wrong >&2; exit 3"], tmp_path, 9.0, "")
    assert "wrong" in error.value.why
    with pytest.raises(DovetailError, match="cannot be started"):
        call("Nothing", ["no-such-program"], tmp_path, 9.0, "")
