"""Make a data set of your own images; the same command as `zslab prepare`."""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
