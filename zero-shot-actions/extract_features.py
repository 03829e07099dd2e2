"""Extract features of videos: the command `zslab extract`.

python zero-shot-actions/extract_features.py --help
"""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))
