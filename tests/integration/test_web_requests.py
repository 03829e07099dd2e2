"""The page's server without a browser: hostile requests of many clients, and an environment with a proxy."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import os
import random
import re
import struct
import sys
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from zslab.app.predictor import Predictor
from zslab.app.web.html import percent
from zslab.app.web.session import ALL, TOP
from zslab.toy.species import ATTRIBUTES

from helpers.project import PROJECT
from helpers.web import NAMES, free_port, tiny_model, write_bird

SECRET = "the secret of another folder"
LONG, CONTROL, SURROGATE = "x" * 60_000, "a\x00\r\n\x1b[31m\u202e.png", "\ud800"
TRAVERSALS = (
    "../../../secret.txt",
    "..\\..\\secret.txt",
    "/etc/passwd",
    "..",
    ".",
    "",
    "C:\\secret.txt",
    "%2e%2e%2fsecret.txt",
)
NAME_LIKE = (*TRAVERSALS, LONG, CONTROL, "<script>alert(1)</script>", "=1+1", "名前", "con", "a/b", "\u202e", " ")


class Client:
    """What a browser sends to the page, and what it never would."""

    def __init__(self, url: str):
        self.place = url.split("//")[1].strip("/")
        config = json.loads(self.send("GET", "/config")[1])
        ids = {each["id"]: each["props"].get("elem_id") for each in config["components"]}
        self.events = {(ids.get(of), kind): each["id"] for each in config["dependencies"] for of, kind in each["targets"]}
        self.last = max(self.events.values())

    def send(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.place, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")

    def upload(self, name: bytes, content: bytes) -> tuple[int, str]:
        head = b'--limit\r\nContent-Disposition: form-data; name="files"; filename="' + name + b'"\r\n'
        body = head + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--limit--\r\n"
        return self.send("POST", "/gradio_api/upload", body, "multipart/form-data; boundary=limit")

    def ask(self, event: object, data: object, event_data: object = None) -> tuple[int, str]:
        """Send an event and return what came of it: a refusal, or the messages about it."""
        session = uuid.uuid4().hex
        body = {"fn_index": event, "data": data, "session_hash": session, "event_data": event_data, "trigger_id": None}
        status, text = self.send("POST", "/gradio_api/queue/join", json.dumps(body).encode())
        if status != 200:
            return status, text
        return self.send("GET", f"/gradio_api/queue/data?session_hash={session}")

    def predict(self, *paths: str, **extra: object) -> tuple[int, str]:
        files = [{"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}, **extra} for path in paths]
        return self.ask(self.events["zslab-files", "upload"], [files, ALL, 0, ""])


def messages(text: str) -> list[dict]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n") if line]


def succeeded(answer: tuple[int, str]) -> bool:
    """Whether an event was handled without an exception."""
    status, text = answer
    return status == 200 and next(each for each in messages(text) if each["msg"] == "process_completed")["success"]


def shown(answer: tuple[int, str]) -> str:
    """Everything that the page shows after an event that was answered."""
    assert succeeded(answer), answer[1][-2000:]
    return html.unescape(json.dumps(messages(answer[1]), ensure_ascii=False))


def refused(answer: tuple[int, str]) -> None:
    assert 400 <= answer[0] < 500 or not succeeded(answer), (answer[0], answer[1][:2000])


def png(width: int, height: int, data: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *extra, (b"IDAT", data), (b"IEND", b"")]
    packed = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def hostile_images(bird: bytes) -> dict[str, bytes]:
    zeros = zlib.compress(bytes(20 * 2**20))
    return {
        "empty": b"",
        "text": b"these are notes",
        "truncated": bird[: len(bird) // 2],
        "header alone": bird[:40],
        "huge": png(60_000, 60_000, zlib.compress(b"")),
        "bomb": png(40_000, 40_000, zeros),
        "beyond 32 bits": png(2**31 - 1, 2**31 - 1, zeros[:100]),
        "no pixels": png(0, 0, b""),
        "text bomb": png(8, 8, b"", (b"zTXt", b"a\x00\x00" + zlib.compress(bytes(200 * 2**20)))),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "zip": b"PK\x03\x04" + bytes(500),
        "noise": random.Random(0).randbytes(5000),
    }


def hostile_requests(client: Client, bird: bytes, outside: Path) -> list:
    """Every kind of hostile request, each as a function that sends it and checks the answer."""
    add, join = client.events["zslab-add", "click"], "/gradio_api/queue/join"
    ones: list[object] = ["1"] * len(ATTRIBUTES)
    settings = [[], ALL, 0, ""]

    def named(name: str) -> None:
        status, text = client.upload(name.replace("\n", "%0A").replace('"', "%22").encode("utf-8", "replace"), bird)
        if status == 200:
            (path,) = json.loads(text)
            assert Path(path).resolve().is_relative_to(Path(tempfile.gettempdir()).resolve()), path
            answer = client.predict(path)
            assert "zslab-card" in shown(answer) if Path(path).suffix == ".png" else "Invalid file type" in answer[1]
        else:
            refused((status, text))

    def uploaded(content: bytes) -> None:
        (path,) = json.loads(client.upload(b"photo.png", content)[1])
        assert "could not be read" in shown(client.predict(path))

    def taught(name: object, values: object = ones) -> None:
        answer = client.ask(add, [name, values, "", *settings, "", NAMES[0]])
        assert not succeeded(answer) or re.search("The class was not added|Added ", shown(answer))

    def listed(event: int, text: object) -> None:
        shown(client.ask(event, [text, None, ""]))

    def sent(*request: object) -> None:
        refused(client.send(*request))

    def asked(*event: object) -> None:
        refused(client.ask(*event))

    paths = [str(outside / "secret.txt"), "/etc/passwd", f"{tempfile.gettempdir()}/../secret.txt", "http://127.0.0.1:9/a.png"]
    paths += ["https://example.org/a.png", "HTTP://example.org/", "file:///etc/passwd", CONTROL, LONG, "", "."]
    wrong_json = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1e999",
        b'"\\ud800"',
        b'{"data": NaN}',
        b"[" * 100_000,
        b"9" * 10_000,
        b"\xff\xfe",
    ]
    wrong_json += [b'{"data": 1, "fn_index": 0, "session_hash": "a"}', b'{"data": [], "fn_index": "x", "session_hash": "a"}']
    wrong_json += [
        b'{"data": []}',
        json.dumps({"data": [SURROGATE], "fn_index": 0, "session_hash": "a"}).encode(),
        b" " * (17 * 2**20),
    ]
    addresses = [f"/gradio_api/file={quote(path)}" for path in (*paths, *TRAVERSALS)]
    addresses += [
        quote(path) for path in ("/x", "/assets/../../../etc/passwd", "/static//etc/passwd", "/" + LONG, "/assets/\x00")
    ]
    addresses += [
        "/%ff%fe",
        "/gradio_api/proxy=http://127.0.0.1:9/",
        "/pwa_icon/100000",
        "/gradio_api/custom_component/1/a/b/c",
    ]
    addresses += ["/login", "/gradio_api/deep_link", "/gradio_api/queue/data", "/gradio_api/file/etc/passwd", "/runs", "/docs"]
    upload, example = client.events["zslab-files", "upload"], client.events["zslab-examples", "click"]
    lists = [client.events["zslab-which", kind] for kind in ("key_up", "input")]
    posted = ("/", "/login", "/gradio_api/run/predict", "/gradio_api/call/x", "/gradio_api/vibe-edit")
    forms = [(b"no form",), (b"--x\r\n", "multipart/form-data; boundary=y"), (b"", "multipart/form-data")]
    wrong_data = [[], [1], [None, "x", 0, ""], *([None, ALL, value, ""] for value in ("x", 1e308, -1, None, [0]))]
    return [
        *(partial(named, name + suffix) for name in NAME_LIKE for suffix in ("", ".png")),
        *(partial(uploaded, content) for content in hostile_images(bird).values()),
        *(partial(taught, name) for name in (*NAME_LIKE, SURROGATE, None, 7, ["a"], {"a": 1})),
        *(
            partial(taught, "A", values)
            for values in (None, 7, "ones", {"a": 1}, [], ones[1:], [*ones, "1"], [ones], [None] * len(ones))
        ),
        *(partial(taught, "A", [value, *ones[1:]]) for value in ("9" * 10_000, SURROGATE, CONTROL, {"a": 1}, ["1"], True)),
        *(partial(lambda path: refused(client.predict(path)), path) for path in paths),
        lambda: refused(client.predict("a.png", url="http://127.0.0.1:9/")),
        *(partial(sent, "POST", join, body) for body in wrong_json),
        *(partial(sent, "GET", address) for address in addresses),
        *(partial(sent, "POST", address) for address in posted),
        *(partial(sent, method, "/") for method in ("PUT", "DELETE", "PATCH", "TRACE")),
        *(partial(sent, "POST", "/gradio_api/upload", *form) for form in forms),
        *(partial(asked, event, settings) for event in (-1, client.last + 1, 2**40, 1.5, "predict", None, LONG)),
        *(partial(asked, upload, data) for data in wrong_data),
        *(partial(asked, example, settings[1:], data) for data in (None, {}, {"index": "x"}, 7)),
        *(partial(listed, event, text) for event in lists for text in (None, 5, [], {"a": 1}, CONTROL, LONG, "no class")),
    ]


class Watch:
    """What this process reads, writes and connects to while it is on."""

    def __init__(self):
        self.on, self.read, self.written, self.connected = False, set(), set(), set()
        sys.addaudithook(self.note)

    def note(self, event: str, args: tuple) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(args[0], (str, bytes)):
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            (self.written if writes else self.read).add(os.path.abspath(os.fsdecode(args[0])))
        elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"):
            self.written.update(os.path.abspath(os.fsdecode(each)) for each in args if isinstance(each, (str, bytes)))
        elif event == "socket.connect" and isinstance(args[1], tuple):
            self.connected.add(args[1][0])


@pytest.fixture
def served(web, tmp_path: Path, monkeypatch) -> Iterator[tuple[Client, Predictor, Path]]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(web.tempfile, "tempdir", str(temporary))
    predictor = Predictor(tiny_model(), device="cpu")
    with web.serving(predictor, port=free_port()) as url:
        yield Client(url), predictor, temporary
    assert list(temporary.glob("zslab*")) == []


def check_right_answer(client: Client, predictor: Predictor, bird: Path) -> None:
    """The page still predicts what the model says."""
    (path,) = json.loads(client.upload(b"bird.png", bird.read_bytes())[1])
    page = shown(client.predict(path))
    (prediction,) = predictor.predict(bird, top=TOP)
    classes = page[page.index("zslab-classes") : page.index("zslab-reasons")]
    assert re.findall(r"zslab-number'>(.*?)</span>", classes) == [
        html.unescape(percent(each.probability)) for each in prediction.classes
    ]


def test_two_hundred_hostile_requests_of_eight_clients(served, tmp_path: Path) -> None:
    client, predictor, temporary = served
    bird = write_bird(tmp_path / "bird.png", 96)
    (tmp_path / "secret.txt").write_text(SECRET)
    requests = hostile_requests(client, bird.read_bytes(), tmp_path)
    chosen = (requests * (200 // len(requests) + 1))[: max(200, len(requests))]
    random.Random(13).shuffle(chosen)
    check_right_answer(client, predictor, bird)
    watch, answers = Watch(), []
    send = Client.send
    watch.on = True
    try:
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as pool:
            patch.setattr(Client, "send", lambda *args: (answers.append(send(*args)), answers[-1])[1])
            waiting = [(request, pool.submit(request)) for request in chosen]
            failures = [f"{request}: {error!r}"[:3000] for request, each in waiting if (error := each.exception())]
    finally:
        watch.on = False
    assert not failures, "\n\n".join([f"{len(failures)} of {len(chosen)}", *failures])
    assert not [text for _, text in answers if SECRET in text or "root:" in text]
    check_right_answer(client, predictor, bird)
    assert json.loads(client.send("GET", "/config")[1])["title"] == "Zero-shot recognition" and predictor.classes_ == NAMES
    assert watch.connected <= {"127.0.0.1"}
    assert [path for path in watch.written if not path.startswith((str(temporary), "/dev/null"))] == []
    known = (str(temporary), sys.prefix, sys.base_prefix, str(PROJECT), "/dev/", "/proc/", "/sys/")
    assert [path for path in watch.read if not path.startswith(known)] == []


def test_a_proxy_in_the_environment_changes_nothing(web, tmp_path: Path, monkeypatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    predictor = Predictor(tiny_model(), device="cpu")
    with web.serving(predictor, port=free_port()) as url:
        check_right_answer(Client(url), predictor, write_bird(tmp_path / "bird.png", 96))
    assert "no_proxy" not in os.environ
