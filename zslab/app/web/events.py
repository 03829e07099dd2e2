"""What happens on the page when somebody drops an image, moves a control or changes a class."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, cast

import gradio as gr
from gradio.blocks import Block

from zslab.app.web.html import REDRAW, TO_RESULTS, message, page_header, problem
from zslab.app.web.layout import NOTHING, Layout, start_choices
from zslab.app.web.session import KEEP, Page, Session, Sources
from zslab.errors import InputError

Updates: TypeAlias = dict[Block, object]  # of components: their new values, or what gr.update returns


class _Options(TypedDict, total=False):
    """Options of a Gradio event; none is part of an API."""

    api_visibility: Literal["private"]
    show_progress: Literal["minimal", "hidden"]
    concurrency_id: str
    concurrency_limit: int
    trigger_mode: Literal["always_last"]


QUICK: _Options = {"api_visibility": "private", "show_progress": "hidden"}
PREDICTING: _Options = {
    "api_visibility": "private",
    "show_progress": "minimal",
    "concurrency_id": "predict",
    "concurrency_limit": 2,
}
LATEST: _Options = {"trigger_mode": "always_last"}  # of many events while one is handled, only the last one counts
LEARNING: _Options = {**QUICK, "concurrency_id": "refit", "concurrency_limit": 1}


class Events:
    """The handlers of one page's events, connected to its components when it is made."""

    def __init__(self, page: Page, layout: Layout):
        self.page, self.layout = page, layout
        ask, teach = layout.ask, layout.teach
        self.buttons = [teach.add, teach.change, teach.remove, teach.csv_file, teach.save, teach.undo]
        self._connect_images([ask.choice, ask.calibration, layout.token])
        self._connect_classes([layout.sources, ask.choice, ask.calibration, layout.token, teach.started, teach.shown])

    def _connect_images(self, settings: list[Block]) -> None:
        ask, layout = self.layout.ask, self.layout
        shown = [layout.sources, layout.results]
        for event in (ask.files.upload, ask.files.delete, ask.files.clear):
            event(self.take_files, [ask.files, *settings], shown, **PREDICTING).then(None, js=TO_RESULTS, **QUICK)
        ask.gallery.click(self.take_example, settings, [*shown, ask.files], **PREDICTING).then(None, js=TO_RESULTS, **QUICK)
        latest: _Options = {**PREDICTING, **LATEST}
        for event in (ask.choice.input, ask.calibration.change):  # a slider's `release` does not know the keyboard
            event(self.predict, [layout.sources, *settings], layout.results, **latest)

    def _connect_classes(self, common: list[Block]) -> None:
        layout, teach, page = self.layout, self.layout.teach, self.page
        latest: _Options = {**QUICK, **LATEST}
        told = [
            layout.token,
            layout.head,
            layout.results,
            teach.status,
            teach.saved,
            teach.csv_out,
            teach.new_name,
            teach.sentence,
        ]
        told += [teach.start, teach.started, teach.which, teach.shown, teach.old_values, teach.own, *self.buttons]
        new, old = teach.new_values, teach.old_values
        for event, act, refusal, inputs, js in (
            (teach.add.click, page.add, "The class was not added", [teach.new_name, new, teach.sentence], _typed_values(new)),
            (teach.change.click, page.change, "The class was not changed", [teach.shown, old], _typed_values(old)),
            (teach.remove.click, page.remove, "The class was not removed", [teach.own], None),
            (teach.csv_file.upload, page.take_table, "The table was not taken", [teach.csv_file], None),
        ):
            event(self._learner(act, refusal), [*inputs, *common], told, js=js, **LEARNING)
        teach.undo.click(self.undo, common, told, **LEARNING)
        teach.save.click(self.prepare_model, layout.token, [teach.status, teach.save, teach.saved], **LEARNING)
        # Without Gradio's own check of a choice: it knows the last answer to a search, the visitor may see an earlier one.
        for choice, chosen, values, search in (
            (teach.start, teach.started, teach.new_values, self.search_start),
            (teach.which, teach.shown, teach.old_values, self.search),
        ):
            inputs = [choice, chosen, layout.token]
            field = f"document.querySelector('#{choice.elem_id} input')"
            typed = f"(_, ...rest) => [{field}.value, ...rest]"
            choice.input(self.choose, inputs, [chosen, values], preprocess=False, **QUICK)
            searched = choice.key_up(search, inputs, choice, js=typed, preprocess=False, **latest)
            searched.then(None, js=REDRAW.replace("FIELD", field), **QUICK)
        layout.blocks.load(self.restore, [layout.token, teach.started, teach.shown], told, **QUICK)

    # ---- images -------------------------------------------------------------------------------------------------------

    def predict(self, sources: Sources, choice: str, calibration: float, token: str) -> str:
        """Return the results as HTML."""
        return self.page.predict(sources, choice, calibration, self.page.session(token))

    def take_files(self, paths: list[str] | None, choice: str, calibration: float, token: str) -> tuple[Sources, str]:
        """Return uploaded images and their results."""
        sources = [(Path(path).name, path) for path in paths or []]
        return sources, self.predict(sources, choice, calibration, token)

    def take_example(self, event: gr.EventData, choice: str, calibration: float, token: str) -> tuple[Sources, str, None]:
        """Return the example that was clicked, its results, and no uploads."""
        path = self.page.examples[int(event.index) % len(self.page.examples)]
        sources = [(path.name, str(path))]
        return sources, self.predict(sources, choice, calibration, token), None

    # ---- classes ------------------------------------------------------------------------------------------------------

    def choose(self, name: object, chosen: str, token: str) -> object:
        """Return a class that was chosen from a list and its attributes; edited ones stay where it was chosen already."""
        session = self.page.session(token)
        if name == chosen or not isinstance(name, str) or (name not in session.labels and name != NOTHING[1]):
            return gr.skip()
        return name, self.page.fields(name, session)

    def search(self, typed: object, selected: str, token: str) -> object:
        """Return the classes that fit what was typed into a list of classes, and the one that it has selected."""
        return gr.update(choices=self.page.session(token).choices(str(typed), selected=selected))

    def search_start(self, typed: object, selected: str, token: str) -> object:
        """Return the classes from which a new one may start, as `search` does."""
        part = "" if typed == NOTHING[0] else str(typed)
        return gr.update(choices=start_choices(self.page.session(token).choices(part, selected=selected)))

    def _learner(self, act: Callable[..., list[str]], refusal: str) -> Callable[..., Iterator[Updates]]:
        """Return a handler that lets a visitor's model learn, and says what became of it.

        Args:
            act: takes a session and the event's own inputs.
            refusal: the title where it cannot be done.
        """

        def handler(*inputs: object) -> Iterator[Updates]:
            own = inputs[:-6]
            sources, choice, calibration, token, start, which = cast("tuple[Sources, str, float, str, str, str]", inputs[-6:])
            status, page = self.layout.teach.status, self.page
            busy = message("busy", "Learning the classes …", "This may take a minute; images can be predicted meanwhile.")
            yield {status: busy, **{button: gr.update(interactive=False) for button in self.buttons}}
            free: Updates = {button: gr.update(interactive=True) for button in self.buttons}
            try:
                session = page.learn(page.session(token), lambda copy: act(copy, *own))
            except InputError as error:
                yield {status: problem(refusal, error, place=True), **free}
            except Exception as error:  # whatever it is, nobody is to sit before a page that is dead
                logging.exception("classes of a visitor")
                yield {status: message("error", refusal, f"{type(error).__name__}. The log of the server says more."), **free}
            else:
                before, token = page.session(token), page.keep(token, session)
                yield (
                    free
                    | self._shown(token, start, which, before)
                    | {
                        self.layout.results: self.predict(sources, choice, calibration, token),
                        self.layout.teach.new_name: "",
                        self.layout.teach.sentence: "",
                        status: _done(session, bool(sources)),
                    }
                )

        return handler

    def undo(self, sources: Sources, choice: str, calibration: float, token: str, start: str, which: str) -> Updates:
        """Go back to the served model."""
        self.page.forget(token)
        return self._shown("", start, which) | {
            self.layout.results: self.predict(sources, choice, calibration, ""),
            self.layout.teach.status: message("done", "All your changes are undone"),
        }

    def restore(self, token: str, start: str, which: str) -> Updates:
        """Show the classes that this browser has added before the page was loaded again."""
        if not token:  # the page shows the served model already
            return {self.layout.token: ""}
        if self.page.session(token) is self.page.served:
            gone = message(
                "note", "Your earlier changes are gone", f"They are kept for {KEEP // 3600} hours, until the page is stopped."
            )
            return self._shown("", start, which) | {self.layout.teach.status: gone}
        return self._shown(token, start, which)

    def _shown(self, token: str, start: str, which: str, before: Session | None = None) -> Updates:
        """Return what depends on a visitor's classes.

        Args:
            start: the class that the new one starts from.
            which: the class whose attributes are shown; they are shown again if they have changed.
            before: the session as it was.
        """
        session, layout, teach = self.page.session(token), self.layout, self.layout.teach
        changed = bool(session.changes)
        start = start if start in session.labels else NOTHING[1]
        which = which if which in session.labels else session.choices()[0][1]
        same = before is not None and self.page.values(which, session) == self.page.values(which, before)
        updates: Updates = {} if same else {teach.old_values: self.page.fields(which, session)}
        return updates | {
            layout.token: token,
            layout.head: page_header(session.predictor.model, session.changes),
            teach.start: gr.update(choices=start_choices(session.choices(selected=start)), value=start),
            teach.which: gr.update(choices=session.choices(selected=which), value=which),
            teach.started: start,
            teach.shown: which,
            teach.own: gr.update(choices=session.choices(own=True), value=None),
            teach.remove: gr.update(interactive=bool(session.own)),
            teach.csv_out: self.page.table_file(session),
            teach.saved: gr.update(visible=False, value=None),
            teach.save: gr.update(visible=changed, interactive=True),
            teach.undo: gr.update(visible=changed, interactive=True),
        }

    def prepare_model(self, token: str) -> Updates:
        """Write the visitor's model and offer it."""
        teach, session = self.layout.teach, self.page.session(token)
        if session is self.page.served:
            return {teach.status: message("error", "This visit has ended", "Add your classes again.")}
        path = self.page.model_file(session)
        label = f"Download {Path(path).name} ({os.path.getsize(path) / 2**20:.1f} MB)"
        return {teach.save: gr.update(visible=False), teach.saved: gr.update(value=path, label=label, visible=True)}


def _typed_values(fields: gr.HTML) -> str:
    """Return JavaScript that puts a list of what the fields hold in the second place of an event's inputs."""
    values = f"Array.from(document.querySelectorAll('#{fields.elem_id} .zslab-value'), (field) => field.value)"
    return f"(first, _, ...rest) => [first, {values}, ...rest]"


def _done(session: Session, predicted: bool) -> str:
    """Say what was learned, and what is odd about it."""
    last = session.changes[-1]
    again = " Your images have been predicted again." if predicted else ""
    text = f"The model now chooses among {len(session.labels)} classes.{again}"
    odd = [message("warning", "Unusual values", sentence) for sentence in session.warnings[:5]]
    return message("done", f"{last[:1].upper()}{last[1:]}", text) + "".join(odd)
