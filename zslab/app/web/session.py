"""What a visitor does with the served model, without a browser: predictions, changes of classes, and files to download."""

from __future__ import annotations

import re
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from zslab.app.attribute_table import AttributeTable, Row, read_attribute_table, write_attribute_table
from zslab.app.predictor import Predictor, UnusualAttributesWarning
from zslab.app.web.html import IMAGE, Result, Unreadable, attribute_fields, results_page
from zslab.errors import InputError
from zslab.features.images import open_image
from zslab.report.attention import attribute_name
from zslab.utils.names import clean_name, normalized, readable_names

MAX_PIXELS = 50_000_000  # of an image that is decoded
MAX_IMAGES = 24  # at a time
MAX_NAME, MAX_SENTENCE = 100, 1000  # characters of a new class's name and description
MAX_CLASSES = 25_000  # of a session; the table is the visitor's, the memory is not
MAX_CHOICES = 50  # classes that a list offers at a time
SESSIONS, KEEP = 50, 12 * 3600  # visitors whose classes are remembered, and for how many seconds after their last change
TOP, REASONS = 5, 8
ALL, UNSEEN = "All classes", "Unseen classes only"

Sources = Sequence[tuple[str, str]]  # names and paths of images


@dataclass(frozen=True)
class Session:
    """A model as one visitor sees it: the served one, or a copy of it with his changes.

    Attributes:
        predictor: the model.
        labels: each class's name as people read it.
        folder: of files made for him to download.
        own: names of the classes that he added.
        changes: what he did, a sentence each.
        warnings: about the last change.
    """

    predictor: Predictor
    labels: Mapping[str, str]
    folder: Path
    own: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def _sorted(self) -> list[tuple[str, str]]:
        named = zip(self.predictor.seen_.tolist(), self.predictor.classes_)
        ranked = sorted(named, key=lambda pair: (pair[0], self.labels[pair[1]]))
        return [(f"{self.labels[name]} ({'seen' if seen else 'unseen'})", name) for seen, name in ranked]

    def choices(self, typed: str = "", own: bool = False, selected: str | None = None) -> list[tuple[str, str]]:
        """Return (what people read, name) of classes that contain what was typed; unseen ones first, `MAX_CHOICES` at most.

        Args:
            typed: part of a name, in any case.
            own: the classes that the visitor added, all of them.
            selected: name of a class that the list holds in any case.
        """
        whole = any(typed == label for label, _ in self._sorted)  # what the list shows of its selection, not a search
        part, mine = "" if whole else typed.casefold(), set(self.own)
        fitting = (pair for pair in self._sorted if part in pair[0].casefold() and (not own or pair[1] in mine))
        first = list(islice(fitting, None if own else MAX_CHOICES))
        return [*first, *(pair for pair in self._sorted if pair[1] == selected and pair not in first)]

    def find(self, name: str) -> str | None:
        """Return the class that has this name, exactly or as people read it."""
        return name if name in self.labels else self._by_spelling.get(normalized(name))

    @cached_property
    def _by_spelling(self) -> dict[str, str]:
        return {normalized(label): name for name, label in reversed(list(self.labels.items()))}


