"""A server under load: is anything lost or wrong, does memory stay flat, how long do clients wait, what do many gain.

    OMP_NUM_THREADS=1 python bench/serve.py [--requests 2000] [--clients 64] [--only load,throughput,wide,alike,chats]

`dovetail serve` in processes of its own, at 127.0.0.1; clients here, as few instructions as they can be: sockets that
count events while they come and read them afterwards.

- load: clients that stream greedy texts of the embedded model, 10 % of which leave in the middle and 5 % of which send
  nonsense. Lost: texts without an end. Wrong: texts that are not what `Loop.run` makes of their prompt alone; for each
  the gap of the two likeliest logits where they part. Memory: resident bytes of both processes, at a quarter of the
  requests and at the end. Latency: to the first event and between events.
- throughput: tokens a second of 32 clients against those of one, texts of 128 tokens after prompts of 32.
- wide: the same for a Llama of 100 M parameters with random weights, texts of 32 tokens.
- alike: CPU seconds of the engine to the first token of prompts that begin with the same 1,024 tokens, or not.
- chats: texts that run together in 1 GiB where none says how long it will be, the context of the model at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.runtime.corpus import documents
from dovetail.runtime.decode import end_tokens
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.streaming import TextStream
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.memory import resident_bytes
from dovetail.runtime.serving.engine import Engine
from dovetail.runtime.serving.request import Request

KEY = "bench"
PROMPTS = 400  # different ones
MALFORMED = (b"{", b"[]", b'{"model": "embedded"}', b'{"model": "none", "prompt": "a"}', b'{"prompt": 3}', b"\xff\xfe")
WIDE = {
    "vocab_size": 4096, "hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 14,
    "num_attention_heads": 12, "num_key_value_heads": 4, "max_position_embeddings": 4096, "bos_token_id": 0,
    "eos_token_id": 0,
}  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What one client saw of one request."""

    status: int = 0
    times: list[float] = field(default_factory=list)  # of arrivals, the request itself first
    data: bytearray = field(default_factory=bytearray)

    def text(self) -> tuple[str, bool, int]:
        """The text, whether it came to its end, and the tokens that the server counted."""
        text, ended, tokens = "", False, 0
        for line in bytes(self.data).split(b"\n"):
            if line.startswith(b"data: {"):
                found = json.loads(line[6:])
                text += "".join(choice["text"] for choice in found["choices"])
                tokens = (found.get("usage") or {}).get("completion_tokens", tokens)
            ended = ended or line.startswith(b"data: [DONE]")
        return text, ended, tokens


class Client(asyncio.Protocol):
    """One connection that posts one body after the other."""

    def __init__(self, port: int) -> None:
        self.port, self.transport = port, None

    async def post(self, body: bytes, leave_after: int = 0) -> Seen:
        """Ask, and wait for the end; or close the connection after some events."""
        if self.transport is None or self.transport.is_closing():
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
        self.seen, self.leave, self.over = Seen(), leave_after, asyncio.get_running_loop().create_future()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        self.seen.times.append(time.perf_counter())
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.over
        return self.seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        seen = self.seen
        if not seen.status:
            seen.status = int(data[9:12])
        if b"data: " in data:
            seen.times.append(time.perf_counter())
        seen.data += data
        if self.leave and len(seen.times) > self.leave:
            self.transport.abort()
        elif seen.data.endswith(b"0\r\n\r\n") or (seen.status != 200 and b"}}" in data):
            self.over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if not self.over.done():
            self.over.set_result(None)


@contextmanager
def server(model: str, *options: str) -> Iterator[tuple[int, list[int]]]:
    """A server's port, and the ids of its processes."""
    command = [sys.executable, "-m", "dovetail", "serve", model, "--name", "it", "--port", "0", "--api-key", KEY]
    process = subprocess.Popen([*command, "--idle", "60", "--json", "--quiet", *options], stdout=subprocess.PIPE)
    try:
        port = int(json.loads(process.stdout.readline())["url"].split(":")[2].split("/")[0])
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield port, [process.pid, *map(int, children)]
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"  the server ended with {process.wait(60)}")


def asked(prompt: Sequence[int], new: int) -> bytes:
    options = {"model": "it", "prompt": list(prompt), "max_tokens": new, "temperature": 0, "stream": True}
    return json.dumps(options | {"stream_options": {"include_usage": True}}).encode()


