"""Integer models as instructions, a weights image and a memory map for the overlay."""