class Page:
    """The served model and its visitors' copies; nothing that visitors do changes the served one.

    Attributes:
        served: the model as it was loaded.
        examples: images to try.
        attribute_labels: the attributes as people read them.
    """

    def __init__(self, predictor: Predictor, folder: Path, examples: Sequence[Path] = ()):
        self.served = Session(predictor, readable_names(predictor.classes_), folder / "served")
        self.folder, self.examples = folder, list(examples)
        labels = [attribute_name(name) for name in predictor.attribute_names]
        # Two attributes that read the same could not be told apart.
        self.attribute_labels = labels if len(set(labels)) == len(labels) else list(predictor.attribute_names)
        self._kept: dict[str, tuple[float, Session]] = {}
        self._lock = threading.Lock()

    # ---- visitors -----------------------------------------------------------------------------------------------------

    def session(self, token: object) -> Session:
        """Return the session that a visitor's token names; the served model where there is none."""
        with self._lock:
            return self._kept[token][1] if isinstance(token, str) and token in self._kept else self.served

    def keep(self, token: object, session: Session) -> str:
        """Remember a session and return its token, a new one unless it has one; the oldest are forgotten."""
        with self._lock:
            token = token if isinstance(token, str) and token in self._kept else uuid.uuid4().hex
            self._kept.pop(token, None)
            self._kept[token] = (time.monotonic(), session)
            old = [key for key, (since, _) in self._kept.items() if time.monotonic() - since > KEEP]
            old += list(self._kept)[: max(0, len(self._kept) - SESSIONS)]
        for key in dict.fromkeys(old):
            self.forget(key)
        return token

    def forget(self, token: object) -> None:
        """Remove a visitor's session and files."""
        session = self.session(token)
        if session is not self.served:
            with self._lock:
                self._kept.pop(str(token), None)
            shutil.rmtree(session.folder, ignore_errors=True)

    # ---- predictions --------------------------------------------------------------------------------------------------

    def predict(self, sources: Sources, choice: str, calibration: float, session: Session) -> str:
        """Return the results of the images (name, path) as HTML."""
        results = [
            self._result(session, name, Path(path), choice == UNSEEN, float(calibration or 0))
            for name, path in sources[:MAX_IMAGES]
        ]
        largest = float(np.abs(session.predictor.table).max())
        return results_page(results, largest, max(0, len(sources) - MAX_IMAGES))

    def _result(self, session: Session, name: str, path: Path, unseen_only: bool, calibration: float) -> Result | Unreadable:
        try:
            image = open_image(path, max_pixels=MAX_PIXELS)
            (prediction,) = session.predictor.predict(
                image, unseen_only=unseen_only, calibration=calibration, top=TOP, attributes=REASONS
            )
        except InputError as error:
            return Unreadable(name, error)
        image.thumbnail((IMAGE, IMAGE))
        shown = [replace(score, name=session.labels[score.name]) for score in prediction.classes]
        return Result(name, image, replace(prediction, classes=shown))

    # ---- classes ------------------------------------------------------------------------------------------------------

    def values(self, name: str | None, session: Session) -> list[str]:
        """Return a class's attributes as the page shows them; zeros for none."""
        predictor = session.predictor
        known = name in session.labels
        values = predictor.table[predictor.classes_.index(str(name))] if known else np.zeros(len(predictor.attribute_names))
        return [f"{value:.6g}" for value in values]

    def fields(self, name: str | None, session: Session) -> str:
        """Return the fields of a class's attributes as HTML."""
        table = self.served.predictor.table
        title = f"Attributes ({table.min():.3g} to {table.max():.3g} in this model)"
        return attribute_fields(title, self.attribute_labels, self.values(name, session))

    def add(self, session: Session, name: str, values: Row, sentence: str = "") -> list[str]:
        """Add a class, by a sentence where class vectors came from text, and return a sentence about it."""
        name = checked_name(session, name)
        if session.predictor.text_encoder is None:
            session.predictor.add_class(name, values)
        else:
            session.predictor.add_described(name, sentence)
        return [f"added {name}"]

    def change(self, session: Session, name: str, values: Sequence[str]) -> list[str]:
        """Change the attributes of a class and return a sentence about it."""
        predictor = session.predictor
        if name not in session.labels:
            raise InputError(
                "the model has no such class",
                where="the class to change",
                found=repr(name),
                expected="a class of the list",
                fix="Choose a class from the list.",
            )
        place = predictor.classes_.index(name)
        before, shown = predictor.table[place], self.values(name, session)
        # A number that still reads as it was shown is not rounded to what was shown.
        row = [number if text == old else text for number, old, text in zip(before, shown, values)]
        predictor.set_attributes({name: row})
        if (predictor.table[place] == before).all():
            raise InputError(
                "there is nothing to change",
                where=session.labels[name],
                found="the values it has already",
                expected="at least one other value",
                fix="Change a value first.",
            )
        return [f"changed {session.labels[name]}"]

    def remove(self, session: Session, name: str | None) -> list[str]:
        """Remove a class that the visitor added and return a sentence about it."""
        if name not in session.own:
            raise InputError(
                "the class is none that you added",
                where="the class to remove",
                found=session.labels.get(str(name), name) or "no class",
                expected="one of your own classes",
                fix="Choose a class from the list.",
            )
        session.predictor.remove_class(str(name))
        return [f"removed {session.labels[str(name)]}"]

    def take_table(self, session: Session, path: str) -> list[str]:
        """Add and change the classes of a table and return a sentence about each of the two."""
        source = Path(path).name
        try:
            table = read_attribute_table(Path(path), attributes=self.served.predictor.attribute_names)
        except InputError as error:
            # Visitors see the name of their file and no folder of the server.
            where, found = (str(text).replace(path, source) for text in (error.where, error.found))
            raise InputError(error.problem, where=where, found=found, expected=error.expected, fix=error.fix) from None
        known = [session.find(name) for name in table.class_names]
        new = known.count(None)
        if len(session.labels) + new > MAX_CLASSES:
            raise InputError(
                "the model would have too many classes",
                where=source,
                found=f"{new} new ones",
                expected=f"at most {MAX_CLASSES} in all",
                fix="Use the command line for tables as large as this.",
            )
        done, predictor = [], session.predictor
        for is_new, word, act in ((False, "changed", predictor.set_attributes), (True, "added", predictor.add_classes)):
            places = [place for place, each in enumerate(known) if (each is None) == is_new]
            if places:
                names = [known[place] or table.class_names[place] for place in places]
                act(AttributeTable(names, table.attribute_names, table.values[places], source))
                what = session.labels.get(names[0], names[0]) if len(names) == 1 else f"{len(names)} classes"
                done.append(f"{word} {what} from {source}")
        return done

    def learn(self, session: Session, act: Callable[[Session], list[str]]) -> Session:
        """Return a session in which `act` has changed a copy of the predictor, with its heads fitted again.

        Raises:
            InputError: it cannot be done; the session it came from is as it was.
        """
        predictor = session.predictor.copy()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnusualAttributesWarning)
            done = act(replace(session, predictor=predictor))
        for _ in predictor.predict([], unseen_only=not predictor.generalized):
            pass  # of no image, but the heads are fitted now and not when somebody waits for an image
        own = tuple(name for name in predictor.classes_ if name not in self.served.labels)
        return Session(
            predictor,
            self._labels(own),
            self.folder / "made" / uuid.uuid4().hex if session is self.served else session.folder,
            own,
            (*session.changes, *done),
            tuple(str(each.message) for each in caught if issubclass(each.category, UnusualAttributesWarning)),
        )

    def _labels(self, own: Sequence[str]) -> dict[str, str]:
        """Return the labels of the served model's classes, which stay as they are, and of the visitor's."""
        labels = dict(self.served.labels)
        taken = set(labels.values())
        for name in own:
            spaced = " ".join(name.replace("_", " ").split())
            labels[name] = name if spaced in taken else spaced
            taken.add(labels[name])
        return labels

    # ---- downloads ----------------------------------------------------------------------------------------------------

    def table_file(self, session: Session) -> str:
        """Return the attribute table as a CSV that the page takes again."""
        session.folder.mkdir(parents=True, exist_ok=True)
        path = session.folder / "attribute_table.csv"
        with open(path, "w", encoding="utf-8") as stream:
            write_attribute_table(stream, session.predictor.attribute_table)
        return str(path)

    def model_file(self, session: Session) -> str:
        """Return the session's model as a file."""
        where = str(self.served.predictor.where)
        stem = Path(where).stem if where.endswith(".zsl") else "model"
        path = session.folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', stem)}_{len(session.labels)}_classes.zsl"
        for old in session.folder.glob("*.zsl"):
            old.unlink()
        session.predictor.save(path)
        return str(path)


def checked_name(session: Session, name: str) -> str:
    """Return the name of a new class with single spaces.

    Raises:
        InputError: there is none, it is too long or not printable, or a class has it.
    """
    name = " ".join(clean_name(name or "").split())
    if not name or len(name) > MAX_NAME:
        raise InputError(
            "the name cannot be used" if name else "the class has no name",
            where="the name of the new class",
            found=repr(name[:MAX_NAME]) if name else "nothing",
            expected=f"1 to {MAX_NAME} printable characters",
            fix="Type a name.",
        )
    same = session.find(name)
    if same is not None:
        raise InputError(
            "the class exists already",
            where="the name of the new class",
            found=repr(session.labels[same]),
            expected="a new name",
            fix="Choose another name, or change that class instead.",
        )
    return name
