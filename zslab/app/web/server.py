"""The exported model as a page in the browser: drop an image, see why; add a class by its attributes and look again.

    python zero-shot-images/demo.py --model birds.zsl --web

The page is served to this machine only unless told otherwise, asks nothing of any other host, and keeps uploads in a
folder of its own that is gone when it stops. Classes that a visitor adds or changes are his alone: they are learnt by a
copy of the predictor that lives as long as his visit.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from zslab.app.annotate import readable, readable_class
from zslab.app.attribute_table import AttributeTable, read_attribute_table, write_attribute_table
from zslab.app.predictor import Predictor
from zslab.app.web.html import (
    EXAMPLE_CLICK,
    FAVICON,
    IMAGE,
    TO_RESULTS,
    Result,
    empty_page,
    example_buttons,
    message,
    page_header,
    problem,
    results_page,
)
from zslab.errors import InputError
from zslab.features.images import SUFFIXES, find_images, open_image
from zslab.features.modality import IMAGES
from zslab.toy.render import render_bird
from zslab.toy.species import ATTRIBUTES, SPECIES, UNSEEN_CLASSES

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
try:
    import gradio as gr
except ImportError as missing:
    raise InputError(
        "the page needs Gradio",
        where="the web page",
        found=str(missing),
        expected="gradio",
        fix="In the project's folder, run `pip install -e '.[web]'`.",
    ) from None

MAX_UPLOAD = 30 * 2**20  # bytes a file
MAX_PIXELS = 50_000_000  # of an image that is decoded
MAX_IMAGES = 24  # at a time
MAX_NAME = 100  # characters of a new class
MAX_CLASSES = 5000  # of a session; the table is the visitor's, the memory is not
MAX_EXAMPLES = 12
CLEAN_EVERY, CLEAN_AFTER = 600, 3600  # seconds; uploads of visitors who stay
SESSIONS, QUEUE = 50, 40  # visitors whose classes are remembered, and events that wait
TOP, REASONS = 5, 8
ALL, UNSEEN = "All classes", "Unseen classes only"
CALIBRATION = 3.0  # upper end of the slider; scores of both methods differ by a few units


@dataclass(frozen=True)
class Session:
    """A visitor's own model: a copy of the one served, with what he changed."""

    predictor: Predictor
    changes: tuple[str, ...] = ()
    folder: Path | None = None  # of files made for him to download


