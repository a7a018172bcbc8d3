"""The accelerator's arithmetic: one unit a file, pure functions on integers. The words are in docs/accelerator.md.

Every function takes and returns int64 arrays whose values keep to the widths that its docstring states; no intermediate
exceeds 63 bits. Hardware that agrees with these functions on all inputs is right, and no other hardware is.
"""
