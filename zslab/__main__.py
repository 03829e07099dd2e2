"""`python -m zslab COMMAND …`, the same as the command `zslab`."""

import sys

from zslab.cli import main

sys.exit(main())
