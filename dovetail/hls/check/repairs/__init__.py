"""Where a bug is, from small changes that take it away: many variants in one program, each run on the tests."""
