"""Who connects: names that pages may not use, too many connections, heads that do not come. By raw sockets."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the server needs the serve extra")
pytest.importorskip("openai", reason="the server is tested by OpenAI's client: the dev extra")

from dovetail.app.serving.hosts import name_in, names_of
from dovetail.app.serving.limits import Limits
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.runtime.load import Loaded, load

from .test_serve import SECRET, Here, serving

MOST = 6


@pytest.fixture(scope="module")
def embedded() -> Loaded:
    return load(weights_of(Model.load("embedded")))


@pytest.fixture(scope="module")
def here(embedded: Loaded) -> Iterator[Here]:
    limits = Limits(stall_s=0.5, connections=MOST)
    with serving(embedded, limits, names_of("127.0.0.1", ("Box.example",)), places=2) as found:
        yield found


def connected(here: Here) -> socket.socket:
    return socket.create_connection(("127.0.0.1", here.port), 20)


def read(raw: socket.socket) -> tuple[int, Any]:
    """Status and body of an answer after which the connection closes."""
    data = b""
    while part := raw.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def asked(here: Here, path: str, *headers: str) -> tuple[int, Any]:
    with connected(here) as raw:
        lines = [f"GET {path} HTTP/1.1", *headers, f"Authorization: Bearer {SECRET}", "Connection: close", "", ""]
        raw.sendall("\r\n".join(lines).encode())
        return read(raw)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST:80", "[::1]:8000", "box.example:1"])
def test_names_of_this_computer_are_answered(here: Here, name: str) -> None:
    assert asked(here, "/v1/models", f"Host: {name}")[0] == 200


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/health", "/nothing"])
@pytest.mark.parametrize("name", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", "[::2]"])
def test_other_names_are_refused_whatever_they_ask(here: Here, path: str, name: str) -> None:
    """A key does not help: a page that is rebound to this computer knows none, but a server may ask for none."""
    status, body = asked(here, path, f"Host: {name}")
    assert status == 403
    assert body["error"]["code"] == "host_refused"


def test_servers_that_others_reach_answer_to_any_name() -> None:
    for address in ("0.0.0.0", "::", "192.0.2.7", "model.example"):
        assert names_of(address, ("one",)) is None
    assert names_of("127.0.0.2") == {"127.0.0.2", "127.0.0.1", "localhost", "::1"}
    assert name_in("[fe80::1]:80") == "fe80::1"
    assert name_in("One.example:80") == "one.example"


def test_more_connections_than_may_be_are_told(here: Here) -> None:
    """Those that are open go on; when one is closed, another is taken."""
    with ExitStack() as stack:
        few = [stack.enter_context(connected(here)) for _ in range(MOST)]
        time.sleep(0.1)
        with connected(here) as more:
            status, body = read(more)
        assert status == 503
        assert body["error"]["code"] == "too_many_connections"
        few[0].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read(few[0])[0] == 200
        few[0].close()
        here.until(lambda: asked(here, "/health", "Host: localhost")[0] == 200)


def test_who_does_not_get_to_ask_is_closed(here: Here) -> None:
    """One that sends nothing, and one that sends a head letter by letter: neither holds a connection for long."""
    with connected(here) as silent, connected(here) as slow:
        began = time.monotonic()
        slow.settimeout(0.05)
        gone = False
        while not gone:
            try:
                slow.sendall(b"G" if time.monotonic() == began else b"x")
                gone = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
            assert time.monotonic() - began < 20
        assert silent.recv(1) == b""
    here.until(lambda: asked(here, "/health", "Host: localhost")[0] == 200)


def test_a_stream_outlives_the_time_for_heads(here: Here, embedded: Loaded) -> None:
    """And a connection that is used again and again is not closed between."""
    stream = here.client().completions.create(model="it", prompt="import", max_tokens=1500, temperature=0, stream=True)
    began, pieces = time.monotonic(), 0
    for chunk in stream:
        pieces += bool(chunk.choices[0].text)
        if time.monotonic() - began < 1.5:
            time.sleep(0.01)
    assert chunk.choices[0].finish_reason in ("length", "stop")
    assert pieces > 10
