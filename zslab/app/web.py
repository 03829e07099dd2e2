"""The exported model as a page in the browser: drop images, see classes and reasons; add a class by its attributes alone.

    zslab predict --model birds.zsl --web

The page is served to this machine only unless told otherwise, asks nothing of any other host, and keeps uploads in a
temporary folder that is removed when it stops. What a visitor changes lives in that visit, in a copy of the predictor.
"""

from __future__ import annotations

import html
import math
import os
import re
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from zslab.app.attribute_table import AttributeTable, read_attribute_table, write_attribute_table
from zslab.app.prediction import Prediction
from zslab.app.predictor import Predictor, UnusualAttributesWarning
from zslab.errors import InputError, readable
from zslab.features.backbones import WHOLE
from zslab.features.images import open_image
from zslab.features.sources import IMAGES
from zslab.report.attention import attribute_name
from zslab.report.style import overlay
from zslab.utils.names import clean_name, match_names, readable_names

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
before = {name: value for name, value in os.environ.items() if name == "no_proxy"}
os.environ["no_proxy"] = "*"  # Gradio prepares for a proxy when it is imported
try:
    import gradio as gr
except ImportError as missing:
    fix = "Run pip install -e '.[web]'."
    raise InputError("the extra `web` must be installed", where="the web page", got=missing, fix=fix) from None
finally:
    del os.environ["no_proxy"]
    os.environ |= before

MAX_UPLOAD = 30 * 2**20  # bytes of an image
MAX_IMAGES, MAX_CHOICES, MAX_EXAMPLES = 24, 50, 12  # images at a time, classes that the list offers at a time, examples
TOP, REASONS = 5, 8  # classes and attributes of an image
IMAGE, TILE = 640, 240  # longest side in pixels: an image, one with attention over it
ALL, UNSEEN = "All classes", "Unseen classes only"
NONE = "(none: all values 0)"  # instead of a class
VISITS, CLEAN = 50, (600, 3600)  # visits kept in memory; how often uploads are removed, and when, in seconds
Cells = Sequence[Sequence[Any]]  # rows of the form: label of an attribute, value

CSS = """
.block.zslab-refused { border-left: 4px solid #b3261e !important; padding: .5rem 1rem !important; }
.zslab-reasons :is(.header-content, .cell-wrap, .cell-wrap *) { padding: .15rem !important; overflow-wrap: normal; }
.zslab-tiles .grid-wrap { min-height: 0; max-height: none; padding-top: 2.2rem; }
.zslab-tiles .grid-container { grid-template: none / repeat(auto-fill, minmax(max(5.5rem, 22%), 1fr)); grid-auto-rows: auto; }
.zslab-tiles .thumbnail-lg { height: auto; aspect-ratio: auto; }
.label-wrap { text-align: left; }
.zslab-tiles .caption-label { position: static; max-width: none; border: 0; padding: 0; white-space: normal; }
"""


@dataclass(frozen=True, eq=False)
class Visit:
    """The served model, or a copy of it with a visitor's changes."""

    predictor: Predictor  #: never changed in place
    own: tuple[str, ...] = ()  #: names of the classes that the visitor added
    changes: tuple[str, ...] = ()  #: what was done, a sentence each
    warnings: tuple[str, ...] = ()  #: about the last change

    def __deepcopy__(self, memo: object) -> Visit:
        """Return itself: Gradio copies the first value of a state for every visitor."""
        return self

    @cached_property
    def labels(self) -> dict[str, str]:
        """Each class as people read it, in the order of `predictor.classes_`."""
        labels = readable_names([name for name in self.predictor.classes_ if name not in self.own])
        return {name: labels.get(name, name) for name in self.predictor.classes_}

    @cached_property
    def marked(self) -> dict[str, str]:
        """Label and kind of each class, such as "Mallard (unseen)": own classes first, then unseen, then seen ones."""
        seen = dict(zip(self.predictor.classes_, self.predictor.seen_.tolist()))
        ranked = sorted(self.labels, key=lambda name: (name not in self.own, seen[name], self.labels[name]))
        kinds = {name: "unseen, yours" if name in self.own else "seen" if seen[name] else "unseen" for name in ranked}
        return {name: f"{self.labels[name]} ({kind})" for name, kind in kinds.items()}

    def choices(self, typed: str = "", chosen: str = "") -> list[tuple[str, str]]:
        """Return (label, name) of the first `MAX_CHOICES` classes that contain what was typed, and of the chosen one."""
        part = " ".join(typed.casefold().split())
        fitting = list(islice((name for name, label in self.marked.items() if part in label.casefold()), MAX_CHOICES))
        listed = fitting if chosen in fitting or chosen not in self.labels else [chosen, *fitting]
        return [(self.marked[name], name) for name in listed]

    def changed(self, act: Callable[[Predictor], object], sentence: str) -> Visit:
        """Return a visit whose predictor is a copy, changed by `act` as `sentence` says, with heads fitted again."""
        predictor = self.predictor.copy()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnusualAttributesWarning)
            act(predictor)
        list(predictor.predict([], unseen_only=not predictor.generalized))  # the heads are fitted before an image comes
        own = tuple(name for name in predictor.classes_ if name in self.own or name not in self.labels)
        unusual = tuple(str(each.message) for each in caught if issubclass(each.category, UnusualAttributesWarning))
        return Visit(predictor, own, (*self.changes, sentence), unusual)


