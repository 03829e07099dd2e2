"""What an exported model says of your images: a table, JSON, CSV, annotated images, or a page in the browser.

    python zero-shot-images/demo.py --model birds.zsl photo.jpg folder/
    python zero-shot-images/demo.py --model birds.zsl folder/ --json birds.json --csv birds.csv --annotated drawn/
    python zero-shot-images/demo.py --model birds.zsl photo.jpg --add_classes more_birds.csv --zsl
    python zero-shot-images/demo.py --model birds.zsl --add_classes more_birds.csv --save_model more_birds.zsl
    python zero-shot-images/demo.py --model birds.zsl --web

A model file comes from `zslab export RUN_FOLDER`. Thousands of images go through in the memory of one batch;
those that cannot be read are listed at the end and stop nothing.
Exit status: 0 all images, 3 some images could not be read, 1 an error, 130 stopped.
"""

from __future__ import annotations

import sys

from zslab.app import demo


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return demo.main(argv, __doc__, "demo.py")


if __name__ == "__main__":
    sys.exit(main())
