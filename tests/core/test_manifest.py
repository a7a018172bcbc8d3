"""A manifest says which code made a result, and notices when an input is another."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import dovetail
from dovetail.core.errors import DovetailError
from dovetail.core.manifest import file_hash, git_revision, manifest, versions, write_manifest


def test_file_hash_is_sha256_across_chunk_borders(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes((1 << 20) + 7)
    (tmp_path / "weights").write_bytes(data)
    assert file_hash(tmp_path / "weights") == hashlib.sha256(data).hexdigest()


def test_folders_stand_for_their_files_and_changes_show(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "deep" / "b.txt").write_text("b")
    before = manifest("dovetail estimate", [tmp_path])["inputs"]
    (tmp_path / "deep" / "b.txt").write_text("c")
    after = manifest("dovetail estimate", [tmp_path])["inputs"]
    assert list(before) == [str(tmp_path / "a.txt"), str(tmp_path / "deep" / "b.txt")]
    assert [before[name] == after[name] for name in before] == [True, False]


def test_it_holds_what_is_needed_to_repeat(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "dovetail demo", [__file__], {"sampling": 3})
    told = json.loads(path.read_text())
    assert path.name == "manifest.json"
    assert told["command"] == "dovetail demo"
    assert told["seeds"] == {"sampling": 3}
    assert told["versions"]["dovetail"] == dovetail.__version__
    assert told["versions"]["numpy"] == np.__version__
    assert abs((datetime.now(UTC) - datetime.fromisoformat(told["date"])).total_seconds()) < 3600


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=r"absent\.yaml"):
        manifest("dovetail estimate", [tmp_path / "absent.yaml"])


def test_the_commit_is_the_checkouts_own(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("one")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    clean = git_revision(tmp_path)
    (tmp_path / "file").write_text("two")
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert git_revision(tmp_path) == {"commit": clean["commit"], "changed": True}
    assert clean["changed"] is False


def test_libraries_are_reported_only_when_loaded() -> None:
    code = "from dovetail.core.manifest import versions; import sys; print(sorted(versions()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['dovetail', 'python'] False"
    assert "numpy" in versions()
