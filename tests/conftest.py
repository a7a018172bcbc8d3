"""What all tests share: quiet threads, no network, repeatable hypothesis, and where the optional data lies."""

import atexit
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
for _name, _value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}.items():
    os.environ.setdefault(_name, _value)

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="dovetail-tests-")  # no test reads this computer's calibration
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

settings.register_profile("dovetail", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("dovetail")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Public data beside the checkout (or in ``$DOVETAIL_DATA``); the test is skipped where there is none."""
    folder = Path(os.environ.get("DOVETAIL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data folder {folder}: set DOVETAIL_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """A connection that leaves this machine is a failed test: nothing here may need the network."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise PermissionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    socket.socket.connect = local_only  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


def pytest_runtest_teardown() -> None:
    """No test, and nothing that it runs, leaves a mode of torch's on for those after it."""
    if (torch := sys.modules.get("torch")) is not None:
        assert torch.is_grad_enabled(), "gradients stayed off"
        assert not torch.is_inference_mode_enabled(), "inference mode stayed on"
