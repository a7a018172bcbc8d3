"""The small language that recall is measured in: notes, questions, and filler between them.

A note is ``note KEY KEY VALUE VALUE VALUE .``, a question ``ask KEY KEY`` and its answer ``VALUE VALUE VALUE .``. Every
word is one token. Keys and values are of the same words, filler is of others.
"""

from __future__ import annotations

BEGIN, NOTE, ASK, STOP = range(4)  # ids; BEGIN opens every text
KEY_WORDS, VALUE_WORDS = 2, 3  # of each note
_SPECIAL = ("<s>", "note", "ask", ".")
_FIRST, _SECOND = "ba de vi gu ku zi me su", "ko mi ra tu ve zo la ne"
_TEXT = (
    "a after all and are as at back before but by came come day down every first for from great had here home house in "
    "is it land last light little long many near never night now of old on other over people place right river sea "
    "small still stone that the there through time to under water way"
)
_NAMES = tuple(first + second for first in _FIRST.split() for second in _SECOND.split())
_PROSE = tuple(_TEXT.split())

WORDS = (*_SPECIAL, *_NAMES, *_PROSE)  # the vocabulary, in the order of ids
NAMES = range(len(_SPECIAL), len(_SPECIAL) + len(_NAMES))  # ids of the words of keys and values
PROSE = range(NAMES.stop, len(WORDS))  # ids of filler
