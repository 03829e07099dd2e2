"""Make word vectors of attribute names: the command `zslab attribute-words`.

python zero-shot-images/attribute_words.py --help
"""

import sys

from zslab.cli import main

if __name__ == "__main__":
    sys.exit(main(["attribute-words", *sys.argv[1:]]))
