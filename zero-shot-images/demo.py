"""Classify images with an exported model: the command `zslab predict`.

python zero-shot-images/demo.py --help
"""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