def add(visit: Visit, name: str, sentence: str, copied: str, cells: Cells) -> Visit:
    """Return the visit with a new class, see `edited_row`; where class vectors came from text, it is known by a sentence."""
    name = " ".join(clean_name(name or "").split())
    if not name:
        must = "there must be printable characters"
        raise InputError(must, where="the name of the new class", got="none", fix="Type a name.")
    if visit.predictor.model.text is not None:
        return visit.changed(lambda copy: copy.add_described(name, sentence), f"added {name}")
    row = edited_row(visit, copied, cells)
    return visit.changed(lambda copy: copy.add_class(name, row), f"added {name}")


def change(visit: Visit, name: str, cells: Cells) -> Visit:
    """Return the visit with other values for a class."""
    row = edited_row(visit, name, cells)
    return visit.changed(lambda copy: copy.set_attributes({name: row}), f"changed {visit.labels.get(name)}")


def remove(visit: Visit, name: str) -> Visit:
    """Return the visit without an unseen class."""
    return visit.changed(lambda copy: copy.remove_class(name), f"removed {visit.labels.get(name)}")


def attribute_labels(predictor: Predictor) -> dict[str, str]:
    """Return attribute -> how people read it."""
    labels = {name: attribute_name(name) for name in predictor.attribute_names}
    return labels if len(set(labels.values())) == len(labels) else {name: name for name in labels}


def shown_row(visit: Visit, name: str) -> list[list[Any]]:
    """Return the attributes of a class, or zeros for `NONE`, as the form shows them: name and value."""
    names, table = visit.predictor.classes_, visit.predictor.table
    row = table[names.index(name)] if name in names else np.zeros(table.shape[1])
    return [[label, float(f"{value:.6g}")] for label, value in zip(attribute_labels(visit.predictor).values(), row)]


def edited_row(visit: Visit, name: str, cells: Cells) -> dict[str, Any]:
    """Return attribute -> value of a class, or of none, changed where the cells of the form differ from what it showed."""
    predictor, typed = visit.predictor, {str(label): value for label, value in cells}
    row = predictor.table[predictor.classes_.index(name)] if name in predictor.classes_ else np.zeros(predictor.table.shape[1])
    return {
        attribute: value if typed.get(label, before) in (before, None, "") else typed[label]
        for (attribute, label), (_, before), value in zip(
            attribute_labels(predictor).items(), shown_row(visit, name), row.tolist()
        )
    }


def take_table(visit: Visit, path: str) -> Visit:
    """Return the visit with the classes of a table: those it knows are changed, others are added."""
    source = Path(path).name
    table = read_attribute_table(Path(path), attributes=visit.predictor.attribute_names)
    found = match_names(table.class_names, visit.predictor.classes_, source)
    old, new = ([row for row, place in enumerate(found) if (place is None) == is_new] for is_new in (False, True))

    def act(copy: Predictor) -> None:
        known = [copy.classes_[found[row] or 0] for row in old]
        if old:
            copy.set_attributes(replace(table, source=source, class_names=known, values=table.values[old]))
        if new:
            names = [table.class_names[row] for row in new]
            copy.add_classes(replace(table, source=source, class_names=names, values=table.values[new]))

    return visit.changed(act, f"changed {len(old)} and added {len(new)} classes from {source}")