def launch(
    model: str | Path | Predictor,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    examples: str | Path | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        model: a model file, or a predictor.
        host: the address to listen on; "0.0.0.0" lets the network in, which nothing protects.
        examples: folder of example images; without it, models of the toy set show toy birds.
        weights, device: as for `Predictor.load`.

    Raises:
        InputError: the model cannot be used on images, or the port is taken.
    """
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, device=device, weights=weights)
    stop = threading.Event()
    handler = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with serving(predictor, host=host, port=port, examples=examples) as url:
            print(f"The page is at {url} (Ctrl-C stops it and removes all uploads).", flush=True)
            while not stop.wait(1):
                pass
    except KeyboardInterrupt:
        print("\nStopped; uploads are removed.")
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def serving(
    predictor: Predictor, *, host: str = "127.0.0.1", port: int = 7860, examples: str | Path | None = None
) -> Iterator[str]:
    """Return the page, served in the background while the block runs; yields its address. Arguments as for `launch`."""
    if predictor.modality is not IMAGES:
        raise InputError(
            "a model that the page cannot use",
            where=predictor.where,
            found=f"a model of {predictor.modality.name}s",
            expected="one of images",
            fix=f"Name {predictor.modality.name}s to demo.py, without --web.",
        )
    _ = predictor.backbone  # one whose weights are missing is refused before anybody visits, too
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:  # the latter for a port beyond 65535
            raise InputError(
                "an address that cannot be served",
                where="host and port",
                found=f"{host}:{port}, {getattr(error, 'strerror', None) or error}",
                expected="a free one of this machine",
                fix="Choose another port.",
            ) from None
    folder = Path(tempfile.mkdtemp(prefix="zslab-web-")).resolve()
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    page = None
    try:
        (folder / "uploads").mkdir()
        (folder / "favicon.svg").write_text(FAVICON)
        page = build(predictor, folder, _examples(predictor, examples, folder))
        page.queue(api_open=False, max_size=QUEUE)
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            share=False,
            inbrowser=False,
            max_file_size=MAX_UPLOAD,
            state_session_capacity=SESSIONS,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            favicon_path=folder / "favicon.svg",
            theme=_theme(),
            css=files("zslab.app.web").joinpath("style.css").read_text(encoding="utf-8"),
            head="<meta name='color-scheme' content='light dark'>",
        )
        yield url
    finally:
        if page is not None:
            page.close(verbose=False)
        if before is None:
            os.environ.pop("GRADIO_TEMP_DIR", None)
        else:
            os.environ["GRADIO_TEMP_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _examples(predictor: Predictor, examples: str | Path | None, folder: Path) -> list[Path]:
    """Pictures to try: the folder's, or rendered birds for a model of the toy set, half of them unseen."""
    if examples is not None:
        return find_images([examples])[:MAX_EXAMPLES]
    if set(predictor.attribute_names) != set(ATTRIBUTES):
        return []
    seen = [name for name in SPECIES if name not in UNSEEN_CLASSES]
    shown = [name for pair in zip(UNSEEN_CLASSES[::2], seen[3::9]) for name in pair]
    paths = []
    for number, name in enumerate(shown):
        path = folder / "examples" / f"{readable_class(name)}.png"
        path.parent.mkdir(exist_ok=True)
        render_bird(SPECIES[name], np.random.RandomState(200 + number), size=336).image.save(path)
        paths.append(path)
    return paths


def _theme() -> gr.themes.Base:
    """Calm, in the project's blue, in fonts that every machine has: none is fetched."""
    blue = gr.themes.Color(
        c50="#eef6fb",
        c100="#d9ebf7",
        c200="#b5d7ee",
        c300="#86bde1",
        c400="#4f9ed1",
        c500="#1f80bb",
        c600="#0b66a8",
        c700="#095489",
        c800="#0a446d",
        c900="#0c385a",
        c950="#08253c",
    )
    grey = gr.themes.Color(
        c50="#f6f7f9",
        c100="#eef0f3",
        c200="#dfe3e8",
        c300="#c6cdd5",
        c400="#939da9",
        c500="#6b7580",
        c600="#4b545e",
        c700="#343b44",
        c800="#262b31",
        c900="#1d2126",
        c950="#15181c",
    )
    return gr.themes.Base(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=grey,
        radius_size=gr.themes.sizes.radius_lg,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        link_text_color_dark="*primary_300",
    )


class _Page:
    """What the page does; every event is a method or made of them, and none changes the predictor that is served."""

    def __init__(self, predictor: Predictor, folder: Path, examples: Sequence[Path]):
        self.predictor, self.folder, self.examples = predictor, folder, list(examples)
        names = [readable(name) for name in predictor.attribute_names]
        # What people read has to lead back to the attribute.
        self.labels = names if len(set(names)) == len(names) else list(predictor.attribute_names)

    # ---- predictions ----------------------------------------------------------------------------------------------

    def predict(self, sources: Sequence[tuple[str, str]], choice: str, calibration: float, session: Session | None) -> str:
        """Results of the images (name, path) as HTML."""
        predictor = self.of(session)
        results = [
            self._result(predictor, name, Path(path), choice == UNSEEN, float(calibration or 0))
            for name, path in sources[:MAX_IMAGES]
        ]
        return results_page(results, float(np.abs(predictor.table).max()), max(0, len(sources) - MAX_IMAGES))

    def _result(self, predictor: Predictor, name: str, path: Path, unseen_only: bool, calibration: float) -> Result:
        try:
            image = open_image(path, max_pixels=MAX_PIXELS)
            (prediction,) = predictor.predict(
                [image], unseen_only=unseen_only, calibration=calibration, top=TOP, attributes=REASONS
            )
        except InputError as error:
            return Result(name, error=error)
        image.thumbnail((IMAGE, IMAGE))
        return Result(name, image, prediction)

    def of(self, session: Session | None) -> Predictor:
        return session.predictor if session else self.predictor

    # ---- classes ----------------------------------------------------------------------------------------------------

    def choices(self, session: Session | None) -> list[tuple[str, str]]:
        """Return (what people read, name) of every class; unseen ones first, as it is they that are looked for here."""
        predictor = self.of(session)
        named = sorted(zip(predictor.seen_.tolist(), predictor.classes_), key=lambda pair: (pair[0], readable_class(pair[1])))
        return [(f"{readable_class(name)} ({'seen' if seen else 'unseen'})", name) for seen, name in named]

    def rows(self, name: str | None, session: Session | None) -> list[list[Any]]:
        """[attribute, value] of a class; zeros for none."""
        predictor = self.of(session)
        known = name in predictor.classes_
        values = predictor.table[predictor.classes_.index(name)] if known else np.zeros(len(self.labels))
        return [[label, _shown(value)] for label, value in zip(self.labels, values)]

    def values(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """{attribute: value} of the rows as they came from the page, in whatever order."""
        place = dict(zip(self.labels, self.predictor.attribute_names))
        found = {place[str(row[0])]: "" if row[1] is None else row[1] for row in rows if str(row[0]) in place}
        return {name: found[name] for name in self.predictor.attribute_names if name in found}

    def add(self, predictor: Predictor, name: str, rows: Sequence[Sequence[Any]]) -> list[str]:
        """Add a class to `predictor` and return a sentence about it."""
        name = " ".join((name or "").split())
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise InputError(
                "the class has no name" if not name else "a name that cannot be used",
                where="the name of the new class",
                found=repr(name[:MAX_NAME]) if name else "nothing",
                expected=f"1 to {MAX_NAME} printable characters",
                fix="Type a name.",
            )
        same = [each for each in predictor.classes_ if readable_class(each).casefold() == readable_class(name).casefold()]
        if same:
            raise InputError(
                "a class that exists already",
                where="the name of the new class",
                found=repr(readable_class(same[0])),
                expected="a new name",
                fix="Choose another name, or change that class instead.",
            )
        predictor.add_class(name, self.values(rows))
        return [f"added {readable_class(name)}"]

    def change(self, predictor: Predictor, name: str, rows: Sequence[Sequence[Any]]) -> list[str]:
        """Change the attributes of a class and return a sentence about it."""
        before, values = predictor.table[predictor.classes_.index(name)], self.values(rows)
        # A number that still reads as it was shown is not rounded to what was shown.
        values |= {
            key: value
            for key, value in zip(predictor.attribute_names, before.tolist())
            if key in values and values[key] == _shown(value)
        }
        if list(values.values()) == before.tolist():
            raise InputError(
                "the table has nothing to change",
                where=readable_class(name),
                found="the values it has already",
                expected="at least one other value",
                fix="Change a value in the table first.",
            )
        predictor.set_attributes({name: values})
        return [f"changed {readable_class(name)}"]

    def take_table(self, predictor: Predictor, path: str, name: str) -> list[str]:
        """Add and change the classes of a CSV and return a sentence about it."""
        table = replace(read_attribute_table(Path(path)), source=name)
        new = [each not in set(predictor.classes_) for each in table.class_names]
        if len(predictor.classes_) + sum(new) > MAX_CLASSES:
            raise InputError(
                "the model would have too many classes",
                where=name,
                found=f"{sum(new)} new ones",
                expected=f"at most {MAX_CLASSES} in all",
                fix="Use the command line for tables as large as this.",
            )
        done = []
        for wanted, word, act in ((False, "changed", predictor.set_attributes), (True, "added", predictor.add_classes)):
            part = [i for i, is_new in enumerate(new) if is_new == wanted]
            if part:
                names = [table.class_names[i] for i in part]
                act(AttributeTable(names, table.attribute_names, table.values[part], name))
                done.append(f"{word} {readable_class(names[0]) if len(names) == 1 else f'{len(names)} classes'} from {name}")
        return done

    def learn(self, session: Session | None, act: Callable[[Predictor], list[str]]) -> Session:
        """Return a session with `act` done to a copy of its predictor, and the heads fitted again.

        Raises:
            InputError: it cannot be done; the session it came from is as it was.
        """
        predictor = self.of(session).copy()
        done = act(predictor)
        for _ in predictor.predict([], unseen_only=not predictor.generalized):
            pass  # of no image, but the heads are fitted now and not when somebody waits for an image
        folder = session.folder if session and session.folder else self.folder / "made" / uuid.uuid4().hex
        return Session(predictor, (*(session.changes if session else ()), *done), folder)

    # ---- downloads ----------------------------------------------------------------------------------------------------

    def table_file(self, session: Session | None) -> str:
        """Return the attribute table as a CSV that the page takes again."""
        path = (session.folder if session else self.folder / "made") / "attribute_table.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            write_attribute_table(stream, self.of(session).attribute_table)
        return str(path)

    def model_file(self, session: Session) -> str:
        """Return the session's model as a file."""
        where = self.predictor.where
        stem = Path(where).stem if isinstance(where, Path) or str(where).endswith(".zsl") else "model"
        path = session.folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', stem)}_{len(session.predictor.classes_)}_classes.zsl"
        for old in session.folder.glob("*.zsl"):
            old.unlink()
        session.predictor.save(path)
        return str(path)

    @staticmethod
    def forget(session: Session | None) -> None:
        """Remove the files of a visitor who has left."""
        if session and session.folder:
            shutil.rmtree(session.folder, ignore_errors=True)


def build(predictor: Predictor, folder: Path, examples: Sequence[Path] = ()) -> gr.Blocks:
    """Return the page's components and events; files that it makes go below `folder`."""
    page = _Page(predictor, folder, examples)
    generalized = predictor.generalized
    calibrates = generalized and not predictor.model.settings.get("gate")
    constant = float(predictor.model.settings.get("calibration") or 0.0)
    low, high = float(predictor.table.min()), float(predictor.table.max())
    scale = f"here {low:.3g} to {high:.3g}"
    first = page.choices(None)[0][1]
    own_html = {"apply_default_css": False, "js_on_load": None, "elem_classes": "zslab-html"}
    with gr.Blocks(title="Zero-shot recognition", analytics_enabled=False, delete_cache=(CLEAN_EVERY, CLEAN_AFTER)) as blocks:
        session = gr.State(None, time_to_live=CLEAN_AFTER * 12, delete_callback=page.forget)
        sources = gr.State([])
        head = gr.HTML(page_header(predictor.model), **own_html)
        with gr.Row(elem_id="zslab-layout"):
            with gr.Column(elem_id="zslab-ask"):
                files = gr.File(
                    label=f"Pictures, up to {MAX_UPLOAD // 2**20} MB each",
                    file_count="multiple",
                    file_types=list(SUFFIXES),
                    type="filepath",
                    height=150,
                    elem_id="zslab-files",
                )
                gallery = gr.HTML(
                    example_buttons([(path.stem, open_image(path)) for path in page.examples]),
                    visible=bool(page.examples),
                    elem_id="zslab-examples",
                    **own_html | {"js_on_load": EXAMPLE_CLICK},
                )
                choice = gr.Radio(
                    [ALL, UNSEEN], value=ALL if generalized else UNSEEN, label="Choose among", visible=generalized
                )
                calibration = gr.Slider(
                    0,
                    max(CALIBRATION, 2 * constant),
                    value=0,
                    step=0.05,
                    label="Calibration",
                    info="Lowers the scores of seen classes, which every model favours."
                    + (f" Validation chose {constant:g}." if constant else ""),
                    visible=calibrates,
                    buttons=[],
                )
            with gr.Column(elem_id="zslab-answer"):
                results = gr.HTML(empty_page(), elem_id="zslab-results", **own_html)
            with gr.Column(elem_id="zslab-teach"), gr.Accordion("Add or change classes", open=False, elem_id="zslab-classes"):
                status = gr.HTML(
                    message(
                        "note",
                        "By its attributes alone",
                        "A class needs no image: say what it looks like. What you "
                        "change here is yours alone and lasts as long as this visit.",
                    ),
                    elem_id="zslab-status",
                    **own_html,
                )
                with gr.Tab("Add"):
                    new_name = gr.Textbox(label="Name of the new class", max_length=MAX_NAME, elem_id="zslab-new-name")
                    start = gr.Dropdown(
                        [("nothing: all values 0", ""), *page.choices(None)],
                        value="",
                        label="Start from a copy of",
                        elem_id="zslab-start",
                    )
                    new_rows = _attribute_rows(page.rows(None, None), f"Attributes ({scale})", "zslab-new-rows")
                    add = gr.Button("Add the class", variant="primary", elem_id="zslab-add")
                with gr.Tab("Change"):
                    which = gr.Dropdown(page.choices(None), value=first, label="Class", elem_id="zslab-which")
                    old_rows = _attribute_rows(page.rows(first, None), f"Attributes ({scale})", "zslab-old-rows")
                    change = gr.Button("Save the values", variant="primary", elem_id="zslab-change")
                with gr.Tab("CSV"):
                    gr.HTML(
                        "<p>A header with the attributes’ names, then a row a class, its name first. Known classes are "
                        "changed, others added.</p>",
                        **own_html,
                    )
                    csv_file = gr.File(
                        label="Table (CSV)", file_types=[".csv", ".tsv", ".txt"], height=120, elem_id="zslab-csv"
                    )
                    csv_out = gr.DownloadButton("Download the present table (CSV)", value=page.table_file(None), size="md")
                save = gr.Button("Prepare this model for download", visible=False, elem_id="zslab-save", size="md")
                saved = gr.DownloadButton("Download the model", visible=False, elem_id="zslab-saved", size="md")
                undo = gr.Button("Undo all changes", visible=False, elem_id="zslab-undo", size="md")

        private: dict[str, Any] = {"api_visibility": "private"}
        seeing = private | {"concurrency_id": "predict", "concurrency_limit": 2, "show_progress": "minimal"}
        learning = private | {"concurrency_id": "refit", "concurrency_limit": 1, "show_progress": "hidden"}
        settings = [choice, calibration, session]

        def taken(paths: list[str] | None, *rest: Any):
            found = [(Path(path).name, str(path)) for path in paths or []]
            return found, page.predict(found, *rest)

        for event in (files.upload, files.delete, files.clear):
            event(taken, [files, *settings], [sources, results], **seeing).then(None, js=TO_RESULTS, **private)

        def chosen(event: gr.EventData, *rest: Any):
            path = page.examples[int(event.index) % len(page.examples)]
            found = [(path.name, str(path))]
            return found, page.predict(found, *rest), None

        gallery.click(chosen, settings, [sources, results, files], **seeing).then(None, js=TO_RESULTS, **private)
        for event in (choice.input, calibration.release):
            event(page.predict, [sources, *settings], results, **seeing)

        buttons = [add, change, csv_file, save, undo]
        told = [session, head, status, results, start, which, csv_out, saved, new_name, *buttons]

        def learn(act: Callable, title: str, sources, choice, calibration, session, names=None):
            """Busy, then done or refused; a generator of `told`."""
            busy = message("busy", "Learning the classes …", "This may take a minute; images can be predicted meanwhile.")
            yield {status: busy, **{button: gr.update(interactive=False) for button in buttons}}
            free = {button: gr.update(interactive=True) for button in buttons}
            try:
                session = page.learn(session, act)
            except InputError as error:
                yield {status: problem(title, error, names or {}), **free}
                return
            except Exception as error:  # whatever it is, nobody is to sit before a page that is dead
                logging.exception("classes of a visitor")
                yield {status: message("error", title, f"{type(error).__name__}. The log of the server says more."), **free}
                return
            done = session.changes[-1]
            now = page.predict(sources, choice, calibration, session)
            again = " Your images have been predicted again." if sources else ""
            yield {
                **shown(session),
                **free,
                results: now,
                new_name: "",
                save: gr.update(visible=True, interactive=True),
                undo: gr.update(visible=True, interactive=True),
                status: message(
                    "done",
                    f"{done[:1].upper()}{done[1:]}",
                    f"The model now chooses among {len(session.predictor.classes_)} classes.{again}",
                ),
            }

        def shown(session: Session | None) -> dict:
            choices = page.choices(session)
            return {
                blocks_session: session,
                head: page_header(page.of(session).model, session.changes if session else ()),
                start: gr.update(choices=[("nothing: all values 0", ""), *choices]),
                which: gr.update(choices=choices),
                csv_out: page.table_file(session),
                saved: gr.update(visible=False, value=None),
            }

        blocks_session = session  # the component, where a visitor's session has its name

        def added(name, rows, *rest):
            yield from learn(lambda predictor: page.add(predictor, name, rows), "The class was not added", *rest)

        def changed(name, rows, *rest):
            yield from learn(lambda predictor: page.change(predictor, name, rows), "The class was not changed", *rest)

        def tabled(path, *rest):
            name = Path(path).name
            yield from learn(
                lambda predictor: page.take_table(predictor, path, name), "The table was not taken", *rest, names={path: name}
            )

        given = [sources, *settings]
        add.click(added, [new_name, new_rows, *given], told, **learning)
        change.click(changed, [which, old_rows, *given], told, **learning)
        csv_file.upload(tabled, [csv_file, *given], told, **learning)
        start.input(page.rows, [start, session], new_rows, show_progress="hidden", **private)
        which.input(page.rows, [which, session], old_rows, show_progress="hidden", **private)

        def prepared(session: Session | None):
            if session is None:
                return {status: message("error", "This visit has ended", "Add your classes again.")}
            path = page.model_file(session)
            label = f"Download {Path(path).name} ({os.path.getsize(path) / 2**20:.1f} MB)"
            return {save: gr.update(visible=False), saved: gr.update(value=path, label=label, visible=True)}

        save.click(prepared, session, [status, save, saved], **learning | {"show_progress": "minimal"})

        def undone(sources, choice, calibration, session):
            page.forget(session)
            return {
                **shown(None),
                results: page.predict(sources, choice, calibration, None),
                save: gr.update(visible=False),
                undo: gr.update(visible=False),
                status: message("done", "All your changes are undone"),
            }

        undo.click(undone, given, told, **learning)
    return blocks


def _shown(value: float) -> float:
    """Return a value as the page shows it."""
    return float(f"{value:.6g}")


def _attribute_rows(rows: list[list[Any]], label: str, elem_id: str) -> gr.Dataframe:
    """Return a line an attribute, which can be searched: a table of classes by 312 attributes fits no screen."""
    return gr.Dataframe(
        rows,
        headers=["attribute", "value"],
        datatype=["str", "number"],
        type="array",
        column_count=2,
        row_count=len(rows),
        static_columns=[0],
        column_widths=["68%", "32%"],
        show_search="search",
        max_height=330,
        interactive=True,
        label=label,
        buttons=[],
        elem_id=elem_id,
        wrap=True,
    )
