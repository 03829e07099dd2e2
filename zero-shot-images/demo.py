"""What an exported model says of your images or videos; the same command as `zslab predict`."""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
