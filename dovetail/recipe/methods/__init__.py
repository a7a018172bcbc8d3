"""One file for each method; the registry finds them by looking here."""
