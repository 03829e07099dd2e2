"""The download command and a local server that misbehaves on request. No network needed; seconds."""

import functools
import hashlib
import io
import random
import re
import threading
import zipfile
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from zslab.cli import main
from zslab.data import download as dl
from zslab.errors import InputError

CONTENT = random.Random(1).randbytes(1_000_000)
ROOT = Path(__file__).resolve().parents[2]


class Server(ThreadingHTTPServer):
    """Serves `files` and ranges of them; `script` holds one misbehavior for each coming request.

    Misbehaviors: status=N; send=N (bytes of the body before the connection is cut).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.script: deque[dict] = deque()
        self.seen: list[dict] = []  # of every request: path, range, and how many bytes of body were promised
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        act = self.server.script.popleft() if self.server.script else {}
        body = self.server.files.get(self.path)
        seen = {"path": self.path, "range": self.headers["Range"], "sent": 0}
        self.server.seen.append(seen)
        if "status" in act or body is None:
            return self.send_error(act.get("status", 404))
        total, start = len(body), int(re.fullmatch(r"bytes=(\d+)-", seen["range"] or "bytes=0-")[1])
        self.send_response(416 if start >= total else 206 if seen["range"] else 200)
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        seen["sent"] = min(total - start, act.get("send", total))
        self.wfile.write(body[start : start + seen["sent"]])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(dl, "BACKOFF_S", 0.0)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = Server()
    server.files["/f.bin"] = CONTENT
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


DIGEST = hashlib.sha256(CONTENT).hexdigest()


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_dropped_connection_continues_by_range(server, tmp_path):
    server.script.append({"send": 600_000})
    dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", DIGEST)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    first, second = server.seen
    start = int(second["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= first["sent"] and second["sent"] == len(CONTENT) - start


def test_resumes_in_a_later_command(server, tmp_path):
    server.script.extend([{"send": 600_000}] + [{"send": 0}] * dl.TRIES)
    with pytest.raises(InputError, match=r"http.*/f\.bin"):
        dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", DIGEST)
    part = (tmp_path / "f.bin.part").read_bytes()
    assert not (tmp_path / "f.bin").exists() and 0 < len(part) < len(CONTENT) and CONTENT.startswith(part)
    server.seen.clear()
    dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", DIGEST)
    assert server.seen == [{"path": "/f.bin", "range": f"bytes={len(part)}-", "sent": len(CONTENT) - len(part)}]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT and left_over(tmp_path) == ["f.bin"]


def test_a_file_that_changed_between_two_commands_is_noticed_and_fetched_anew(server, tmp_path):
    server.script.extend([{"send": 600_000}] + [{"send": 0}] * dl.TRIES)
    with pytest.raises(InputError):
        dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", DIGEST)
    server.files["/f.bin"] = changed = CONTENT[::-1]
    digest = hashlib.sha256(changed).hexdigest()
    with pytest.raises(InputError):  # its beginning is that of the former file
        dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", digest)
    assert left_over(tmp_path) == []
    dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", digest)
    assert (tmp_path / "f.bin").read_bytes() == changed and left_over(tmp_path) == ["f.bin"]


def test_whole_part_file_is_only_checked(server, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(CONTENT)
    dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", DIGEST)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT and [seen["sent"] for seen in server.seen] == [0]


def test_passing_server_errors_are_retried(server, tmp_path):
    server.script.extend([{"status": 503}, {"status": 503}])
    dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", DIGEST)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT and len(server.seen) == 3


def test_failed_check_keeps_the_old_file_and_drops_the_new(server, tmp_path):
    (tmp_path / "f.bin").write_bytes(b"old")
    with pytest.raises(InputError, match=rf"f\.bin: .* 0000.*got {DIGEST}"):
        dl.fetch(server.url + "/f.bin", tmp_path / "f.bin", "0" * 64)
    assert (tmp_path / "f.bin").read_bytes() == b"old" and left_over(tmp_path) == ["f.bin"]


LABELS = np.array([[1, 2, 3, 1, 2, 1, 2, 4, 4, 4]]).T
LOCATIONS = {  # 1-based; the row vector is deliberate
    "trainval_loc": np.array([[1, 2, 3, 4, 5]]).T,
    "test_seen_loc": np.array([[6, 7]]).T,
    "test_unseen_loc": np.array([[8, 9, 10]]),
}


def mat(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    return file.getvalue()


@functools.cache  # savemat writes the time of day into the file: made once, the bytes can be compared
def tiny_files() -> dict[str, bytes]:
    lists = LOCATIONS | {"train_loc": np.array([[1, 2, 4, 5]]).T, "val_loc": np.array([[3]])}
    return {
        "att_splits.mat": mat(att=np.ones((6, 4)), **lists),
        "res101.mat": mat(features=np.ones((2048, 10), np.int8), labels=LABELS),
        "allclasses.txt": b"robin\n",
    }


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tiny_archive(**changed: bytes) -> bytes:
    files = {f"x/data/TINY/{name}": content for name, content in (tiny_files() | changed).items()}
    return zipped(files | {"x/README": b"read", "x/data/OTHER/res101.mat": b"other", "__MACOSX/x/data/TINY/._res101.mat": b""})


@pytest.fixture
def tiny(server, monkeypatch):
    monkeypatch.setitem(dl.PROPOSED_SPLIT, "TINY", (5, 2, 3, 3, 1))
    monkeypatch.setitem(dl.ATTRIBUTES, "TINY", 6)
    server.files["/xlsa17.zip"] = tiny_archive()
    return server


def test_command_extracts_the_wanted_set_only(tiny, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert main(["download", "TINY", "--dataroot", str(tmp_path), "--base-url", tiny.url]) == 0
    assert left_over(tmp_path) == ["TINY", "archives"] and left_over(tmp_path / "archives") == ["xlsa17.zip"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "TINY").iterdir()} == tiny_files()
    assert "10 images, 4 classes, Proposed Split v2" in caplog.text
    assert main(["download", "TINY", "--dataroot", str(tmp_path), "--base-url", tiny.url]) == 0
    assert len(tiny.seen) == 1  # the second time nothing is fetched


def test_good_files_of_the_user_are_left_alone(tiny, tmp_path):
    (tmp_path / "TINY").mkdir()
    mine = mat(att=np.full((6, 4), 2.0), **LOCATIONS)
    (tmp_path / "TINY" / "att_splits.mat").write_bytes(mine)
    (tmp_path / "TINY" / "allclasses.txt").write_text("mine")
    dl.download(["TINY"], tmp_path, tiny.url)
    assert (tmp_path / "TINY" / "att_splits.mat").read_bytes() == mine
    assert (tmp_path / "TINY" / "allclasses.txt").read_text() == "mine"
    assert (tmp_path / "TINY" / "res101.mat").read_bytes() == tiny_files()["res101.mat"]


def test_unpublished_counts_are_refused_and_leave_nothing(tiny, tmp_path, capsys):
    attributes = mat(att=np.ones((7, 4)), **LOCATIONS)
    tiny.files["/xlsa17.zip"] = tiny_archive(**{"att_splits.mat": attributes})
    assert main(["download", "TINY", "--dataroot", str(tmp_path), "--base-url", tiny.url]) == 1
    message = capsys.readouterr().err
    assert "(5, 2, 3, 4, 2048, 6)" in message and "got (5, 2, 3, 4, 2048, 7)" in message
    assert left_over(tmp_path / "TINY") == ["allclasses.txt"]


@pytest.mark.parametrize(
    "content", [b"<html>Log in to the network</html>", tiny_archive()[:-200]], ids=["web page", "cut short"]
)
def test_what_is_no_archive_is_thrown_away(tiny, tmp_path, content):
    tiny.files["/xlsa17.zip"] = content
    with pytest.raises(InputError, match=r"xlsa17\.zip\.part"):
        dl.download(["TINY"], tmp_path, tiny.url)
    assert left_over(tmp_path / "archives") == []
    tiny.files["/xlsa17.zip"] = tiny_archive()
    dl.download(["TINY"], tmp_path, tiny.url)


def test_nothing_of_a_damaged_file_is_unpacked(tiny, tmp_path):
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("x/data/TINY/att_splits.mat", tiny_files()["att_splits.mat"])
        archive.writestr("x/data/TINY/res101.mat", b"a" * 5000)
    tiny.files["/xlsa17.zip"] = stored.getvalue().replace(b"aaaa", b"aaab", 1)
    with pytest.raises(InputError, match=r"xlsa17\.zip.*res101\.mat"):
        dl.download(["TINY"], tmp_path, tiny.url)
    assert left_over(tmp_path / "TINY") == ["att_splits.mat"]


def test_sentences_are_fetched_and_checked_by_their_checksum(tiny, tmp_path, monkeypatch):
    good = mat(att=np.ones((1024, 4)), **LOCATIONS)
    source = "https://example.invalid/sent_splits.mat", hashlib.sha256(good).hexdigest()
    monkeypatch.setitem(dl.SENTENCES, "TINY", source)
    tiny.files["/sent_splits.mat"] = good + b"x"
    with pytest.raises(InputError, match=r"sent_splits\.mat: .*SHA-256"):
        dl.download(["TINY"], tmp_path, tiny.url)
    assert not (tmp_path / "TINY" / "sent_splits.mat").exists() and (tmp_path / "TINY" / "res101.mat").exists()
    tiny.files["/sent_splits.mat"] = good
    dl.download(["TINY"], tmp_path, tiny.url)
    assert (tmp_path / "TINY" / "sent_splits.mat").read_bytes() == good


def test_unknown_name_lists_the_known(tmp_path, capsys):
    assert main(["download", "CUB", "BIRDS", "--dataroot", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "got BIRDS" in message and "CUB, AWA2, SUN" in message
    assert left_over(tmp_path) == []


def test_published_numbers_of_images():
    images = {"CUB": 11788, "AWA2": 37322, "SUN": 14340, "FLO": 8189, "AWA1": 30475, "APY": 15339}
    assert {name: sum(dl.PROPOSED_SPLIT[name][:3]) for name in dl.ATTRIBUTES} == images
