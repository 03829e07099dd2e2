"""Classify images or videos with an exported model: as a table, JSON, CSV, annotated files or a web page.

    zslab predict --model birds.zsl photo.jpg folder/
    zslab predict --model birds.zsl folder/ --json birds.json --csv birds.csv --annotated drawn/
    zslab predict --model birds.zsl --add_classes more_birds.csv --save_model more_birds.zsl
    zslab predict --model birds.zsl --describe "Red_capped_Parrot: a green parrot with a red cap" photo.jpg
    zslab predict --model birds.zsl --web

Any number of files needs the memory of one batch; those that cannot be read are listed at the end and stop nothing. Exit
status: 0 all files, 3 some could not be read, 1 an error, 130 stopped.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tyro
from tqdm import tqdm

from zslab.app.annotate import annotate
from zslab.app.model_file import Calibration
from zslab.app.prediction import Prediction
from zslab.app.predictor import Predictor
from zslab.data.formats.table import formula_safe
from zslab.errors import InputError
from zslab.features.modality import Modality
from zslab.utils.files import atomic_path, printable
from zslab.utils.flags import check_at_least

UNREADABLE = 3
SHOWN = 20  # unreadable images named at the end
STARTS = {"json": b"[", "csv": b"image,error"}  # of the files that this command writes


@dataclass(frozen=True)
class PredictConfig:
    """Flags of `zslab predict`."""

    model: Path
    """model file"""
    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """images (videos, where the model's features came from videos), and folders, which are searched to the bottom"""
    weights: str | None = None
    """the backbone's weights: a file, or default to download them; only where the model file does not hold them"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    zsl: bool = False
    """choose among the unseen classes only"""
    uncalibrated: bool = False
    """leave scores as the method gives them: without the offset and the temperature that validation chose"""
    calibration: float | None = None
    """lower the scores of seen classes by this; None: as validation chose it"""
    add_classes: Path | None = None
    """table of new unseen classes: class, then the model's attributes"""
    describe: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """"NAME: SENTENCE", a new unseen class, where class vectors came from text; its name alone will do; may be repeated"""
    text_encoder: str | None = None
    """where the encoder of the class vectors lies, if not where the model file says"""
    save_model: Path | None = None
    """write the model with the added classes to this file"""
    top: int = 5
    """classes listed for each image or video"""
    attributes: int = 8
    """attributes listed for the best class"""
    batch_size: int = 32
    """images in the network at a time; of videos it is one"""
    json: Path | None = None
    """write everything to this file"""
    csv: Path | None = None
    """write classes and probabilities to this file"""
    annotated: Path | None = None
    """folder for annotated images, of a video its middle frame, in folders as the files are"""
    web: bool = False
    """serve a page for the browser instead; for models of images"""
    host: str = "127.0.0.1"
    """the page's address; 0.0.0.0 lets the network in, which nothing protects"""
    port: int = 7860
    """the page's port"""
    examples: Path | None = None
    """folder of example images for the page"""

    def check(self) -> None:
        """Refuse flags that cannot be meant, and outputs over a folder or a file of another kind, such as a photo."""
        check_at_least(1, self, "batch_size", "top")
        check_at_least(0, self, "attributes")
        if not (self.files or self.web or self.save_model):
            fix = "Name images, videos or folders of them, or pass --web or --save_model; --help has examples."
            raise InputError("there must be something to do", where="zslab predict", got="no files", fix=fix)
        if self.calibration is not None and not math.isfinite(self.calibration):
            fix = "Pass a number such as 0.5."
            raise InputError("it must be a finite number", where="--calibration", got=self.calibration, fix=fix)
        outputs = {
            flag: path for flag in ("json", "csv", "save_model", "annotated") if (path := getattr(self, flag)) is not None
        }
        if len({path.resolve() for path in outputs.values()}) < len(outputs):
            flags = ", ".join(f"--{flag}" for flag in outputs)
            fix = "Name another file."
            raise InputError("every output must have a path of its own", where=flags, got=next(iter(outputs.values())), fix=fix)
        for flag, path in outputs.items():
            if not path.exists() or (path.is_dir() and flag == "annotated"):
                continue
            start = path.read_bytes()[:16] if path.is_file() else b""
            same_kind = start[8:9] == b"{" if flag == "save_model" else start.startswith(STARTS.get(flag, b"\0"))
            if path.is_dir() or flag == "annotated" or (start and not same_kind):
                must = (
                    "the output must be a folder" if flag == "annotated" else "the output must be new, or one of this command"
                )
                got = f"{path}, {'a folder' if path.is_dir() else 'a file of another kind'}"
                raise InputError(must, where=f"--{flag}", got=got, fix="Name another one.")


def predict(config: PredictConfig) -> int:
    """Predict and write what is asked for; return the exit status."""
    config.check()
    predictor = Predictor.load(config.model, device=config.device, weights=config.weights, text_source=config.text_encoder)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        if config.add_classes is not None:
            predictor.add_classes(config.add_classes)
        for description in config.describe:
            name, _, sentence = description.partition(": ")
            predictor.add_described(name.strip(), sentence)
    for note in notes:
        print(f"Note: {note.message}", file=sys.stderr)
    if config.save_model is not None:
        predictor.save(config.save_model)
        print(f"{config.save_model}: {len(predictor.classes_)} classes")
    if config.uncalibrated:
        predictor.model = msgspec.structs.replace(predictor.model, calibration=Calibration())
    if config.web:
        from zslab.app.web import launch  # needs gradio

        launch(predictor, host=config.host, port=config.port, examples=config.examples)
        return 0
    return _predict(predictor, config) if config.files else 0


def _predict(predictor: Predictor, config: PredictConfig) -> int:
    """Predict all files, write the outputs, and return the exit status."""
    modality = predictor.modality
    paths = modality.find(config.files)
    predictions = predictor.predict(
        paths,
        batch_size=config.batch_size,
        unseen_only=config.zsl,
        calibration=config.calibration,
        top=config.top,
        attributes=config.attributes,
    )
    unreadable: list[str] = []
    drawn: set[Path] = set()
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    with ExitStack() as stack:
        writers = [stack.enter_context(json_writer(config.json))] if config.json else []
        writers += [stack.enter_context(csv_writer(config.csv, config.top))] if config.csv else []
        print(_line(modality.name, "class", "next ones"))
        for prediction in tqdm(predictions, total=len(paths), unit=modality.name, disable=None, dynamic_ncols=True):
            for write in writers:
                write(prediction)
            if prediction.error is not None:
                unreadable.append(printable(prediction.error))
                continue
            if config.annotated is not None:
                folder = config.annotated / Path(prediction.image).absolute().parent.relative_to(common)
                _draw(prediction, modality, folder, drawn)
            best, *others = (f"{score.name} {100 * score.probability:.0f} %" for score in prediction.classes)
            best += " (seen)" if prediction.classes[0].seen else " (unseen)"
            tqdm.write(_line(printable(prediction.image), best, ", ".join(others), prediction.doubt))
    for path in filter(None, (config.json, config.csv, config.annotated)):
        print(f"-> {path}")
    if unreadable:
        print(f"{len(unreadable)} of {len(paths)} {modality.name}s could not be read:", file=sys.stderr)
        more = [f"and {len(unreadable) - SHOWN} more"] if len(unreadable) > SHOWN else []
        print(*(f"  {line}" for line in [*unreadable[:SHOWN], *more]), sep="\n", file=sys.stderr)
    return UNREADABLE if unreadable else 0


def _line(image: str, best: str, others: str, doubt: str = "") -> str:
    name = image if len(image) <= 40 else f"…{image[-39:]}"
    return f"{name:<40}  {best:<44}  {others}{f' ({doubt})' * bool(doubt)}".rstrip()


Write = Callable[[Prediction], None]


@contextmanager
def json_writer(path: Path) -> Iterator[Write]:
    """Yield a function that writes one prediction after the other into a JSON list, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        separator = "[\n"

        def write(prediction: Prediction) -> None:
            nonlocal separator
            file.write(separator + json.dumps(prediction.to_json(), allow_nan=False))
            separator = ",\n"

        yield write
        file.write("[]\n" if separator == "[\n" else "\n]\n")


@contextmanager
def csv_writer(path: Path, top: int) -> Iterator[Write]:
    """Yield a function that writes one prediction after the other into a CSV with `top` classes in each row.

    Names that a spreadsheet program would take for a formula have an apostrophe before them.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        columns = (f"{column}_{n}" for n in range(1, top + 1) for column in ("class", "probability", "seen"))
        rows.writerow(["image", "error", *columns, "familiar"])

        def write(prediction: Prediction) -> None:
            cells = [formula_safe(printable(prediction.image)), formula_safe(printable(prediction.error or ""))]
            for score in prediction.classes:
                cells += [formula_safe(score.name), f"{score.probability:.6f}", str(int(score.seen))]
            cells += [""] * (3 * top + 2 - len(cells)) + ["" if prediction.familiar is None else str(int(prediction.familiar))]
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
