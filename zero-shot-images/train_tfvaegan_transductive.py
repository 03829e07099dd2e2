"""TF-VAEGAN on images, transductive: a second critic judges features generated for unseen classes against unlabeled ones.

    python zero-shot-images/train_tfvaegan_transductive.py --dataset CUB --dataroot DIR [--flag value ...]

It is train_tfvaegan_inductive.py with --transductive.
"""

import sys
from dataclasses import replace

from train_tfvaegan_inductive import METHOD

from zslab.experiment import main

if __name__ == "__main__":
    sys.exit(main(replace(METHOD, config=replace(METHOD.config, transductive=True)), __file__, __doc__))
