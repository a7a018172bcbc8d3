"""``python -m dovetail`` is the command line."""

import sys

from dovetail.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
