"""Draw splits into seen and unseen classes: the command `zslab splits`.

python zero-shot-actions/make_splits.py --help
"""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["splits", *sys.argv[1:]]))
