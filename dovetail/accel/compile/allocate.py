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
    """First fit. `peak` is the depth that each memory needs."""

    taken: list[Room] = field(default_factory=list)
    peak: dict[str, int] = field(default_factory=dict)

    def take(self, memory: str, words: int) -> Room:
        """The lowest words that are free."""
        begin = 0
        for room in sorted((each for each in self.taken if each.memory == memory), key=lambda each: each.begin):
            if room.begin - begin >= words:
                break
            begin = max(begin, room.end)
        found = Room(memory, begin, begin + words)
        self.taken.append(found)
        self.peak[memory] = max(self.peak.get(memory, 0), found.end)
        return found

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
