"""Classify images or videos with an exported model: as a table, JSON, CSV, annotated files or a web page.

    zslab predict --model birds.zsl photo.jpg folder/
    zslab predict --model birds.zsl folder/ --json birds.json --csv birds.csv --annotated drawn/
    zslab predict --model birds.zsl --add_classes more_birds.csv --save_model more_birds.zsl
    zslab predict --model birds.zsl --describe "Red_capped_Parrot: a green parrot with a red cap" photo.jpg
    zslab predict --model birds.zsl --web

`demo.py` of both trees is the same command. Any number of files needs the memory of one batch; those that cannot be read
are listed at the end and stop nothing. Exit status: 0 all files, 3 some could not be read, 1 an error, 130 stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tqdm import tqdm

from zslab.app.annotate import annotate
from zslab.app.prediction import Prediction
from zslab.app.predictor import Predictor
from zslab.data.formats.table import formula_safe
from zslab.errors import InputError, examples, exit_status
from zslab.features.modality import Modality
from zslab.utils.files import atomic_path, printable
from zslab.utils.flags import check_at_least

UNREADABLE = 3
SHOWN = 20  # unreadable images named at the end


def main(argv: Sequence[str] | None = None, description: str | None = __doc__, prog: str = "zslab predict") -> int:
    """Run the command line and return its exit status.

    Args:
        argv: arguments; those of the process by default.
        description: the text of --help, with examples.
        prog: the command's name in --help.
    """
    parser = _parser(description, prog)
    own = parser.parse_args(argv)
    if not (own.files or own.web or own.save_model):
        parser.print_usage(sys.stderr)
        print(
            "Name images (of a model of actions: videos) or folders of them, or pass --web or --save_model; --help has "
            "examples.",
            file=sys.stderr,
        )
        return 1
    try:
        return exit_status(lambda: run(own), "Stopped; files that were being written are gone.")
    except BrokenPipeError:  # whoever read the table has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush fails as well
        return 130


def run(own: argparse.Namespace) -> int:
    """Predict and write what is asked for; return the exit status.

    Raises:
        InputError: model, files or flags cannot be used.
    """
    check_at_least(1, own, "batch_size", "top")
    _check_outputs(own)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # names may hold letters that the terminal's encoding lacks
        reconfigure(errors="backslashreplace")
    predictor = Predictor.load(own.model, device=own.device, weights=own.weights, text_source=own.text_encoder)
    if own.add_classes is not None or own.describe:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            if own.add_classes is not None:
                predictor.add_classes(own.add_classes)
            for description in own.describe:
                name, _, sentence = description.partition(": ")
                predictor.add_described(name.strip(), sentence)
        for note in notes:
            print(f"Note: {note.message}", file=sys.stderr)
    if own.save_model is not None:
        predictor.save(own.save_model)
        print(f"{own.save_model}: {len(predictor.classes_)} classes")
    if own.web:
        from zslab.app.web import launch  # needs gradio

        launch(predictor, host=own.host, port=own.port, examples=own.examples)
        return 0
    return _predict(predictor, own) if own.files else 0


def _predict(predictor: Predictor, own: argparse.Namespace) -> int:
    """Predict all files, write the outputs, and return the exit status."""
    modality = predictor.modality
    paths = modality.find(own.files)
    predictions = predictor.predict(
        paths,
        batch_size=own.batch_size,
        unseen_only=own.zsl,
        calibration=_calibration(predictor, own),
        top=own.top,
        attributes=own.attributes,
    )
    unreadable: list[str] = []
    drawn: set[Path] = set()
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    with ExitStack() as stack:
        writers = [stack.enter_context(json_writer(own.json))] if own.json else []
        writers += [stack.enter_context(csv_writer(own.csv, own.top))] if own.csv else []
        print(_line(modality.name, "class", "next ones"))
        for prediction in tqdm(predictions, total=len(paths), unit=modality.name, disable=None, dynamic_ncols=True):
            for write in writers:
                write(prediction)
            if prediction.error is not None:
                unreadable.append(printable(prediction.error))
                continue
            if own.annotated is not None:
                folder = own.annotated / Path(prediction.image).absolute().parent.relative_to(common)
                _draw(prediction, modality, folder, drawn)
            tqdm.write(_line(printable(prediction.image), *_words(prediction)))
    for path in filter(None, (own.json, own.csv, own.annotated)):
        print(f"-> {path}")
    if unreadable:
        print(f"{len(unreadable)} of {len(paths)} {modality.name}s could not be read:", file=sys.stderr)
        print(*(f"  {error}" for error in unreadable[:SHOWN]), sep="\n", file=sys.stderr)
        if len(unreadable) > SHOWN:
            print(f"  and {len(unreadable) - SHOWN} more", file=sys.stderr)
    return UNREADABLE if unreadable else 0


def _check_outputs(own: argparse.Namespace) -> None:
    """Refuse to write over a folder, or over a file of another kind, such as a photo named by mistake.

    Raises:
        InputError: an output exists and is not what the command would write there.
    """
    starts = {"json": b"[", "csv": b"image,error"}
    for flag, path in (("json", own.json), ("csv", own.csv), ("save_model", own.save_model)):
        if path is None or not path.exists():
            continue
        start = path.read_bytes()[:16] if path.is_file() else b""
        same_kind = start[8:9] == b"{" if flag == "save_model" else start.startswith(starts[flag])
        if not path.is_file() or (start and not same_kind):
            raise InputError(
                "the output exists and holds something else",
                where=f"--{flag}",
                found=f"{path}, {'a folder' if path.is_dir() else 'a file of another kind'}",
                expected=f"a new file, or one that an earlier --{flag} wrote",
                fix="Name another file.",
            )
    outputs = [path.resolve() for path in (own.json, own.csv, own.save_model, own.annotated) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise InputError(
            "two outputs have the same path",
            where="--json, --csv, --save_model, --annotated",
            found=examples(outputs),
            expected="a file or folder for each",
            fix="Name another file.",
        )
    if own.annotated is not None and own.annotated.exists() and not own.annotated.is_dir():
        raise InputError(
            "the output is a file",
            where="--annotated",
            found=own.annotated,
            expected="a folder for the annotated images",
            fix="Name a folder.",
        )


def _calibration(predictor: Predictor, own: argparse.Namespace) -> float:
    """Return what is subtracted from seen scores: as given, or as validation chose it, if --calibrated asks for that."""
    if own.calibration is not None:
        if not math.isfinite(own.calibration):
            raise InputError(
                "the number is not finite",
                where="--calibration",
                found=own.calibration,
                expected="what to subtract from seen scores",
                fix="Pass a number such as 0.5.",
            )
        return float(own.calibration)
    stored = predictor.model.settings.get("calibration")
    constant = float(stored) if own.calibrated and isinstance(stored, int | float) else 0.0
    if own.calibrated and not constant:
        print("Note: the model has no constant; train with --select val, or pass --calibration NUMBER.", file=sys.stderr)
    return constant


def _words(prediction: Prediction) -> tuple[str, str]:
    """Return the best class and the next ones, with their probabilities."""
    best, *others = (f"{score.name} {100 * score.probability:.0f} %" for score in prediction.classes)
    return f"{best} ({'seen' if prediction.classes[0].seen else 'unseen'})", ", ".join(others)


def _line(image: str, best: str, others: str) -> str:
    name = image if len(image) <= 40 else f"…{image[-39:]}"
    return f"{name:<40}  {best:<44}  {others}".rstrip()


Write = Callable[[Prediction], None]


@contextmanager
def json_writer(path: Path) -> Iterator[Write]:
    """Yield a function that writes one prediction after the other into a JSON list, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        started = False

        def write(prediction: Prediction) -> None:
            nonlocal started
            file.write(",\n" if started else "[\n")
            file.write(json.dumps(prediction.to_json(), allow_nan=False))
            started = True

        yield write
        file.write("\n]\n" if started else "[]\n")


