"""Continuous batching: requests join the running batch when their prompts are read, and leave it when they are done."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache import forecast
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decode import end_tokens
from dovetail.runtime.decoding.batch import CHUNK, Batch
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.proposal import Proposer, Text
from dovetail.runtime.decoding.runner import Runner, runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.load import Loaded
from dovetail.runtime.serving.admission import refuse
from dovetail.runtime.serving.prefixes import Prefixes
from dovetail.runtime.serving.request import CANCELLED, FAILED, LENGTH, STOP, Facts, Made, Request, Scored, State
from dovetail.runtime.serving.room import Room

PLACES = 64  # texts decoded together: the kernels for few tokens end there
TREE = 64  # tokens that a step with guesses may write for each
_PREFIXES = 4  # one in so many bytes may hold what prompts begin with alike
_SHARE = 0.5  # of the memory that is free, for keys and values, where nothing else is said
_SOME = 8 << 30  # bytes, where a computer does not say what is free


@dataclass(slots=True, eq=False)
class _Served:
    """A request that was begun."""

    request: Request
    text: Text
    sent: int
    scored: list[Scored] = field(default_factory=list)
    cancelled: bool = False
    failed: str = ""  # why, of one that cannot be read


class Engine:
    """Owns a model and decodes what is asked of it; not for more than one thread.

    A step reads at most `chunk` tokens of prompts that wait, then makes the next tokens of all running texts: a long
    prompt does not hold them up for longer than that. What a request becomes is what `Loop.run` makes of it alone, but
    for the order of floating-point sums.

    Parameters
    ----------
    loaded : Loaded
    proposer : Proposer or None
        Guesses the tokens to come; texts stay the same.
    plan : CachePlan or None
        What caches keep; a prompt is then read in one piece.
    places : int
        Texts that are decoded together at most.
    chunk : int
        Tokens of prompts between two steps.
    cache_bytes : int or None
        What keys and values may take; None for half of the memory that is free.
    """

    def __init__(
        self, loaded: Loaded, proposer: Proposer | None = None, *, plan: CachePlan | None = None, places: int = PLACES,
        chunk: int = CHUNK, cache_bytes: int | None = None,
    ) -> None:  # fmt: skip
        if places < 1 or chunk < 1:
            raise DovetailError(f"{places} texts, {chunk} tokens of a prompt", where="engine", hint="1 or more of each")
        self._runner, self._proposer, self._plan, self._chunk = runner_of(loaded), proposer, plan, chunk
        self._ends = end_tokens(loaded)
        free = cache_bytes or int(_SHARE * (forecast.free_on(loaded.device) or _SOME))
        one, shares = _token_bytes(self._runner), plan is None and not (proposer and proposer.observes)
        self._prefixes = Prefixes(free // one // _PREFIXES if shares else 0)
        step = TREE if proposer else 1
        self._room = Room(self._runner, plan, one, free, places, step, lambda: self._prefixes.tokens)
        fits = self._room.longest(loaded.max_context)
        self.facts = Facts(loaded.max_context, loaded.vocabulary, fits, free, places)
        self._waiting: deque[_Served] = deque()
        self._served: dict[int, _Served] = {}  # by the index of their text, which is the request's id
        self._order: dict[int, int] = {}  # of texts that are read or running: when each began
        self._count = count()
        self._reading: Batch | None = None
        self._running = Batch(self._runner, [], 1, proposer, plan)
        self._steps = self._tokens = 0
        if proposer:
            proposer.begin()

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._served)

    @property
    def state(self) -> State:
        running = len(self._running.texts)
        held, kept = self._running.cache.bytes, self._prefixes.tokens * self._room.token_bytes
        return State(running, len(self._served) - running, held, self._steps, self._tokens, kept, self._prefixes.reused)

    def submit(self, request: Request) -> None:
        """Take a request, which waits for its turn.

        Raises
        ------
        DovetailError
            No token, one outside the vocabulary, more than the context or the memory holds.
        """
        refuse(self.facts, len(request.prompt), request.most)
        if not 0 <= min(request.prompt) <= max(request.prompt) < self.facts.vocabulary:
            why = f"the vocabulary has {self.facts.vocabulary} tokens"
            raise DovetailError("a token does not exist", where="prompt", why=why)
        nothing = torch.empty(0, device=self._runner.device)
        sampling = Sampling(request.temperature, request.top_k, request.top_p, request.seed)
        choose = Chooser(sampling, request.sequence)
        prompt = list(request.prompt)
        text = Text(request.id, prompt, len(prompt), choose, nothing, most=request.most, ends=self._ends)
        served = _Served(request, text, len(prompt))
        if request.logprobs is not None:
            text.scored = _scorer(served.scored, request.logprobs)
        self._served[request.id] = served
        self._waiting.append(served)

    def cancel(self, request: int) -> None:
        """Give a request up: its place is free at the next step. One that is over already is no error."""
        if (served := self._served.get(request)) is not None:
            served.cancelled = served.text.done = True
            if served in self._waiting:
                self._waiting.remove(served)

    def step(self) -> list[Made]:
        """Go on with everything; what became of it. What goes wrong ends the texts that are under way only."""
        with torch.inference_mode():
            try:
                return self._step()
            except Exception as error:  # not enough memory, above all; else a fault of ours, which is shown
                if not isinstance(error, RuntimeError | MemoryError):
                    traceback.print_exception(error)
                return self._failed(" ".join(f"{error or type(error).__name__}".split())[:200])

    def _step(self) -> list[Made]:
        self._running.leave()  # what was cancelled
        left = self._chunk
        while left > 0 and (batch := self._next()) is not None:
            began = batch.unread
            batch.read(left)
            left -= began - batch.unread
            if not batch.unread:
                self._reading = None
                if self._prefixes.most:
                    self._prefixes.learn(batch, self._room.cells - self._running.cache.room - batch.cache.room)
                self._bound(batch.texts[0])
                self._running.join(batch)
                self._running.leave()
        while self._room.overfull(self._running.texts, self._read):
            self._put_back()
        if self._running.texts:
            self._bound(self._read)
            self._running.step()
            self._running.leave()
            self._steps += 1
        return [made for served in list(self._served.values()) if (made := self._told(served)) is not None]

    @property
    def _read(self) -> Text | None:
        """The text whose prompt is being read."""
        return self._reading.texts[0] if self._reading is not None and self._reading.texts else None

    def _bound(self, beside: Text | None) -> None:
        """What memory the running texts may take beside a text that has a cache of its own."""
        self._running.cache.most = self._room.most(beside)

    def _put_back(self) -> None:
        """Let the youngest text wait, and be read again with what was made of it: others need its memory."""
        reading = self._reading
        batch = self._running if reading is None else reading
        text = max(batch.texts, key=lambda one: self._order[one.index])
        served = self._served[text.index]
        made = len(text.tokens) - text.prompt
        served.text = replace(text, tokens=[*text.tokens], prompt=len(text.tokens), most=text.most - made)
        text.done = True
        batch.leave()
        if reading is not None:
            self._reading = None
        self._waiting.appendleft(served)

    def _next(self) -> Batch | None:
        """The prompt to go on with, if there is a place and memory for it."""
        if self._reading is not None and not self._reading.texts[0].done:
            return self._reading
        if self._reading is not None:
            self._reading.leave()
            self._reading = None
        while self._waiting and self._room.holds(self._running.texts, text := self._waiting[0].text):
            try:
                forecast.check_texts(self._runner, self._plan, [text.prompt], forecast.free_on(self._runner.device))
            except DovetailError as error:
                if self._running.texts:  # which leave some day
                    return None
                served = self._waiting.popleft()
                served.failed, text.done = str(error), True
                continue
            self._waiting.popleft()
            self._order[text.index] = next(self._count)
            self._reading = Batch(self._runner, [text], text.prompt + 1, self._proposer, self._plan)
            self._prefixes.begin(self._reading)
            return self._reading
        return None

    def _told(self, served: _Served) -> Made | None:
        text, count = served.text, len(served.text.tokens)
        if count == served.sent and not text.done:
            return None
        new = tuple(text.tokens[served.sent :])
        served.sent = count
        self._tokens += len(new)
        scored = tuple(served.scored)
        served.scored.clear()
        if not text.done:
            return Made(text.index, new, None, scored)
        self._forget(served)
        return Made(text.index, new, self._reason(served), scored, served.failed)

    def _forget(self, served: _Served) -> None:
        del self._served[served.request.id]
        self._order.pop(served.request.id, None)

    def _reason(self, served: _Served) -> str:
        text = served.text
        if served.cancelled or served.failed:
            return CANCELLED if served.cancelled else FAILED
        return STOP if text.tokens[-1] in self._ends else LENGTH

    def _failed(self, why: str) -> list[Made]:
        """Give up what was under way; requests that wait still have their turn."""
        begun = [*self._running.texts, *(self._reading.texts if self._reading else ())]
        self._reading, self._running = None, Batch(self._runner, [], 1, self._proposer, self._plan)
        for text in begun:
            text.done = True
        if self._proposer:
            self._proposer.leave(begun)
            self._proposer.begin()
        over = [served for served in self._served.values() if served not in self._waiting]
        for served in over:
            self._forget(served)
        return [Made(served.request.id, (), FAILED, (), why) for served in over]


def _scorer(found: list[Scored], count: int) -> Callable[[list[int], Tensor], None]:
    """What appends the chances of tokens, and of the `count` likeliest beside them."""

    def scored(tokens: list[int], logits: Tensor) -> None:
        chances = torch.log_softmax(logits.double(), -1)
        top = chances.topk(min(count, chances.shape[-1]), -1)
        own = chances.gather(-1, torch.tensor(tokens, device=chances.device).unsqueeze(1)).flatten().tolist()
        rows = zip(own, top.indices.tolist(), top.values.tolist(), strict=True)
        found.extend(Scored(chance, tuple(zip(ids, values, strict=True))) for chance, ids, values in rows)

    return scored


def _token_bytes(runner: Runner) -> int:
    """Keys and values of one token, by a pass over one."""
    cache = KVCache(len(runner.layers), 1, device=runner.device)
    with torch.inference_mode():
        runner.forward(torch.zeros(1, 1, dtype=torch.long, device=runner.device), cache)
    cache.keep([1])
    return cache.bytes
