"""Classify images or videos with an exported model: as a table, JSON, CSV, annotated files or a web page.

    zslab predict --model birds.zsl photo.jpg folder/
    zslab predict --model birds.zsl folder/ --json birds.json --csv birds.csv --annotated drawn/
    zslab predict --model birds.zsl --add_classes more_birds.csv --save_model more_birds.zsl
    zslab predict --model birds.zsl --describe "Red_capped_Parrot: a green parrot with a red cap" photo.jpg
    zslab predict --model birds.zsl --web

Any number of files needs the memory of one batch; those that cannot be read are listed at the end and stop nothing. Exit
status: 0 all files, 3 some could not be read, 1 an error, 130 stopped.
"""

import csv
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, count, repeat
from pathlib import Path

import msgspec
import tyro
from tqdm import tqdm

from zslab.app.annotate import annotate
from zslab.app.prediction import Prediction
from zslab.app.predictor import Predictor
from zslab.data.formats.table import formula_safe
from zslab.errors import InputError, examples
from zslab.features.sources import Modality
from zslab.results.result import Calibration
from zslab.utils.files import atomic_path, printable, refuse_existing
from zslab.utils.flags import check_at_least

UNREADABLE = 3


@dataclass(frozen=True)
class PredictConfig:
    """Flags of `zslab predict`."""

    model: Path  #: model file
    #: images (videos, where the model's features came from videos), and folders, which are searched to the bottom
    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    #: the backbone's weights: a file, or default to download them; only where the model file does not hold them
    weights: str | None = None
    device: str = "auto"  #: auto, cpu, cuda or cuda:N
    zsl: bool = False  #: choose among the unseen classes only
    #: leave scores as the method gives them: without the offset and the temperature that validation chose
    uncalibrated: bool = False
    calibration: float | None = None  #: lower the scores of seen classes by this; None: as validation chose it
    add_classes: Path | None = None  #: table of new unseen classes: class, then the model's attributes
    #: "NAME: SENTENCE", a new unseen class, where class vectors came from text; its name alone will do; may be repeated
    describe: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    text_encoder: str | None = None  #: where the encoder of the class vectors lies, if not where the model file says
    save_model: Path | None = None  #: write the model with the added classes to this file
    top: int = 5  #: classes listed for each image or video
    attributes: int = 8  #: attributes listed for the best class
    batch_size: int = 32  #: images in the network at a time; of videos it is one
    json: Path | None = None  #: write everything to this file
    csv: Path | None = None  #: write classes and probabilities to this file
    annotated: Path | None = None  #: folder for annotated images, of a video its middle frame, in folders as the files are
    web: bool = False  #: serve a page for the browser instead; for models of images
    host: str = "127.0.0.1"  #: the page's address; 0.0.0.0 lets the network in, which nothing protects
    port: int = 7860  #: the page's port
    examples: Path | None = None  #: folder of example images for the page

    overwrite: bool = False  #: replace outputs of an earlier call

    def check(self) -> None:
        """Refuse flags that cannot be meant, and outputs over other files, such as a photo."""
        check_at_least(1, self, "batch_size", "top")
        check_at_least(0, self, "attributes")
        if not (self.files or self.web or self.save_model):
            fix = "Name images, videos or folders of them, or pass --web or --save_model; --help has examples."
            raise InputError("there must be something to do", where="zslab predict", got="no files", fix=fix)
        if self.calibration is not None and not math.isfinite(self.calibration):
            fix = "Pass a number such as 0.5."
            raise InputError("it must be a finite number", where="--calibration", got=self.calibration, fix=fix)
        outputs = [path for path in (self.json, self.csv, self.save_model) if path is not None]
        if len({path.resolve() for path in outputs}) < len(outputs):
            where, fix = "--json, --csv, --save_model", "Name another file."
            raise InputError("every output must have a path of its own", where=where, got=examples(outputs), fix=fix)
        refuse_existing(*outputs, overwrite=self.overwrite)


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
    shown = {"top": config.top, "attributes": config.attributes, "batch_size": config.batch_size}
    predictions = predictor.predict(paths, unseen_only=config.zsl, calibration=config.calibration, **shown)
    errors: list[str] = []
    with ExitStack() as stack:
        writers: list[Callable[[Prediction], None]] = []
        if config.json is not None:
            writers.append(stack.enter_context(json_writer(config.json)))
        if config.csv is not None:
            writers.append(stack.enter_context(csv_writer(config.csv, config.top)))
        if config.annotated is not None:
            writers.append(_drawer(config.annotated, modality, paths))
        print(_line(modality.name, "class", "next ones"))
        for prediction in tqdm(predictions, total=len(paths), unit=modality.name, disable=None, dynamic_ncols=True):
            for write in writers:
                write(prediction)
            if prediction.error is not None:
                errors.append(printable(prediction.error))
                continue
            best, *others = (f"{score.name} {100 * score.probability:.0f} %" for score in prediction.classes)
            best += " (seen)" if prediction.classes[0].seen else " (unseen)"
            tqdm.write(_line(printable(prediction.image), best, ", ".join(others), prediction.doubt))
    for path in filter(None, (config.json, config.csv, config.annotated)):
        print(f"-> {path}")
    if errors:
        print(f"{len(errors)} of {len(paths)} {modality.name}s could not be read:", *errors, sep="\n  ", file=sys.stderr)
    return UNREADABLE if errors else 0


