"""A launcher without a method: its runs sleep, count their starts and leave a result as training scripts do."""

from __future__ import annotations

import time
from pathlib import Path

from zslab.sweep.engines import LOST, run_command

RUN = """
import json, os, signal, sys, time
from pathlib import Path
import filelock

signal.signal(signal.SIGTERM, signal.default_int_handler)

folder, seconds, fate, syn_num = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
folder.mkdir(parents=True, exist_ok=True)
with filelock.FileLock(folder / ".lock", timeout=0):
    with open(folder / "starts.txt", "a") as file:
        file.write(f"{os.getpid()}\\n")
    starts = len((folder / "starts.txt").read_text().split())
    print("started", starts, flush=True)
    (folder / "metrics.jsonl").touch()
    if fate == "fails" or (fate == "fails once" and starts == 1):
        print("the reason", file=sys.stderr)
        sys.exit(7)
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        (folder / "saved.txt").write_text("a checkpoint")
        sys.exit(130)
    value = 1 - abs(syn_num - 30) / 100  # on the validation split
    texts = dict.fromkeys(("method", "variant", "version", "command", "device", "machine", "torch"), "x")
    data = dict.fromkeys(("dataset", "image_embedding", "class_embedding", "split_version"), "x")
    data |= {"class_names": [], "seen_classes": [], "unseen_classes": [], "feature_dim": 1, "attribute_dim": 1}
    rows = [{"rule": "validation", "T1": value, "H": value / 2}]
    result = {"rows": rows, "seconds": 1, "seed": 1, "config": {}, "data": data}
    omp = os.environ.get("OMP_NUM_THREADS")
    (folder / "result.json").write_text(json.dumps(texts | result | {"omp": omp}))
    (folder / "report.html").write_text("a report")
"""

LAUNCHER = """
import argparse, contextlib, io, json, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--output", type=Path, default=Path("out"))
parser.add_argument("--seconds", type=float, default=0)
parser.add_argument("--fate", default="")
parser.add_argument("--syn_num", default="1")
parser.add_argument("--select", default="none")
parser.add_argument("--nz", type=lambda text: None if text == "None" else int(text), default=3)
parser.add_argument("--overwrite", action="store_true")
parser.add_argument("--finetuned", action="store_true")  # a switch of the launcher, no flag of the training script
if "--plan" not in sys.argv:
    sys.exit("it only plans")
for line in sys.stdin:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            own = parser.parse_args(json.loads(line))
        except SystemExit:
            print(json.dumps(said.getvalue().splitlines()[-1]), flush=True)
            continue
    with open(HERE / "plans.txt", "a") as file:
        file.write("planned\\n")
    config = {flag: value for flag, value in vars(own).items() if flag != "finetuned"}
    words = [str(own.seconds), own.fate, own.syn_num, *["--overwrite"] * own.overwrite]
    print(json.dumps([
        {"name": f"seed {seed}", "folder": str(own.output / f"run-{own.syn_num}-{seed}"), "data": None, "config": config,
         "command": [sys.executable, str(HERE.parent / "train.py"), str(own.output / f"run-{own.syn_num}-{seed}"), *words]}
        for seed in own.seeds
    ], default=str), flush=True)
"""

SPACE = """
from zslab.search.space import Integer

SPACES = {"train.py": {"syn_num": Integer(1, 100)}}
"""


def write_fake_tree(root: Path) -> Path:
    """Write a tree with a training script and a launcher; return the launcher."""
    scripts = root / "tree" / "scripts"
    scripts.mkdir(parents=True)
    (root / "tree" / "train.py").write_text(RUN)
    (root / "tree" / "search_space.py").write_text(SPACE)
    launcher = scripts / "run_fake.py"
    launcher.write_text(LAUNCHER)
    return launcher


def starts(folder: Path) -> int:
    """Return how often the run in a folder was started."""
    file = folder / "starts.txt"
    return len(file.read_text().split()) if file.exists() else 0


def wait_for(condition, seconds: float = 60.0) -> None:
    """Wait until a condition holds; a test that waits in vain fails."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class LosingEngine:
    """An engine whose first worker vanishes."""

    slots = 1

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, command, output):
        self.submitted += 1
        lost = self.submitted == 1
        status = LOST if lost else run_command(list(command), str(output))

        class Job:
            def poll(self) -> int:
                return status

        return Job()

    def close(self) -> None:
        pass
