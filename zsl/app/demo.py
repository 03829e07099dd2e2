"""The demo of both trees: what a kept model says of pictures or videos, as a table, JSON, CSV, drawn, or as a page.

`demo.py` of a tree is a command line with that tree's examples; what it does is here. Thousands of pictures go through in
the memory of one batch; those that cannot be read are listed at the end and stop nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zsl.app.annotate import annotate
from zsl.app.predictor import Prediction, Predictor
from zsl.errors import exit_status
from zsl.features.media import Medium
from zsl.flags import check_at_least
from zsl.runs.files import atomic_path

UNREADABLE = 3
SHOWN = 20  # unreadable pictures named at the end


def main(description: str, argv: list[str] | None = None) -> int:
    """The command line; returns the exit status.

    Args:
        description: for --help, with examples.
        argv: arguments, those of the process where not given.
    """
    parser = _parser(description)
    own = parser.parse_args(argv)
    if not (own.files or own.web or own.save_model):
        parser.print_usage(sys.stderr)
        print("Name pictures (of a model of actions: videos) or folders of them, or pass --web or --save_model; --help has "
              "examples.", file=sys.stderr)
        return 1
    try:
        return exit_status(lambda: run(own), "Stopped; files that were being written are gone.")
    except BrokenPipeError:  # whoever read the table has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush fails as well
        return 130


def run(own: argparse.Namespace) -> int:
    """Predicts and writes what is asked for; returns the exit status.

    Raises:
        InputError: model, files or flags cannot be used.
    """
    check_at_least(1, own, "batch_size", "top")
    predictor = Predictor.load(own.model, device=own.device, weights=own.weights)
    if own.add_classes is not None:
        predictor.add_classes(own.add_classes)
    if own.save_model is not None:
        predictor.save(own.save_model)
        print(f"{own.save_model}: {len(predictor.classes_)} classes")
    if own.web:
        from zsl.app.web import launch  # needs gradio

        launch(predictor, host=own.host, port=own.port, examples=own.examples)
        return 0
    if not own.files:
        return 0
    medium = predictor.medium
    paths = medium.find(own.files)
    constant = own.calibration
    if constant is None:
        constant = float(predictor.model.settings.get("calibration", 0.0)) if own.calibrated else 0.0
        if own.calibrated and not constant:
            print("Note: the model has no constant; train with --select val, or pass --calibration NUMBER.", file=sys.stderr)
    predictions = predictor.predict(
        paths, batch_size=own.batch_size, unseen_only=own.zsl, calibration=constant, top=own.top, attributes=own.attributes,
    )
    unreadable: list[Prediction] = []
    drawn: set[Path] = set()
    above = Path(os.path.commonpath([path.absolute().parent for path in paths]))  # of all files
    with ExitStack() as stack:
        writers = [stack.enter_context(writer(path)) for writer, path in ((json_writer, own.json), (_csv(own.top), own.csv))
                   if path is not None]
        print(_line(medium.name, ["class", "", "next ones"]))
        for prediction in tqdm(predictions, total=len(paths), unit=medium.name, disable=None, dynamic_ncols=True):
            for write in writers:
                write(prediction)
            if prediction.error is not None:
                unreadable.append(prediction)
                continue
            if own.annotated is not None:
                folder = own.annotated / Path(prediction.picture).absolute().parent.relative_to(above)
                _draw(prediction, medium, folder, drawn)
            tqdm.write(_line(prediction.picture, _words(prediction)))
    for path in filter(None, (own.json, own.csv, own.annotated)):
        print(f"-> {path}")
    if unreadable:
        print(f"{len(unreadable)} of {len(paths)} {medium.name}s could not be read:", file=sys.stderr)
        print(*(f"  {prediction.error}" for prediction in unreadable[:SHOWN]), sep="\n", file=sys.stderr)
        if len(unreadable) > SHOWN:
            print(f"  and {len(unreadable) - SHOWN} more", file=sys.stderr)
    return UNREADABLE if unreadable else 0


def _words(prediction: Prediction) -> list[str]:
    kind = {True: "seen", False: "unseen"}
    best, *others = (
        f"{score.name} {100 * score.probability:.0f} %" + f" ({kind[score.seen]})" * (number == 0)
        for number, score in enumerate(prediction.classes)
    )
    return [best, "", ", ".join(others)]


def _line(picture: str, words: Iterable[str]) -> str:
    name = picture if len(picture) <= 40 else f"…{picture[-39:]}"
    best, _, others = words
    return f"{name:<40}  {best:<44}  {others}".rstrip()


@contextmanager
def json_writer(path: Path) -> Iterator[Any]:
    """Yields what writes one prediction after the other into a JSON list, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        started = False

        def write(prediction: Prediction) -> None:
            nonlocal started
            file.write(",\n" if started else "[\n")
            file.write(json.dumps(prediction.to_json(), allow_nan=False))
            started = True

        yield write
        file.write("\n]\n" if started else "[]\n")


def _csv(top: int):
    """A writer of CSV with `top` classes a row."""

    @contextmanager
    def csv_writer(path: Path) -> Iterator[Any]:
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["picture", "error",
                           *(f"{column}_{n}" for n in range(1, top + 1) for column in ("class", "probability", "seen"))])

            def write(prediction: Prediction) -> None:
                cells = [cell for score in prediction.classes
                         for cell in (score.name, f"{score.probability:.6f}", int(score.seen))]
                rows.writerow([prediction.picture, prediction.error or "", *cells])

            yield write

    return csv_writer


def _draw(prediction: Prediction, medium: Medium, folder: Path, drawn: set[Path]) -> None:
    """Saves the annotated picture under the file's name; a further one of the same name gets a number."""
    stem, number = Path(prediction.picture).stem, 1
    while (path := folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")) in drawn:
        number += 1
    drawn.add(path)
    with atomic_path(path) as temporary:
        annotate(medium.show(Path(prediction.picture)), prediction).save(temporary)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="pictures (videos, where the model's features came from videos), "
                        "and folders, which are searched to the bottom")
    parser.add_argument("--model", type=Path, required=True, help="model file")
    parser.add_argument("--weights", help="the backbone's weights: a file, or default to download them; only where the model "
                        "file does not hold them")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--zsl", action="store_true", help="choose among the unseen classes only")
    parser.add_argument("--calibrated", action="store_true",
                        help="lower seen scores by the constant that validation chose, if the model has one")
    parser.add_argument("--calibration", type=float, help="lower seen scores by this")
    parser.add_argument("--add_classes", type=Path, help="CSV of new unseen classes: class, then the model's attributes")
    parser.add_argument("--save_model", type=Path, help="write the model with the added classes to this file")
    parser.add_argument("--top", type=int, default=5, help="classes listed for each picture or video")
    parser.add_argument("--attributes", type=int, default=8, help="attributes listed for the best class")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures in the network at a time; of videos it is one")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--csv", type=Path, help="write classes and probabilities to this file")
    parser.add_argument("--annotated", type=Path, help="folder for annotated pictures, of a video its "
                        "middle frame, in folders as the files are")
    parser.add_argument("--web", action="store_true", help="serve a page for the browser instead; for models of "
                        "pictures")
    parser.add_argument("--host", default="127.0.0.1", help="the page's address; 0.0.0.0 lets the network in, which nothing "
                        "protects (127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="the page's port (7860)")
    parser.add_argument("--examples", type=Path, help="folder of example pictures for the page")
    return parser
