"""Room in the overlay's memories, and what has to wait for what: two engines, each of which works in order."""

from __future__ import annotations

from dataclasses import dataclass, field

MATRIX, VECTOR = "matrix", "vector"


@dataclass(frozen=True, slots=True)
class Room:
    """Words `begin` to `end` of a memory."""

    memory: str
    begin: int
    end: int

    def meets(self, other: Room) -> bool:
        """Whether the two share a word."""
        return self.memory == other.memory and self.begin < other.end and other.begin < self.end


@dataclass(slots=True)
class Allocator:
    """Rooms one after the other, round and round: what was freed last is taken last, so that little has to wait.

    `depths` is what the memories hold; first fit where nothing else fits, beyond the depth if need be.
    `peak` is the depth that each memory needs.
    """

    depths: dict[str, int] = field(default_factory=dict)
    taken: list[Room] = field(default_factory=list)
    peak: dict[str, int] = field(default_factory=dict)
    cursor: dict[str, int] = field(default_factory=dict)

    def take(self, memory: str, words: int) -> Room:
        """Words that are free."""
        at = self.cursor.get(memory, 0)
        found = self._first(memory, words, at)
        if found.end > self.depths.get(memory, 0):
            found = self._first(memory, words, 0)
        self.taken.append(found)
        self.cursor[memory] = found.end
        self.peak[memory] = max(self.peak.get(memory, 0), found.end)
        return found

    def _first(self, memory: str, words: int, begin: int) -> Room:
        """The first words from `begin` on that are free."""
        for room in sorted((each for each in self.taken if each.memory == memory), key=lambda each: each.begin):
            if room.begin - begin >= words:
                break
            begin = max(begin, room.end)
        return Room(memory, begin, begin + words)

    def give(self, room: Room) -> None:
        """Make room free."""
        self.taken.remove(room)


@dataclass(slots=True)
class Hazards:
    """Which instruction of each engine last wrote or read each room."""

    uses: list[tuple[str, int, Room, bool]] = field(default_factory=list)

    def wait(self, engine: str, reads: list[Room], writes: list[Room]) -> int:
        """How many instructions of the other engine must be done before these reads and writes."""
        least = 0
        for other, number, room, wrote in self.uses:
            if other != engine:
                clash = any(room.meets(each) for each in writes) or (wrote and any(room.meets(each) for each in reads))
                least = max(least, number + 1) if clash else least
        return least

    def note(self, engine: str, number: int, reads: list[Room], writes: list[Room]) -> None:
        """Remember an instruction's uses; what it overwrites entirely is forgotten."""
        self.uses += [(engine, number, room, False) for room in reads]
        self.uses += [(engine, number, room, True) for room in writes]