@contextmanager
def csv_writer(path: Path, top: int) -> Iterator[Write]:
    """Yield a function that writes one prediction after the other into a CSV with `top` classes in each row.

    Names that a spreadsheet program would take for a formula have an apostrophe before them.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(
            ["image", "error", *(f"{column}_{n}" for n in range(1, top + 1) for column in ("class", "probability", "seen"))]
        )

        def write(prediction: Prediction) -> None:
            cells = [formula_safe(printable(prediction.image)), formula_safe(printable(prediction.error or ""))]
            for score in prediction.classes:
                cells += [formula_safe(score.name), f"{score.probability:.6f}", str(int(score.seen))]
            rows.writerow(cells)

        yield write


def _draw(prediction: Prediction, modality: Modality, folder: Path, drawn: set[Path]) -> None:
    """Save the annotated image under the file's name; a further one of the same name gets a number."""
    stem, number = Path(prediction.image).stem, 1
    while (path := folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")) in drawn:
        number += 1
    drawn.add(path)
    with atomic_path(path) as temporary:
        annotate(modality.show(Path(prediction.image)), prediction).save(temporary)


def _parser(description: str | None, prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog, description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        help="images (videos, where the model's features came from videos), and folders, which are searched to the bottom",
    )
    parser.add_argument("--model", type=Path, required=True, help="model file")
    parser.add_argument(
        "--weights",
        help="the backbone's weights: a file, or default to download them; only where the model file does not hold them",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--zsl", action="store_true", help="choose among the unseen classes only")
    parser.add_argument(
        "--calibrated",
        action="store_true",
        help="lower seen scores by the constant that validation chose, if the model has one",
    )
    parser.add_argument("--calibration", type=float, help="lower seen scores by this")
    parser.add_argument("--add_classes", type=Path, help="CSV of new unseen classes: class, then the model's attributes")
    parser.add_argument(
        "--describe",
        action="append",
        default=[],
        metavar="NAME: SENTENCE",
        help="a new unseen class, where class vectors came from text; its name alone will do; may be repeated",
    )
    parser.add_argument("--text_encoder", help="where the encoder of the class vectors lies, if not where the model file says")
    parser.add_argument("--save_model", type=Path, help="write the model with the added classes to this file")
    parser.add_argument("--top", type=int, default=5, help="classes listed for each image or video")
    parser.add_argument("--attributes", type=int, default=8, help="attributes listed for the best class")
    parser.add_argument("--batch_size", type=int, default=32, help="images in the network at a time; of videos it is one")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--csv", type=Path, help="write classes and probabilities to this file")
    parser.add_argument(
        "--annotated", type=Path, help="folder for annotated images, of a video its middle frame, in folders as the files are"
    )
    parser.add_argument("--web", action="store_true", help="serve a page for the browser instead; for models of images")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the page's address; 0.0.0.0 lets the network in, which nothing protects (127.0.0.1, this machine alone)",
    )
    parser.add_argument("--port", type=int, default=7860, help="the page's port (7860)")
    parser.add_argument("--examples", type=Path, help="folder of example images for the page")
    return parser