def _line(image: str, best: str, others: str, doubt: str = "") -> str:
    name = image if len(image) <= 40 else f"…{image[-39:]}"
    return f"{name:<40}  {best:<44}  {others}{f' ({doubt})' * bool(doubt)}".rstrip()


@contextmanager
def json_writer(path: Path) -> Iterator[Callable[[Prediction], None]]:
    """Yield a function that writes one prediction after the other into a JSON list, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("[\n")
        separators = chain([""], repeat(",\n"))
        yield lambda prediction: print(next(separators) + json.dumps(prediction.to_json(), allow_nan=False), end="", file=file)
        file.write("\n]\n")


@contextmanager
def csv_writer(path: Path, top: int) -> Iterator[Callable[[Prediction], None]]:
    """Yield a function that writes one prediction after the other into a CSV with `top` classes in each row.

    Names that a spreadsheet program would take for a formula have an apostrophe before them.
    """
    ranked = [f"{column}_{n}" for n in range(1, top + 1) for column in ("class", "probability", "seen")]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.DictWriter(file, ["image", "error", *ranked, "familiar"], lineterminator="\n")
        rows.writeheader()

        def write(prediction: Prediction) -> None:
            cells = [(formula_safe(s.name), f"{s.probability:.6f}", int(s.seen)) for s in prediction.classes]
            row = {"image": formula_safe(printable(prediction.image)), "error": formula_safe(printable(prediction.error or ""))}
            familiar = {} if prediction.familiar is None else {"familiar": int(prediction.familiar)}
            rows.writerow(row | dict(zip(ranked, chain(*cells))) | familiar)

        yield write


def _drawer(folder: Path, modality: Modality, paths: Sequence[Path]) -> Callable[[Prediction], None]:
    """Return a function that saves annotated images below `folder` as the files lie; of one name, later ones get a number."""
    common, drawn = Path(os.path.commonpath([path.absolute().parent for path in paths])), set()

    def write(prediction: Prediction) -> None:
        if prediction.error is None:
            place = Path(prediction.image).absolute().relative_to(common)
            names = (place.with_name(f"{place.stem}{number}.png") for number in chain([""], (f"-{n}" for n in count(2))))
            drawn.add(name := next(name for name in names if name not in drawn))
            with atomic_path(folder / name) as temporary:
                annotate(modality.show(Path(prediction.image)), prediction).save(temporary)

    return write