def prompts(loaded: Loaded, count: int, source: random.Random, least: int = 8, most: int = 64) -> list[list[int]]:
    """Windows of documents that the model was not trained on."""
    texts = [loaded.tokenizer(one.text, add_special_tokens=False).input_ids for one in documents("test")]
    texts = [text for text in texts if len(text) > most]
    found = []
    for _ in range(count):
        text, size = source.choice(texts), source.randint(least, most)
        begin = source.randrange(len(text) - size)
        found.append(text[begin : begin + size])
    return found


def offline(loaded: Loaded, prompt: list[int], new: int) -> list[int]:
    return list(Loop(runner_of(loaded), new, Sampling(), end_tokens(loaded)).run([prompt]).tokens[0])


def text_of(loaded: Loaded, tokens: Sequence[int]) -> str:
    stream = TextStream(loaded.tokenizer)
    for token in tokens:
        stream.add(token)
    return stream.close()


def gap(loaded: Loaded, prompt: list[int], made: list[int], text: str) -> float:
    """Between the two likeliest logits, at the least sure of the places where another text may have left this one."""
    place = next((n for n in range(len(made)) if not text.startswith(text_of(loaded, made[: n + 1]))), len(made) - 1)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([prompt + made[:place]])).logits[0, -1]
    best = logits.topk(2).values
    return float(best[0] - best[1])


def resident(processes: list[int]) -> int:
    return sum(resident_bytes("VmRSS", Path(f"/proc/{one}/status")) or 0 for one in processes)


def cpu_s(process: int) -> float:
    """CPU seconds that a process has used (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(values: list[float]) -> str:
    cut = statistics.quantiles(values, n=100)
    return f"p50 {cut[49] * 1e3:.2f} ms, p99 {cut[98] * 1e3:.2f} ms"


async def loaded_with(port: int, bodies: list[tuple[bytes, int]], clients: int, after: dict[int, object]) -> list[Seen]:
    """All requests, by so many clients; `after` some of them, something is called."""
    found: list[Seen | None] = [None] * len(bodies)
    waiting, done = iter(range(len(bodies))), 0

    async def client() -> None:
        nonlocal done
        mine = Client(port)
        for at in waiting:
            found[at] = await mine.post(*bodies[at])
            done += 1
            if done in after:
                after[done]()

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


def under_load(loaded: Loaded, requests: int, clients: int) -> None:
    source = random.Random(0)
    known = [(prompt, source.randint(16, 64)) for prompt in prompts(loaded, PROMPTS, source)]
    print(f"load: {requests} requests, {clients} clients")
    made = [offline(loaded, *one) for one in known]
    texts = [text_of(loaded, tokens) for tokens in made]
    plan = [(source.random(), source.randrange(len(known))) for _ in range(requests)]
    bodies = [
        (source.choice(MALFORMED), 0) if kind < 0.05
        else (asked(*known[at]), source.randint(1, 12) if kind < 0.15 else 0)
        for kind, at in plan
    ]  # fmt: skip
    with server("embedded") as (port, processes):
        marks: list[int] = []
        mark = lambda: marks.append(resident(processes))  # noqa: E731
        began = time.perf_counter()
        found = asyncio.run(loaded_with(port, bodies, clients, {requests // 4: mark, requests: mark}))
        took = time.perf_counter() - began
    lost = wrong = whole = tokens = refused = left = 0
    first, between = [], []
    for (kind, at), seen in zip(plan, found, strict=True):
        if kind < 0.05:
            refused += 400 <= seen.status < 500
            continue
        if kind < 0.15:
            left += 1
            continue
        text, ended, count = seen.text()
        whole, tokens = whole + 1, tokens + count
        lost += not ended
        if ended and text != texts[at]:
            wrong += 1
            print(f"  differs: gap {gap(loaded, known[at][0], made[at], text):.2e}")
        first.append(seen.times[1] - seen.times[0])
        steps = zip(seen.times[1:-1], seen.times[2:], strict=True)
        between += [later - earlier for earlier, later in steps]
    nonsense, (early, late) = sum(kind < 0.05 for kind, _ in plan), (mark / 1e6 for mark in marks)
    print(f"  {whole} whole, {left} left by their clients, {refused} refused of {nonsense} malformed")
    print(f"  lost {lost}, wrong {wrong}, {tokens / took:,.0f} tok/s in {took:.1f} s")
    print(f"  memory {early:.1f} MB after a quarter, {late:.1f} MB at the end ({late - early:+.1f} MB)")
    print(f"  first token {spread(first)}; between events {spread(between)}")


def throughput(loaded: Loaded | None, model: str, vocabulary: int, new: int) -> None:
    source = random.Random(1)
    if loaded is not None:
        texts = prompts(loaded, 256, source, 32, 32)
    else:
        texts = [[source.randrange(1, vocabulary) for _ in range(32)] for _ in range(256)]
    rates: dict[int, list[float]] = {1: [], 32: []}
    costs: dict[int, list[list[float]]] = {1: [], 32: []}
    with server(model) as (port, processes):
        asyncio.run(loaded_with(port, [(asked(t, 8), 0) for t in texts[:8]], 4, {}))
        for _ in range(3):
            for clients, found in rates.items():
                count = clients * 4
                bodies = [(asked(source.choice(texts), new), 0) for _ in range(count)]
                began, used = time.perf_counter(), [cpu_s(one) for one in processes]
                seen = asyncio.run(loaded_with(port, bodies, clients, {}))
                took, tokens = time.perf_counter() - began, sum(one.text()[2] for one in seen)
                found.append(tokens / took)
                costs[clients].append([(cpu_s(one) - before) / tokens for one, before in zip(processes, used)])
    for clients, rows in costs.items():
        each = [f"{statistics.median(column) * 1e6:,.0f}" for column in zip(*rows)]
        print(f"  {clients:>2} clients: CPU us a token: engine {each[0]}, HTTP {each[1]}")
    one, many = statistics.median(rates[1]), statistics.median(rates[32])
    print(f"  {model}: 1 client {one:,.0f} tok/s, 32 clients {many:,.0f} tok/s: {many / one:.2f}x")


def wide(folder: Path) -> None:
    """A random Llama of 100 M parameters, with the embedded model's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**WIDE)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((weights_of(Model.load("embedded")) / name).read_bytes())


