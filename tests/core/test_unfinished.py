"""What a process that was killed leaves beside its outputs: removed by the next of its kind, and by nobody else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dovetail.core import unfinished
from dovetail.core.files import whole_folder, write_bytes
from dovetail.core.unfinished import OLD, held, part_of, sweep

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no such locks on this system")
WRITING = """
import os, sys, time
from pathlib import Path
from dovetail.core import files
target, what = Path(sys.argv[1]), sys.argv[2]
def stop(*words):
    print("here", flush=True)
    time.sleep(60)
if what == "file":
    files.os.fsync = stop
    files.write_bytes(target, b"new")
replace, calls = os.replace, []
def between(*words):
    calls.append(words)
    if len(calls) == 2:
        stop()
    replace(*words)
if what == "swap":
    files.os.replace = between
with files.whole_folder(target) as part:
    (part / "new").write_text("new")
    (target.parent / f"{part.name}.12345678").mkdir()  # scratch beside it, as exports have
    if what == "folder":
        stop()
"""


def stopped(target: Path, what: str) -> "subprocess.Popen[str]":
    """A process in the middle of writing `target`."""
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(target), what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_and_what_a_live_one_makes_is_not(tmp_path: Path, what: str) -> None:
    target, other = tmp_path / "out", tmp_path / "out2"
    dead, elsewhere = stopped(target, what), stopped(other, what)
    try:
        assert len(list(tmp_path.glob(".out.part-????????"))) == 1
        sweep(target)
        assert len(list(tmp_path.glob(".out.part-????????"))) == 1  # its process lives
        kill(dead)
        if what == "file":
            write_bytes(target, b"mine")
        else:
            with whole_folder(target) as part:
                (part / "mine").write_text("mine")
        assert not list(tmp_path.glob(".out.part-*"))
        assert len(list(tmp_path.glob(".out2.part-????????"))) == 1  # of another target
    finally:
        kill(dead)
        kill(elsewhere)
    sweep(other)
    assert names(tmp_path) == ["out"]


def test_killed_while_the_old_gives_way_to_the_new_the_old_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with whole_folder(target) as part:
        (part / "old").write_text("old")
    process = stopped(target, "swap")
    sweep(target)
    assert not target.exists()
    assert any(name.endswith(OLD) for name in names(tmp_path))  # not taken from a process that lives
    kill(process)
    with pytest.raises(RuntimeError), whole_folder(target):
        raise RuntimeError("the next one fails")
    assert names(tmp_path) == ["out"]
    assert (target / "old").read_text() == "old"


def test_an_old_folder_whose_successor_is_in_its_place_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f".out.part-abcdefgh{OLD}"
    left.mkdir()
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as part:
        (part / "new").write_text("new")
    assert names(tmp_path) == ["out"]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    theirs = [".out.part-short", ".out.part-muchlonger", ".out.txt", "out.part-12345678", ".other.part-12345678"]
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    write_bytes(tmp_path / "out", b"mine")
    assert names(tmp_path) == sorted([*theirs, "out"])


@pytest.mark.parametrize("folder", [False, True])
def test_a_sweep_between_making_and_holding_costs_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    made, count = unfinished._made, []

    def swept_at_once(target: Path, folder: bool) -> Path:
        part = made(target, folder)
        count.append(part)
        if len(count) == 1:
            sweep(target)
        return part

    monkeypatch.setattr(unfinished, "_made", swept_at_once)
    with part_of(tmp_path / "out", folder=folder) as part:
        assert part == count[1]
        with held(part) as ours:
            assert not ours
    assert len(count) == 2
    assert names(tmp_path) == []


def test_an_error_of_the_block_is_the_blocks_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="theirs"), part_of(tmp_path / "out"):
        raise FileNotFoundError("theirs")
    assert names(tmp_path) == []
