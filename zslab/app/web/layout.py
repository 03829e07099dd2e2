"""The components of the page: what it asks, what it shows, and where classes are added and changed."""

from __future__ import annotations

from importlib.resources import files
from typing import cast

import gradio as gr

from zslab.app.web.html import EXAMPLE_CLICK, empty_page, example_buttons, message, page_header
from zslab.app.web.session import ALL, KEEP, MAX_CHOICES, MAX_NAME, MAX_SENTENCE, UNSEEN, Page
from zslab.features.images import SUFFIXES, open_image

MAX_UPLOAD = 30 * 2**20  # bytes a file
CLEAN_EVERY, CLEAN_AFTER = 600, 3600  # seconds; uploads of visitors who stay
CALIBRATION = 3.0  # upper end of the slider; scores of both methods differ by a few units
NOTHING = ("nothing: all values 0", "")


class Layout:
    """The whole page; every component that an event reads or writes is an attribute."""

    def __init__(self, page: Page):
        with gr.Blocks(
            title="Zero-shot recognition", analytics_enabled=False, delete_cache=(CLEAN_EVERY, CLEAN_AFTER)
        ) as self.blocks:
            self.token = gr.BrowserState("", storage_key="zslab-visit")
            self.sources = gr.State([])
            self.head = _html(page_header(page.served.predictor.model))
            with gr.Row(elem_id="zslab-layout"):
                with gr.Column(elem_id="zslab-ask"):
                    self.ask = Ask(page)
                with gr.Column(elem_id="zslab-answer"):
                    self.results = _html(empty_page(), elem_id="zslab-results")
                with gr.Column(elem_id="zslab-teach"), gr.Accordion("Add or change classes", open=False):
                    self.teach = Teach(page)


class Ask:
    """Images and how they are predicted."""

    def __init__(self, page: Page):
        predictor = page.served.predictor
        generalized, settings = predictor.generalized, predictor.model.settings
        constant = float(cast(float, settings.get("calibration") or 0.0))
        self.files = gr.File(
            label=f"Images, up to {MAX_UPLOAD // 2**20} MB each",
            file_count="multiple",
            file_types=list(SUFFIXES),
            type="filepath",
            height=150,
            elem_id="zslab-files",
        )
        _html("", elem_id="zslab-too-large")
        self.gallery = _html(
            example_buttons([(path.stem, open_image(path)) for path in page.examples]),
            EXAMPLE_CLICK,
            visible=bool(page.examples),
            elem_id="zslab-examples",
        )
        self.choice = gr.Radio(
            [ALL, UNSEEN],
            value=ALL if generalized else UNSEEN,
            label="Choose among",
            visible=generalized,
            elem_id="zslab-choice",
        )
        self.calibration = gr.Slider(
            0,
            max(CALIBRATION, 2 * constant),
            value=0,
            step=0.05,
            label="Calibration",
            info="Lowers the scores of seen classes, which every model favors."
            + (f" Validation chose {constant:g}." if constant else ""),
            visible=generalized and not settings.get("gate"),
            buttons=[],
            elem_id="zslab-calibration",
        )


class Teach:
    """Classes that a visitor adds, changes and removes, and files to download."""

    def __init__(self, page: Page):
        choices = page.served.choices()
        n, by_text = len(page.served.labels), page.served.predictor.text_encoder is not None
        info = f"Type to search all {n} classes." if n > MAX_CHOICES else None
        note = "Say what a class looks like; it needs no image. Your changes are yours alone. "
        note += f"This browser keeps them for {KEEP // 3600} hours."
        self.status = _html(message("note", "By its attributes alone", note), elem_id="zslab-status")
        with gr.Tab("Add"):
            self.new_name = gr.Textbox(label="Name of the new class", max_length=MAX_NAME, elem_id="zslab-new-name")
            self.sentence = gr.Textbox(
                label="A sentence that describes it",
                info="The model knows its classes by texts. Empty: by the name alone.",
                max_length=MAX_SENTENCE,
                visible=by_text,
                elem_id="zslab-sentence",
            )
            with gr.Group(visible=not by_text):
                self.start = gr.Dropdown(
                    start_choices(choices), value="", label="Start from a copy of", info=info, elem_id="zslab-start"
                )
                self.started = gr.State("")
                self.new_values = _html(page.fields(None, page.served), elem_id="zslab-new-values")
            self.add = gr.Button("Add the class", variant="primary", elem_id="zslab-add")
        with gr.Tab("Change"):
            self.which = gr.Dropdown(choices, value=choices[0][1], label="Class", info=info, elem_id="zslab-which")
            self.shown = gr.State(choices[0][1])
            self.old_values = _html(page.fields(choices[0][1], page.served), elem_id="zslab-old-values")
            self.change = gr.Button("Save the values", variant="primary", elem_id="zslab-change")
        with gr.Tab("Remove"):
            self.own = gr.Dropdown([], value=None, label="Class that you added", elem_id="zslab-own")
            self.remove = gr.Button("Remove the class", variant="primary", interactive=False, elem_id="zslab-remove")
        with gr.Tab("CSV"):
            _html(
                "<p>A header with the attributes’ names, then a row for each class, its name first. Known classes are "
                "changed, others added.</p>"
            )
            self.csv_file = gr.File(label="Table (CSV)", file_types=[".csv", ".tsv", ".txt"], height=120, elem_id="zslab-csv")
            self.csv_out = gr.DownloadButton("Download the present table (CSV)", value=page.table_file(page.served), size="md")
        self.save = gr.Button("Prepare this model for download", visible=False, elem_id="zslab-save", size="md")
        self.saved = gr.DownloadButton("Download the model", visible=False, elem_id="zslab-saved", size="md")
        self.undo = gr.Button("Undo all changes", visible=False, elem_id="zslab-undo", size="md")


def start_choices(choices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the classes from which a new one may start, with none as the first."""
    return [NOTHING, *choices]


def _html(value: str, js_on_load: str | None = None, visible: bool = True, elem_id: str | None = None) -> gr.HTML:
    return gr.HTML(
        value, apply_default_css=False, js_on_load=js_on_load, elem_classes="zslab-html", visible=visible, elem_id=elem_id
    )


def head() -> str:
    """Return what the page's head holds beside its title: the script that completes Gradio's components."""
    script = files("zslab.app.web").joinpath("page.js").read_text(encoding="utf-8")
    return f"<meta name='color-scheme' content='light dark'><script>const zslabMaxUpload = {MAX_UPLOAD};\n{script}</script>"


def theme() -> gr.themes.Base:
    """Return the project's blue and gray in fonts that every machine has: none is fetched."""
    blue = "#eef6fb #d9ebf7 #b5d7ee #86bde1 #4f9ed1 #0b66a8 #0b66a8 #095489 #0a446d #0c385a #08253c"
    gray = "#f6f7f9 #eef0f3 #dfe3e8 #c6cdd5 #626c77 #5c6570 #4b545e #343b44 #262b31 #1d2126 #15181c"
    hue, neutral = gr.themes.Color(*blue.split()), gr.themes.Color(*gray.split())
    return gr.themes.Base(
        primary_hue=hue,
        secondary_hue=hue,
        neutral_hue=neutral,
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
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        link_text_color_dark="*primary_300",
    )
