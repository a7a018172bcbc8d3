"""Files appear whole or not at all: a full disk, a stop in the middle, and a bad path leave what was there."""

import errno
import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dovetail.core import files
from dovetail.core.errors import DovetailError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_written_and_replaced(tmp_path):
    target = tmp_path / "deep" / "er" / "a.txt"
    assert files.write_text(target, "eins\n") == target
    files.write_text(target, "zwei – ü\n")
    assert target.read_text(encoding="utf-8") == "zwei – ü\n"
    assert names(target.parent) == ["a.txt"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    target = tmp_path / "a.json"
    files.write_json(target, {"old": True})
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(DovetailError, match=r"could not write a\.json.*No space left on device") as caught:
        files.write_json(target, {"new": True})
    assert caught.value.where == str(tmp_path)
    assert caught.value.exit_code == 2
    assert json.loads(target.read_text()) == {"old": True}
    assert names(tmp_path) == ["a.json"]


LIMITED = """
import resource, signal, sys
from dovetail.core import files
from dovetail.core.errors import DovetailError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    files.write_bytes(sys.argv[1], b"x" * 10_000_000)
except DovetailError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit on this system")
def test_the_system_really_refuses_to_write(tmp_path):
    """A file size limit of 64 KiB, set by the system itself in a process of its own."""
    target = tmp_path / "big.bin"
    target.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", LIMITED, str(target)], capture_output=True, text=True, check=True)
    assert "could not write big.bin" in done.stdout
    assert "File too large" in done.stdout
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["big.bin"]


def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == []


def test_a_path_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DovetailError, match="could not write"):
        files.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(DovetailError, match="could not write"), files.whole_folder(tmp_path / "file" / "out"):
        pass


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_that_others_cannot_read_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": value})
    assert names(tmp_path) == []


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "out"
    with files.whole_folder(target) as part:
        (part / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    with files.whole_folder(target) as part:
        (part / "b").write_text("2")
        assert (target / "a").exists()
    assert names(target) == ["b"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, DovetailError])
def test_a_failed_folder_leaves_the_old_one(tmp_path, error):
    target = tmp_path / "out"
    with files.whole_folder(target) as part:
        (part / "a").write_text("old")
    with pytest.raises(error), files.whole_folder(target) as part:  # noqa: PT012 - what fails is the block
        (part / "a").write_text("new")
        raise error("stop")
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_disk_that_fills_inside_a_folder(tmp_path):
    full = pytest.raises(DovetailError, match="No space left")
    with full, files.whole_folder(tmp_path / "out") as part:
        (part / "a").write_text("some")
        no_space()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_renamed_keeps_the_old_one(tmp_path, monkeypatch):
    """The last step fails after the old folder was moved aside: the old one must still be there."""
    target = tmp_path / "out"
    with files.whole_folder(target) as part:
        (part / "a").write_text("old")
    replace, calls = os.replace, []

    def second_fails(source, destination):
        calls.append(destination)
        if len(calls) == 2:
            no_space()
        replace(source, destination)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(DovetailError), files.whole_folder(target) as part:
        (part / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years of work")
    with pytest.raises(DovetailError, match="not written by dovetail"), files.whole_folder(theirs, "ours.json"):
        pass
    assert (theirs / "thesis.tex").read_text() == "years of work"
    for _ in range(2):  # new, then our own
        with files.whole_folder(tmp_path / "ours", "ours.json") as part:
            (part / "ours.json").write_text("{}")
    with pytest.raises(DovetailError, match="not written by dovetail"), files.whole_folder(theirs / "thesis.tex"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours", "theirs"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    with files.whole_folder(tmp_path / "disk" / "out") as part:
        (part / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    with files.whole_folder(tmp_path / "link") as part:
        (part / "a").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "out" / "a").read_text() == "new"
    assert names(tmp_path) == ["disk", "link"]
    assert names(tmp_path / "disk") == ["out"]


def test_a_source_is_told_from_its_target(tmp_path: Path) -> None:
    source = tmp_path / "winner" / "checkpoint"
    source.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "winner")
    for target in (source, source.parent, tmp_path / "link", tmp_path):
        with pytest.raises(DovetailError, match="its own source"):
            files.check_apart(source, target)
    for target in (source / "out", tmp_path / "other", tmp_path / "winner" / "check"):
        files.check_apart(source, target)
