"""Two small models of what pragmas do to the hardware: one reasons about the text, one replays what was executed."""
