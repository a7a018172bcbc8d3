"""The server by the client that people use: texts, streams, chances, refusals, clients that leave or do not read."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

openai = pytest.importorskip("openai", reason="the server is tested by OpenAI's client: the dev extra")
uvicorn = pytest.importorskip("uvicorn", reason="the server needs the serve extra")

import httpx  # noqa: E402

from dovetail.app.serving.backend import Backend, Ticket  # noqa: E402
from dovetail.app.serving.front import Front  # noqa: E402
from dovetail.app.serving.launch import Address, listening_at  # noqa: E402
from dovetail.app.serving.limits import Limits  # noqa: E402
from dovetail.app.serving.server import Server, _watch, serve  # noqa: E402
from dovetail.app.verbs.serve import _said  # noqa: E402
from dovetail.design.resolve import weights_of  # noqa: E402
from dovetail.model import Model  # noqa: E402
from dovetail.runtime.decode import generate  # noqa: E402
from dovetail.runtime.decoding.batch import Batch  # noqa: E402
from dovetail.runtime.decoding.modes import Given, speculation  # noqa: E402
from dovetail.runtime.decoding.streaming import TextStream  # noqa: E402
from dovetail.runtime.load import Loaded, load  # noqa: E402
from dovetail.runtime.serving.engine import Engine  # noqa: E402
from dovetail.runtime.serving.link import Link  # noqa: E402
from dovetail.runtime.serving.link import serve as serve_engine  # noqa: E402
from dovetail.runtime.serving.request import Made  # noqa: E402

PROMPT = 'import json\n\n\nclass Cache:\n    """Keeps'
SECRET = "a key"


@pytest.fixture(scope="module")
def embedded() -> Loaded:
    return load(weights_of(Model.load("embedded")))