def files(visit: Visit, folder: Path) -> list[str]:
    """Write the attribute table and the model into a new folder below `folder`, and return their paths."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(str(visit.predictor.where)).stem)
    table, model = folder / "attribute_table.csv", folder / f"{stem}_{len(visit.labels)}_classes.zsl"
    served = visit.predictor
    write_attribute_table(table, AttributeTable(served.classes_, served.attribute_names, served.table, "the model"))
    visit.predictor.save(model)
    return [str(table), str(model)]


def answer(visit: Visit, path: str, unseen_only: bool, calibration: float | None) -> tuple[Image.Image | None, Prediction]:
    """Return an image, made small, and what is predicted of it; or None and a prediction that says why it was refused."""
    name = Path(path).name
    try:
        if (size := os.path.getsize(path)) > MAX_UPLOAD:
            must, fix = f"the file must have at most {MAX_UPLOAD >> 20} MB", "Make it smaller."
            raise InputError(must, where=name, got=f"{size / 2**20:.0f} MB", fix=fix)
        image = open_image(path)
    except InputError as error:
        return None, Prediction(name, error=str(error).replace(path, name))
    options = {"unseen_only": unseen_only, "calibration": calibration, "top": TOP, "attributes": REASONS}
    (prediction,) = visit.predictor.predict(image, **options)  # type: ignore[arg-type]
    image.thumbnail((IMAGE, IMAGE))
    return image, replace(prediction, image=name)


def header(visit: Visit) -> str:
    """Return what the model knows, as Markdown."""
    model, seen = visit.predictor.model, int(visit.predictor.seen_.sum())
    facts = f"{len(model.seen)} classes: {seen} seen, {len(model.seen) - seen} unseen · {len(model.attribute_names)} attributes"
    done = f"\n\n**In this visit:** {'; '.join(map(plain, visit.changes[-5:]))}." if visit.changes else ""
    return (
        f"# Zero-shot recognition\n{plain(model.title)} · {facts}\n\nNames what an image shows, among *seen* classes with "
        f"training images and *unseen* classes of which the model knows a description only.{done}"
    )


def plain(text: str) -> str:
    """Return Markdown that reads as the text itself."""
    return re.sub(r"([^\w\s])", lambda sign: f"&#{ord(sign[0])};", text)


def show(visit: Visit, image: Image.Image | None, prediction: Prediction, is_open: bool) -> None:
    """Lay out one image with its classes, reasons and attention maps, or why it was refused."""
    best = prediction.classes[:2]
    if image is None or not best:
        gr.Markdown(f"**Refused:** {plain(prediction.error or prediction.image)}", elem_classes="zslab-refused")
        return
    title = f"{prediction.image}: {visit.marked[best[0].name]}, {100 * best[0].probability:.1f} %"
    with gr.Accordion(title + " (not sure)" * bool(prediction.doubt), open=is_open):
        if prediction.doubt:
            gr.Markdown(f"**Not sure:** this image is {prediction.doubt}. It may show none of the classes.")
        with gr.Row():
            gr.Image(image, show_label=False, format="jpeg", interactive=False, buttons=[], min_width=240)
            scores = {visit.marked[score.name]: score.probability for score in prediction.classes}
            gr.Label(scores, num_top_classes=TOP, label="Most probable classes", min_width=240)
        if prediction.attributes:
            rows = [
                [attribute_name(each.name), f"{each.contribution:.2g}", f"{each.read:.2g}", f"{each.value:.3g}"]
                for each in prediction.attributes
            ]
            first, *second = (visit.labels[score.name] for score in best)
            gr.Dataframe(
                rows, headers=["Attribute", "Adds", "Read", "Class"], column_widths=["40%", "20%", "20%", "20%"],
                label=f"What speaks for {first}" + f" and against {second[0]}" * bool(second), interactive=False, wrap=True,
                buttons=[], max_height=1000, elem_classes="zslab-reasons",
            )  # fmt: skip
            gr.Markdown(
                "Adds: by how much the attribute puts this class before the second one. Read: how strongly it is found in the "
                "image, on the model's own scale. Class: what the attribute table says of the class."
            )
        if prediction.attention:
            contributions = {each.name: each.contribution for each in prediction.attributes}
            small = ImageOps.contain(image, (TILE, TILE))
            tiles = [
                (overlay(small, weights, prediction.view), f"{attribute_name(name)} {contributions[name]:+.2g}")
                for name, weights in prediction.attention.items()
            ]
            cut = "" if prediction.view == WHOLE else "; it did not see the border"
            gallery(tiles, f"Where it looked for each attribute: bright{cut}", format="jpeg")


def gallery(tiles: Sequence[tuple[Image.Image | str, str]], label: str, **options: Any) -> gr.Gallery:
    """Lay out small images with captions below them."""
    return gr.Gallery(tiles, label=label, elem_classes="zslab-tiles", buttons=[], interactive=False, **options)


def slider(stored: float) -> dict[str, Any]:
    """Return range, step and first value of the calibration: thrice as far as the stored value, which has three digits."""
    reach = float(f"{3 * abs(stored) or 3:.2g}")  # scores of all methods differ by a few units
    step = 10.0 ** (math.floor(math.log10(reach)) - 2)
    return {"minimum": -reach, "maximum": reach, "step": step, "value": round(round(stored / step) * step, 12)}


def build(predictor: Predictor, folder: Path, examples: Sequence[Path] = ()) -> gr.Blocks:
    """Return the page of a model; `folder` is for files to download, `examples` are images to try."""
    page = gr.Blocks(title="Zero-shot recognition", analytics_enabled=False, delete_cache=CLEAN)
    with page:
        start = Visit(predictor)
        visit, head = gr.State(start), gr.Markdown(header(start))
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                asked = _asked(predictor, examples)
                with gr.Accordion("Add or change classes", open=False):
                    _editor(start, visit, head, folder)
            with gr.Column(scale=2, min_width=320):
                stored = slider(predictor.model.calibration.offset)["value"]

                @gr.render(  # type: ignore[untyped-decorator]
                    [visit, *asked], [page.load, visit.change, *(each.change for each in asked)], concurrency_limit=2
                )
                def results(visit: Visit, paths: list[str] | None, among: str, calibration: float | None) -> None:
                    paths = paths or []
                    if not paths:
                        gr.Markdown("**No image yet.** Drop images, or choose an example.")
                    exact = None if calibration in (None, stored) else calibration  # the stored one is not rounded
                    is_open = True
                    for path in paths[:MAX_IMAGES]:
                        image, prediction = answer(visit, path, among == UNSEEN, exact)
                        show(visit, image, prediction, is_open)
                        is_open = is_open and image is None
                    if len(paths) > MAX_IMAGES:
                        gr.Markdown(f"{len(paths) - MAX_IMAGES} more images were left out; `zslab predict` takes any number.")

    return page


def _asked(predictor: Predictor, examples: Sequence[Path]) -> tuple[gr.File, gr.Radio, gr.Slider]:
    """Lay out what is asked: images, among which classes, and the calibration."""
    generalized, stored = predictor.generalized, predictor.model.calibration.offset
    uploads = gr.File(label=f"Images, up to {MAX_UPLOAD >> 20} MB each", file_count="multiple", type="filepath", height=160)
    if examples:
        tiles = gallery([(str(path), path.stem) for path in examples], "Or an example", allow_preview=False)

        def choose(event: gr.SelectData) -> list[str]:
            return [str(examples[event.index])]

        tiles.select(choose, None, uploads, show_progress="hidden")
    choices = [ALL, UNSEEN] if generalized else [UNSEEN]
    among = gr.Radio(choices, value=choices[0], label="Choose among", visible=generalized)
    info = "Lowers the scores of seen classes, which every model favors." + f" Validation chose {stored:.3g}." * bool(stored)
    visible = generalized and not predictor.model.settings.get("gate")
    return uploads, among, gr.Slider(**slider(stored), label="Calibration", info=info, visible=visible, buttons=[])


def _editor(start: Visit, visit: gr.State, head: gr.Markdown, folder: Path) -> None:
    """Lay out the form and the table that change classes, and the downloads."""
    predictor = start.predictor
    by_text, n = predictor.model.text is not None, len(start.labels)
    values = f"Attributes (the model has values from {predictor.table.min():.3g} to {predictor.table.max():.3g})"
    gr.Markdown("Describe a class; it needs no image. Changes live in this visit: download the model to keep them.")
    name = gr.Textbox(label="Name of a new class", max_length=100, interactive=True)
    sentence = gr.Textbox(label="A sentence that describes it", max_length=1000, visible=by_text, interactive=True)
    typed = gr.Textbox(label=f"Search the {n} classes", visible=n > MAX_CHOICES)
    which = gr.Dropdown(
        [NONE, *start.choices()], value=NONE, label="Class to copy, change or remove", interactive=True, allow_custom_value=True
    )
    form = gr.Dataframe(
        shown_row(start, NONE), headers=["Attribute", "Value"], datatype=["str", "number"], static_columns=[0], type="array",
        column_count=2, label=values, visible=not by_text, interactive=True, show_search="search", max_height=320, buttons=[],
        column_widths=["70%", "30%"], wrap=True, elem_classes="zslab-reasons",
    )  # fmt: skip
    with gr.Row():
        buttons = [gr.Button(f"{word} the class", min_width=100) for word in ("Add", "Change", "Remove")]
    table = gr.File(label="Or a table of classes (.csv, .tsv, .xlsx)", height=150)
    prepare = gr.Button("Prepare table and model for download")
    with gr.Row():
        saved = [gr.DownloadButton(f"Download the {what}", visible=False, min_width=120) for what in ("table", "model")]

    def listed(visit: Visit, typed: str, chosen: str) -> gr.Dropdown:
        return gr.Dropdown([NONE, *visit.choices(typed, chosen)], value=chosen)

    def edited(act: Callable[..., Visit], before: Visit, chosen: str, *inputs: Any) -> Any:
        try:
            after = act(before, *inputs)
        except InputError as error:
            text = re.sub(re.escape(str(folder)) + r"\S*/", "", str(error))  # the visitor knows the name of his upload
            gr.Warning(html.escape(text), duration=None)
            return {table: None}
        added = [name for name in after.predictor.classes_ if name not in before.labels]
        chosen = added[0] if len(added) == 1 else chosen if chosen in after.labels else NONE
        done = f"{after.changes[-1]}. The model now chooses among {len(after.labels)} classes."
        gr.Info(html.escape(done[0].upper() + done[1:]))
        for unusual in after.warnings[:5]:
            gr.Warning(html.escape(unusual), duration=None)
        hidden = [gr.DownloadButton(visible=False)] * 2
        return after, header(after), listed(after, "", chosen), shown_row(after, chosen), "", "", None, *hidden

    updated = [visit, head, which, form, name, sentence, table, *saved]
    for event, act, inputs in (
        (buttons[0].click, add, [name, sentence, which, form]),
        (buttons[1].click, change, [which, form]),
        (buttons[2].click, remove, [which]),
        (table.upload, take_table, [table]),
    ):
        event(partial(edited, act), [visit, which, *inputs], updated, concurrency_id="fit", concurrency_limit=1)
    which.change(shown_row, [visit, which], form, show_progress="hidden")
    typed.change(listed, [visit, typed, which], which, show_progress="hidden", trigger_mode="always_last")
    prepare.click(lambda visit: [gr.DownloadButton(value=path, visible=True) for path in files(visit, folder)], visit, saved)


def launch(predictor: Predictor, *, host: str, port: int, examples: str | Path | None = None) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Arguments as for `serving`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(predictor, host=host, port=port, examples=examples) as url:
            print(f"The page is at {url} (Ctrl-C stops it and removes all uploads).", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("\nStopped; uploads are removed.")


@contextmanager
def serving(
    predictor: Predictor, *, host: str = "127.0.0.1", port: int = 7860, examples: str | Path | None = None
) -> Iterator[str]:
    """Serve the page in the background while the block runs; yields its address."""
    if predictor.modality is not IMAGES:
        got, fix = f"a model of {predictor.modality.name}s", "Predict without --web."
        raise InputError("the page must have a model of images", where=predictor.where, got=got, fix=fix)
    _ = predictor.backbone  # weights that are missing are refused before anybody visits
    font = ["system-ui", "sans-serif"]  # none is fetched
    theme = gr.themes.Default(primary_hue="blue", font=font, font_mono=font)
    with tempfile.TemporaryDirectory(prefix="zslab-web-") as temporary, ExitStack() as stack:
        folder = Path(temporary).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        os.environ["no_proxy"] = "*"  # Gradio asks its own server, which no proxy can reach, whether it is up
        tiles = IMAGES.find([examples])[:MAX_EXAMPLES] if examples is not None else []
        for path in tiles:
            open_image(path).save(folder / f"{path.stem}.png")
        page = build(predictor, folder, [folder / f"{path.stem}.png" for path in tiles])
        stack.callback(page.close, verbose=False)
        must = "the address must be a free one of this machine"
        with readable(f"{host}:{port}", must, "Choose another port.", (OSError, OverflowError)):
            _, url, _ = page.launch(
                server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, ssr_mode=False,
                footer_links=[], run_history=False, state_session_capacity=VISITS, theme=theme, css=CSS,
            )  # fmt: skip
        yield url
