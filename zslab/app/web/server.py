"""The exported model as a page in the browser: drop an image, see why; add a class by its attributes and look again.

    python zero-shot-images/demo.py --model birds.zsl --web

The page is served to this machine only unless told otherwise, asks nothing of any other host, and keeps uploads in a
folder of its own that is gone when it stops. Classes that a visitor adds or changes are his alone: they are learned by a
copy of the predictor, which his browser finds again for 12 hours.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np

from zslab.app.predictor import Predictor
from zslab.app.web.html import FAVICON
from zslab.app.web.session import SESSIONS, Page
from zslab.errors import InputError
from zslab.features.images import find_images
from zslab.features.modality import IMAGES
from zslab.toy.render import render_bird
from zslab.toy.species import ATTRIBUTES, SPECIES, UNSEEN_CLASSES
from zslab.utils.names import readable_names

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
try:
    import gradio  # noqa: F401
except ImportError as missing:
    raise InputError(
        "the page needs Gradio",
        where="the web page",
        found=str(missing),
        expected="gradio",
        fix="In the project's folder, run `pip install -e '.[web]'`.",
    ) from None

from starlette.middleware import Middleware  # noqa: E402  (comes with gradio)

from zslab.app.web.events import Events  # noqa: E402
from zslab.app.web.guard import Guard  # noqa: E402
from zslab.app.web.layout import MAX_UPLOAD, Layout, head, theme  # noqa: E402

QUEUE = 40  # events that wait
MAX_EXAMPLES = 12


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
        port: to listen on.
        examples: folder of example images; without it, models of the toy set show toy birds.
        weights: as for `Predictor.load`.
        device: as for `Predictor.load`.

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
    """Serve the page in the background while the block runs; yields its address. Arguments as for `launch`."""
    if predictor.modality is not IMAGES:
        raise InputError(
            "the page cannot use the model",
            where=predictor.where,
            found=f"a model of {predictor.modality.name}s",
            expected="one of images",
            fix=f"Name {predictor.modality.name}s to demo.py, without --web.",
        )
    _ = predictor.backbone  # one whose weights are missing is refused before anybody visits, too
    _check_free(host, port)
    folder = Path(tempfile.mkdtemp(prefix="zslab-web-")).resolve()
    blocks = None
    try:
        (folder / "uploads").mkdir()
        (folder / "favicon.svg").write_text(FAVICON)
        with _environment(GRADIO_TEMP_DIR=str(folder / "uploads")):
            page = Page(predictor, folder, _examples(predictor, examples, folder))
            layout = Layout(page)
            blocks = layout.blocks
            with blocks:
                Events(page, layout)
            blocks.queue(api_open=False, max_size=QUEUE)
            with _environment(no_proxy="*"):  # Gradio asks its own server whether it is up, which no proxy can tell
                _, url, _ = blocks.launch(
                    server_name=host,
                    server_port=port,
                    prevent_thread_lock=True,
                    quiet=True,
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
                    app_kwargs={"middleware": [Middleware(Guard, folder=folder)]},
                    theme=theme(),
                    css=files("zslab.app.web").joinpath("style.css").read_text(encoding="utf-8"),
                    head=head(),
                )
            yield url
    finally:
        if blocks is not None:
            blocks.close(verbose=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:  # the latter for a port beyond 65535
            raise InputError(
                "the address cannot be served",
                where="host and port",
                found=f"{host}:{port}, {getattr(error, 'strerror', None) or error}",
                expected="a free one of this machine",
                fix="Choose another port.",
            ) from None


def _examples(predictor: Predictor, examples: str | Path | None, folder: Path) -> list[Path]:
    """Return images to try: the folder's, or rendered birds for a model of the toy set, half of them unseen."""
    if examples is not None:
        return find_images([examples])[:MAX_EXAMPLES]
    if set(predictor.attribute_names) != set(ATTRIBUTES):
        return []
    labels = readable_names(list(SPECIES))
    seen = [name for name in SPECIES if name not in UNSEEN_CLASSES]
    shown = [name for pair in zip(UNSEEN_CLASSES[::2], seen[3::9]) for name in pair]
    paths = []
    for number, name in enumerate(shown):
        path = folder / "examples" / f"{labels[name]}.png"
        path.parent.mkdir(exist_ok=True)
        render_bird(SPECIES[name], np.random.RandomState(200 + number), size=336).image.save(path)
        paths.append(path)
    return paths