@dataclass(frozen=True, slots=True)
class Here:
    """A server in threads of this process."""

    url: str
    port: int
    engine: socket.socket
    servers: list[Server]

    @property
    def server(self) -> Server:
        return self.servers[0]

    def client(self, key: str = SECRET) -> Any:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def post(self, path: str, content: bytes, **headers: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {SECRET}", **headers}
        return httpx.post(f"{self.url}/{path}", content=content, headers=headers, timeout=60)

    def metric(self, name: str) -> float:
        headers = {"Authorization": f"Bearer {SECRET}"}
        text = httpx.get(self.url.replace("/v1", "/metrics"), headers=headers).text
        found = re.search(rf"^dovetail_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for what must become true, in reasonable time."""
        for _ in range(600):
            if done():
                return
            time.sleep(0.05)
        raise AssertionError("it did not become true")


@contextmanager
def serving(loaded: Loaded, limits: Limits, names: frozenset[str] | None = None, **how: Any) -> Iterator[Here]:
    """The engine in one thread, HTTP in another, joined by the socket pair that joins them as processes."""
    mine, theirs = socket.socketpair()
    servers: list[Server] = []
    link = Link(mine)
    link.send("face", {"model": "it", "folder": loaded.folder, "key": SECRET, "limits": limits, "idle_s": 120.0,
                       "names": names})  # fmt: skip
    with listening_at(Address(port=0), limits.stall_s) as listening:
        port = listening.getsockname()[1]
        jobs = [
            threading.Thread(target=serve_engine, args=(Engine(loaded, **how), link)),
            threading.Thread(target=lambda: asyncio.run(serve(listening, theirs, servers.append))),
        ]
        for job in jobs:
            job.start()
        try:
            yield Here(f"http://127.0.0.1:{port}/v1", port, mine, servers)
        finally:
            if not servers[0].should_exit:
                servers[0].stop()
            for job in jobs:
                job.join(60)
    assert not any(job.is_alive() for job in jobs)


@pytest.fixture(scope="module")
def here(embedded: Loaded) -> Iterator[Here]:
    limits = Limits(body_bytes=1 << 20, prompt_tokens=2000, new_tokens=6000, queue=4, stall_s=1.0)
    with serving(embedded, limits, places=4, chunk=128) as found:
        yield found


def offline(loaded: Loaded, prompt: str, new: int, stop: tuple[str, ...] = (), **how: Any) -> tuple[str, int]:
    stream = TextStream(loaded.tokenizer, stop)
    ids = loaded.tokenizer(prompt).input_ids
    made = generate(loaded, ids, new, on_token=stream.add, ended=lambda: stream.stopped, **how)
    return stream.close(), len(made.tokens)


def ask(here: Here, **more: Any) -> Any:
    given = {"model": "it", "prompt": PROMPT, "max_tokens": 24, "temperature": 0} | more
    return here.client().completions.create(**given)


def test_a_completion_is_the_text_of_run(here: Here, embedded: Loaded) -> None:
    found = ask(here)
    text, count = offline(embedded, PROMPT, 24)
    assert found.choices[0].text == text
    assert found.choices[0].finish_reason == "length"
    assert (found.object, found.model) == ("text_completion", "it")
    prompt = len(embedded.tokenizer(PROMPT).input_ids)
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (prompt, count)
    assert found.usage.total_tokens == prompt + count


def test_a_stream_is_the_same_text_in_pieces(here: Here, embedded: Loaded) -> None:
    chunks = list(ask(here, stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 5
    text, count = offline(embedded, PROMPT, 24)
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == text
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == count
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert not any(chunk.usage for chunk in ask(here, stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_a_text_and_are_no_part_of_it(here: Here, embedded: Loaded, stream: bool) -> None:
    whole, _ = offline(embedded, PROMPT, 24)
    stop = whole[8:13]
    text, count = offline(embedded, PROMPT, 24, (stop,))
    assert stop not in text
    options = {"stream_options": {"include_usage": True}} if stream else {}
    found = ask(here, stop=[stop, "never seen"], stream=stream, **options)
    if stream:
        chunks = list(found)
        assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == text
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage.completion_tokens == count
    else:
        assert (found.choices[0].text, found.choices[0].finish_reason) == (text, "stop")
        assert found.usage.completion_tokens == count


def test_drawn_texts_are_those_of_their_seed(here: Here, embedded: Loaded) -> None:
    how = {"temperature": 0.8, "top_p": 0.9, "seed": 11}
    first, again = (ask(here, n=2, extra_body={"top_k": 50}, **how) for _ in range(2))
    text, _ = offline(embedded, PROMPT, 24, top_k=50, **how)
    assert first.choices[0].text == text
    assert [one.text for one in first.choices] == [one.text for one in again.choices]
    assert first.choices[1].text != text
    assert [one.index for one in first.choices] == [0, 1]
    other = {ask(here, temperature=1.0).choices[0].text for _ in range(3)}
    assert len(other) > 1  # without a seed each has its own


def test_several_prompts_as_texts_or_tokens(here: Here, embedded: Loaded) -> None:
    prompts = [PROMPT, "def main():", "The quick"]
    expected = [offline(embedded, one, 24)[0] for one in prompts]
    assert [one.text for one in ask(here, prompt=prompts).choices] == expected
    ids = [embedded.tokenizer(one).input_ids for one in prompts]
    assert [one.text for one in ask(here, prompt=ids).choices] == expected
    assert ask(here, prompt=ids[1]).choices[0].text == expected[1]
    assert ask(here, prompt=PROMPT, echo=True).choices[0].text == PROMPT + expected[0]


def test_chances_of_tokens(here: Here, embedded: Loaded) -> None:
    import torch

    found = ask(here, logprobs=2).choices[0]
    ids = embedded.tokenizer(PROMPT).input_ids
    made = generate(embedded, ids, 24).tokens
    with torch.inference_mode():
        logits = embedded.model(torch.tensor([[*ids, *made]])).logits[0, len(ids) - 1 : -1]
    chances = torch.log_softmax(logits.double(), -1)
    best = chances.topk(2, -1)
    assert found.logprobs.token_logprobs == pytest.approx(best.values[:, 0].tolist(), abs=1e-4)
    assert found.logprobs.tokens == [embedded.tokenizer.decode([token]) for token in made]
    for top, values in zip(found.logprobs.top_logprobs, best.values.tolist(), strict=True):
        assert sorted(top.values(), reverse=True) == pytest.approx(values, abs=1e-4)
    pieces = [found.text[begin:] for begin in found.logprobs.text_offset]
    assert all(rest.startswith(token) for rest, token in zip(pieces, found.logprobs.tokens, strict=True))
    chunks = (chunk.choices[0].logprobs for chunk in ask(here, logprobs=2, stream=True))
    values = [value for one in chunks if one for value in one.token_logprobs]
    assert values == pytest.approx(found.logprobs.token_logprobs, abs=1e-4)


def test_a_chat_without_a_template_is_written_as_the_documents_say(here: Here, embedded: Loaded) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "json?"}]},
    ]
    prompt = "system: Be brief.\n\nuser: What is json?\n\nassistant:"
    text, _ = offline(embedded, prompt, 16, ("\nuser:", "\nsystem:"))
    asked = {"model": "it", "messages": turns, "max_completion_tokens": 16, "temperature": 0}
    client = here.client()
    found = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    choice = found.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", text, "length")
    assert "".join(one.token for one in choice.logprobs.content) == text
    assert all(len(one.top_logprobs) == 3 for one in choice.logprobs.content)
    assert all(bytes(one.bytes).decode() == one.token for one in choice.logprobs.content)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_models_health_and_metrics(here: Here) -> None:
    client = here.client()
    assert [one.id for one in client.models.list()] == ["it"]
    assert client.models.retrieve("it").owned_by == "dovetail"
    assert httpx.get(here.url.replace("/v1", "/health")).json() == {"status": "ok"}
    before = here.metric("generated_tokens_total")
    ask(here, max_tokens=5)
    assert here.metric("generated_tokens_total") == before + 5
    assert here.metric("time_to_first_token_seconds_count") > 0
    assert here.metric('texts_total{reason="length"}') > 0
    assert here.metric("requests_running") == 0


@pytest.mark.parametrize("key", ["wrong", "", "é"])
def test_a_wrong_key(here: Here, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}".encode()} if key else {}
    for path in ("/v1/models", "/v1/models/it", "/metrics"):
        found = httpx.get(f"http://127.0.0.1:{here.port}{path}", headers=headers)
        assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key")
    found = httpx.post(f"{here.url}/completions", headers=headers, content=b"{")
    assert found.json()["error"]["type"] == "authentication_error"
    if key == "wrong":
        with pytest.raises(openai.AuthenticationError):
            here.client(key).models.list()


@pytest.mark.parametrize("key", ["schlüssel", "of a file\n"])
def test_a_key_of_any_characters(key: str) -> None:
    app = Front(Backend(), None, "it", key, Limits()).app()

    async def asked(given: bytes) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            headers = [(b"authorization", b"Bearer " + given)]
            return (await client.get("/v1/models/other", headers=headers)).status_code

    assert asyncio.run(asked(key.strip().encode())) == 404  # the key is right, the model is another
    assert asyncio.run(asked(b"schl")) == 401


def test_without_a_key_pages_of_a_browser_are_not_answered() -> None:
    """They could be anybody's: a name that leads to this computer makes any page one of the same origin."""
    app = Front(Backend(), None, "it", None, Limits()).app()

    async def asked(headers: dict[str, str]) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return (await client.post("/v1/completions", content=b"{", headers=headers)).status_code

    assert asyncio.run(asked({"Origin": "http://elsewhere"})) == 403
    assert asyncio.run(asked({})) == 400  # asked, and no JSON


@pytest.mark.parametrize("token", [60_000, 10**12])
def test_an_echo_of_a_token_that_does_not_exist(here: Here, token: int) -> None:
    body = json.dumps({"model": "it", "prompt": [token], "echo": True}).encode()
    found = here.post("completions", body)
    assert (found.status_code, found.json()["error"]["param"]) == (400, "prompt")


def test_who_waited_long_for_a_text_has_not_left_it_unread() -> None:
    began = time.monotonic() - 100
    ticket = Ticket((0,), began, taken=began)
    ticket.put(Made(0, (1,), "length"))  # all of it at once, after 100 seconds in the queue
    assert ticket.late
    assert time.monotonic() - ticket.taken < 50
    ticket.taken = began
    ticket.put(Made(0, (1,), None))  # the first is still unread: its age counts
    assert ticket.taken == began


def test_idleness_begins_where_an_answer_ends() -> None:
    async def watched() -> tuple[bool, bool]:
        backend = Backend()
        backend.alive = True
        front = Front(backend, None, "it", None, Limits())
        front.last = time.monotonic() - 100  # one answer, begun long ago
        ticket = Ticket((0,), front.last)
        backend.writing.add(ticket)
        server = Server(uvicorn.Config(front.app()))
        job = asyncio.create_task(_watch(server, front, 50.0))
        await asyncio.sleep(0.5)
        backend.writing.discard(ticket)
        await asyncio.sleep(0.5)
        after = server.should_exit
        front.last -= 100
        await asyncio.wait_for(job, 60)
        return after, server.should_exit

    assert asyncio.run(watched()) == (False, True)


def test_an_unknown_model_or_path(here: Here) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        ask(here, model="gpt-4")
    assert error.value.code == "model_not_found"
    assert "Try: it" in str(error.value)
    with pytest.raises(openai.NotFoundError):
        here.client().models.retrieve("a/b")
    assert "nothing here" in here.post("embeddings", b"{}").json()["error"]["message"]
    found = httpx.get(f"{here.url}/completions", headers={"Authorization": f"Bearer {SECRET}"})
    assert (found.status_code, found.json()["error"]["param"]) == (405, None)


GOOD = b'{"model": "it", "prompt": "a", '


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None), (b"{", None), (b"[]", None), (b"\xff\xfe", None), (b"null", None),
        (b"[" * 100_000, None), (b'{"model": "it", "prompt": ' + b"[" * 5000, None),
        (GOOD + b'"temperature": NaN}', None), (GOOD + b'"seed": ' + b"9" * 5000 + b"}", None),
        (b'{"model": "it"}', "prompt"), (b'{"prompt": "a"}', "model"),
        (b'{"model": "it", "prompt": 3}', "prompt"), (b'{"model": "it", "prompt": []}', "prompt"),
        (b'{"model": "it", "prompt": ""}', "prompt"), (b'{"model": "it", "prompt": [-1]}', "prompt"),
        (b'{"model": "it", "prompt": [4096]}', "prompt"), (b'{"model": "it", "prompt": "\\ud800"}', None),
        (b'{"model": "it", "prompt": [1, "a"]}', "prompt"), (b'{"model": "it", "prompt": [[1], []]}', "prompt"),
        (GOOD + b'"max_tokens": 0}', "max_tokens"), (GOOD + b'"max_tokens": 6001}', "max_tokens"),
        (GOOD + b'"max_tokens": "9"}', "max_tokens"), (GOOD + b'"temperature": -1}', "temperature"),
        (GOOD + b'"temperature": 1e999}', "temperature"), (GOOD + b'"top_p": 0}', "top_p"),
        (GOOD + b'"n": 0}', "n"), (GOOD + b'"n": 129}', "n"), (GOOD + b'"seed": 9223372036854775808}', "seed"),
        (GOOD + b'"stop": [""]}', "stop"), (GOOD + b'"stop": ["a", "b", "c", "d", "e"]}', "stop"),
        (GOOD + b'"logprobs": 6}', "logprobs"), (GOOD + b'"logprobs": 1, "echo": true}', "echo"),
        (GOOD + b'"best_of": 2}', "best_of"), (GOOD + b'"suffix": "b"}', "suffix"),
        (GOOD + b'"presence_penalty": 0.5}', "presence_penalty"), (GOOD + b'"tempreature": 0.5}', "tempreature"),
        (GOOD + b'"stream_options": {"include": true}}', "stream_options"),
        (b'{"model": "it", "prompt": "' + b"a b " * 3000 + b'"}', "prompt"),
    ],
)  # fmt: skip
def test_bodies_that_are_wrong(here: Here, body: bytes, param: str | None) -> None:
    found = here.post("completions", body)
    error = found.json()["error"]
    assert (found.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), error
    assert len(error["message"]) > 10


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"), ({"messages": [{"role": "tool", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]}, "messages"),
        ({"top_logprobs": 2}, "top_logprobs"), ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"), ({"prompt": "a"}, "prompt"),
    ],
)  # fmt: skip
def test_chats_that_are_wrong(here: Here, change: dict[str, Any], param: str) -> None:
    body = {"model": "it", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3} | change
    found = here.post("chat/completions", json.dumps(body).encode())
    assert (found.status_code, found.json()["error"]["param"]) == (400, param)


