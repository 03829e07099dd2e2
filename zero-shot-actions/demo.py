"""What an exported model of actions says of your videos: a table, JSON, CSV, and middle frames with the prediction beside them.

    pip install -e '.[video]'
    python zero-shot-actions/demo.py --model actions.zsl clip.mp4 folder/
    python zero-shot-actions/demo.py --model actions.zsl folder/ --json actions.json --csv actions.csv --annotated drawn/
    python zero-shot-actions/demo.py --model actions.zsl clip.mp4 --add_classes more_actions.csv --zsl

A model file comes from `zslab export RUN_FOLDER --weights ...`, of a run whose features extract_features.py made:
it takes windows, transforms and network from there. One video is in memory at a time; those that cannot be read are listed
at the end and stop nothing. JSON and CSV are those of images, the file in the column `image`. There is no page (--web).
Exit status: 0 all videos, 3 some videos could not be read, 1 an error, 130 stopped.
"""

from __future__ import annotations

import sys

from zslab.app import demo


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return demo.main(argv, __doc__, "demo.py")


if __name__ == "__main__":
    sys.exit(main())
