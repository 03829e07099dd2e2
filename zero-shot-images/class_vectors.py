"""Make class vectors from text: the command `zslab class-vectors`.

python zero-shot-images/class_vectors.py --help
"""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["class-vectors", *sys.argv[1:]]))