def test_what_asks_for_nothing_is_taken(here: Here) -> None:
    neutral = {"presence_penalty": 0, "logit_bias": {}, "user": "me", "suffix": None, "best_of": 1}
    assert ask(here, max_tokens=2, **neutral).usage.completion_tokens == 2


def test_a_body_of_ten_megabytes(here: Here) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        ask(here, prompt="a" * 10_000_000)
    assert error.value.status_code == 413
    assert "1,048,576 are taken" in str(error.value)

    def parts() -> Iterator[bytes]:  # of a length that is not told
        for _ in range(100):
            yield b"a" * 100_000

    found = httpx.post(f"{here.url}/completions", content=parts(), headers={"Authorization": f"Bearer {SECRET}"})
    assert (found.status_code, found.json()["error"]["code"]) == (413, "body_too_large")
    assert ask(here, max_tokens=2).usage.completion_tokens == 2


def test_a_full_queue_and_a_client_that_leaves(here: Here, embedded: Loaded) -> None:
    """Eight texts may be under way or wait; those of a client that left make room."""
    client = here.client()
    eight = {"model": "it", "prompt": [PROMPT] * 8, "max_tokens": 4000, "temperature": 0, "stream": True}
    with client.completions.create(**eight) as long:
        next(iter(long))
        here.until(lambda: here.metric("requests_waiting") == 4)
        assert here.metric("requests_running") == 4
        with pytest.raises(openai.RateLimitError) as error:
            ask(here)
        assert error.value.code == "queue_full"
        assert error.value.response.headers["retry-after"] == "1"
    here.until(lambda: here.metric("requests_running") == here.metric("requests_waiting") == 0)
    assert here.metric('texts_total{reason="cancelled"}') >= 8
    assert ask(here).choices[0].text == offline(embedded, PROMPT, 24)[0]


