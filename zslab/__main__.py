"""`python -m zslab COMMAND …`, the same as the command `zslab`."""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main())