def alike(loaded: Loaded, begin: int = 1024, own: int = 32, count: int = 10) -> None:
    source = random.Random(0)

    def some(tokens: int) -> tuple[int, ...]:
        return tuple(source.randrange(5, loaded.vocabulary) for _ in range(tokens))

    first = some(begin)
    every = [first + some(own) for _ in range(count)]
    for name, shared in (("read whole", [some(begin) + one[begin:] for one in every]), ("alike", every)):
        engine, took = Engine(loaded), []
        for index, prompt in enumerate(shared):
            engine.submit(Request(index, prompt, 2))
            began = time.process_time()
            while not engine.step():
                pass
            took.append(time.process_time() - began)
            while engine.busy:
                engine.step()
        print(f"  {name:<12}{statistics.median(took[2:]) * 1e3:>8.1f} ms of CPU to the first token, from the third on")


def chats(loaded: Loaded, count: int = 64, size: int = 1 << 30) -> None:
    engine = Engine(loaded, cache_bytes=size)
    for index in range(count):
        prompt = tuple(range(5, 37 + index))
        engine.submit(Request(index, prompt, engine.facts.longest - len(prompt)))
        engine.step()
    held = engine.state.cache_bytes
    print(f"  {engine.state.running} of {count} run together, {held / 1e6:.0f} MB of keys and values held")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--only", default="load,throughput,wide,alike,chats")
    given = parser.parse_args()
    wanted = given.only.split(",")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    loaded = load(weights_of(Model.load("embedded")))
    if "load" in wanted:
        under_load(loaded, given.requests, given.clients)
    if "throughput" in wanted:
        print("throughput: texts of 128 tokens")
        throughput(loaded, "embedded", loaded.vocabulary, 128)
    if "alike" in wanted:
        print("alike: prompts of 1,024 tokens and 32 of their own")
        alike(loaded)
    if "chats" in wanted:
        print("chats: 1 GiB for keys and values")
        chats(loaded)
    if "wide" in wanted:
        print("wide: texts of 32 tokens")
        with tempfile.TemporaryDirectory() as folder:
            wide(Path(folder))
            throughput(None, folder, WIDE["vocab_size"], 32)


if __name__ == "__main__":
    main()