def test_a_client_that_waits_for_a_whole_answer_and_leaves(here: Here) -> None:
    with pytest.raises(openai.APITimeoutError):
        here.client().with_options(timeout=0.3).completions.create(model="it", prompt=PROMPT, max_tokens=4000)
    here.until(lambda: here.metric("requests_running") == 0)


def test_a_client_that_does_not_read_is_given_up(here: Here, embedded: Loaded) -> None:
    """Nobody waits for it meanwhile; what it had asked for stops to be made."""
    body = {"model": "it", "prompt": PROMPT, "max_tokens": 6000, "temperature": 0, "logprobs": 5, "stream": True}
    text = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRET}\r\n"
    head += f"Content-Length: {len(text)}\r\n\r\n"
    before = here.metric("slow_clients_total")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", here.port))
        slow.sendall(head.encode() + text)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        assert ask(here).choices[0].text == offline(embedded, PROMPT, 24)[0]
        here.until(lambda: here.metric("slow_clients_total") == before + 1)
        here.until(lambda: here.metric("requests_running") == 0)
        assert here.metric("generated_tokens_total") < 6000 + before
        slow.settimeout(30)
        with pytest.raises(OSError):  # noqa: PT012
            while slow.recv(1 << 20):
                pass
            raise OSError  # closed


