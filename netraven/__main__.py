"""`python -m netraven`."""

import sys

from netraven.cli import main

if __name__ == "__main__":
    sys.exit(main())
