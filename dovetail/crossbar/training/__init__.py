"""Training networks for crossbars: what makes slices empty, bitlines small, and cells' errors harmless."""