def test_many_at_once_get_what_each_would_get_alone(here: Here, embedded: Loaded) -> None:
    prompts = [PROMPT, "def main():", "The quick", "class A:\n", "import os\n", "x = [", "# A", "return"]
    found: dict[str, str] = {}

    def one(prompt: str) -> None:
        found[prompt] = "".join(c.choices[0].text for c in ask(here, prompt=prompt, stream=True))

    jobs = [threading.Thread(target=one, args=(prompt,)) for prompt in prompts]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert found == {prompt: offline(embedded, prompt, 24)[0] for prompt in prompts}


def test_guesses_change_no_text(embedded: Loaded) -> None:
    how = speculation(embedded, "medusa+lookup", Given(always=4))
    with serving(embedded, Limits(), proposer=how) as found:
        texts = ask(found, prompt=[PROMPT, "The quick"], logprobs=1)
        expected = [offline(embedded, one, 24)[0] for one in (PROMPT, "The quick")]
        assert [one.text for one in texts.choices] == expected
        assert found.metric("engine_steps_total") < 23
        drawn = ask(found, temperature=0.8, seed=4).choices[0].text
        assert drawn == offline(embedded, PROMPT, 24, temperature=0.8, seed=4)[0]


def test_relaxed_guesses_leave_greedy_texts_alone(embedded: Loaded) -> None:
    with serving(embedded, Limits(), proposer=speculation(embedded, "medusa:relaxed", Given(always=6))) as found:
        assert ask(found).choices[0].text == offline(embedded, PROMPT, 24)[0]
        assert ask(found, temperature=0.8, seed=4).usage.completion_tokens == 24


