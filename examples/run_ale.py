"""ALE on the toy birds, which are rendered on the first call; other data by --dataset, --image_embedding, --dataroot.

python examples/run_ale.py --select val --seeds 1 2 3
"""

import sys

from ale import METHOD

from zslab.config import Value
from zslab.launch import launch
from zslab.plan import Launcher

TOY: dict[str, Value] = {"dataset": "TOY", "image_embedding": "descriptor", "nepoch": 30, "eval_every": 5, "threads": 1}

LAUNCHER = Launcher(__doc__, __file__, "ale", METHOD.config, {(): TOY})

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
