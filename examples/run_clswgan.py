"""f-CLSWGAN on the toy birds, which are rendered on the first call; other data by --dataset, --image_embedding, --dataroot.

python examples/run_clswgan.py --select val --seeds 1 2 3
"""

import sys

from clswgan import METHOD

from zslab.config import Value
from zslab.launch import launch
from zslab.plan import Launcher

TOY: dict[str, Value] = {
    "dataset": "TOY",
    "image_embedding": "descriptor",
    "ngh": 256,
    "ndh": 256,
    "nepoch": 60,
    "eval_every": 5,
    "threads": 1,
}

LAUNCHER = Launcher(__doc__, __file__, "clswgan", METHOD.config, {(): TOY})

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