def test_a_prompt_that_memory_does_not_hold(embedded: Loaded) -> None:
    with serving(embedded, Limits(), cache_bytes=1 << 20) as found:
        with pytest.raises(openai.BadRequestError) as error:
            ask(found, prompt=[5] * 200, max_tokens=100)
        assert "keys and values" in str(error.value)
        assert error.value.code == "context_length_exceeded"
        assert ask(found, prompt=[5] * 20, max_tokens=10).usage.completion_tokens == 10


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
def test_a_step_that_fails_is_told(embedded: Loaded, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """Whole answers with 500, streams with an event; those that come later are not concerned."""
    whole = Batch.step

    def fails(batch: Batch) -> None:
        if len(batch.texts[0].made) > 3:
            monkeypatch.setattr(Batch, "step", whole)
            raise kind("not enough memory")
        whole(batch)

    with serving(embedded, Limits()) as found:
        monkeypatch.setattr(Batch, "step", fails)
        with pytest.raises(openai.InternalServerError, match="not enough memory"):
            ask(found)
        monkeypatch.setattr(Batch, "step", fails)
        with pytest.raises(openai.APIError, match="not enough memory"):
            list(ask(found, stream=True))
        assert ask(found).choices[0].text == offline(embedded, PROMPT, 24)[0]


def test_an_engine_that_is_gone_is_told(embedded: Loaded) -> None:
    with serving(embedded, Limits()) as found:
        stream = iter(ask(found, max_tokens=8000, stream=True))
        next(stream)
        found.engine.shutdown(socket.SHUT_RDWR)
        with pytest.raises(openai.APIError, match="the engine has stopped"):
            list(stream)


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`dovetail serve` as users start it; it ends by itself."""
    command = [sys.executable, "-m", "dovetail", "serve", "embedded", "--port", "0", "--idle", "60", "--json", *options]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "DOVETAIL_API_KEY": ""}
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        yield started, json.loads(line or "{}")
    finally:
        started.kill()
        started.wait()
        for pipe in (started.stdout, started.stderr):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--api-key", "a", "--no-api-key"], "a key that nobody is asked for"),
        (["--api-key", "a", "--out", "kept"], "a key that would be kept"),
        (["--cache-memory", "0 GiB"], "no memory"),
        (["--max-body", "4"], "--max-body"), (["--speculate", "medusa+medusa"], "names two of a kind"),
    ],
)  # fmt: skip
def test_options_that_are_wrong(options: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    from dovetail.app.cli import main

    assert main(["serve", "embedded", "--port", "0", *options]) == 2
    assert why in capsys.readouterr().err


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    from dovetail.app.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "embedded", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: cannot listen" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_model_that_is_still_loading_is_not_waited_for(
    asked: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dovetail.app.cli import main
    from dovetail.app.serving import launch

    loaded = []

    @contextmanager
    def loading(*_: Any) -> Iterator[Any]:
        signal.raise_signal(asked)
        loaded.append(True)
        raise OSError("loaded to the end")
        yield

    monkeypatch.setattr(launch, "ready", loading)
    before = signal.getsignal(asked)
    assert main(["serve", "embedded", "--port", "0", "--quiet"]) == 130
    assert not loaded
    assert signal.getsignal(asked) is before


def streamed(client: Any, new: int) -> Any:
    return client.completions.create(model="embedded", prompt=PROMPT, max_tokens=new, temperature=0, stream=True)


def test_sigterm_lets_texts_finish(embedded: Loaded, tmp_path: Path) -> None:
    with process("--drain", "60", "--out", str(tmp_path / "kept")) as (started, told):
        assert re.fullmatch(r"dt-[\w-]{32}", told["api_key"])  # made for this run
        client = openai.OpenAI(base_url=told["url"], api_key=told["api_key"], max_retries=0)
        stream = iter(streamed(client, 200))
        text = next(stream).choices[0].text
        started.send_signal(signal.SIGTERM)
        text += "".join(chunk.choices[0].text for chunk in stream)
        assert text == offline(embedded, PROMPT, 200)[0]
        assert started.wait(60) == 0
        assert json.loads((tmp_path / "kept" / "result.json").read_text())["url"] == told["url"]
        assert not any(told["api_key"] in path.read_text() for path in (tmp_path / "kept").iterdir())
        with pytest.raises(openai.APIConnectionError):
            client.models.list()


def test_what_the_kernels_do_not_give_is_told_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with process("--recipe", "h2o:keep=64") as (_, told):
        assert sum("fused attention" in note for note in told["notes"]) == 1
    _said(told | {"notes": ["one", "two"]}, None, json=False, needed=True, out=None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("note ")] == ["one", "two"]


def test_what_does_not_finish_in_time_is_broken_off(embedded: Loaded) -> None:
    with serving(embedded, Limits(drain_s=1.0)) as found:
        stream = iter(ask(found, max_tokens=8000, stream=True))
        next(stream)
        found.server.stop()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
