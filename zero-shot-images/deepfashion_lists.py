"""Convert DeepFashion's annotation lists: the command `zslab deepfashion-lists`.

python zero-shot-images/deepfashion_lists.py --help
"""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["deepfashion-lists", *sys.argv[1:]]))
