"""A launcher without a method: its runs sleep, count their starts and leave a result as training scripts do."""

from __future__ import annotations

from pathlib import Path

RUN = """
import json, os, sys, time
from pathlib import Path
import filelock

folder, seconds, fate = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
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
    (folder / "result.json").write_text(json.dumps({"omp": os.environ.get("OMP_NUM_THREADS")}))
    (folder / "report.html").write_text("a report")
"""

LAUNCHER = """
import argparse, contextlib, io, json, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--output", type=Path, required=True)
parser.add_argument("--seconds", default="0")
parser.add_argument("--fate", default="")
parser.add_argument("--syn_num", default="1")
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
    print(json.dumps([
        {"name": f"seed {seed}", "folder": str(own.output / f"run-{own.syn_num}-{seed}"), "data": None, "config": vars(own),
         "command": [sys.executable, str(HERE.parent / "train.py"), str(own.output / f"run-{own.syn_num}-{seed}"), own.seconds,
                     own.fate]}
        for seed in own.seeds
    ], default=str), flush=True)
"""


def write_fake_tree(root: Path) -> Path:
    """Write a tree with a training script and a launcher; return the launcher."""
    scripts = root / "tree" / "scripts"
    scripts.mkdir(parents=True)
    (root / "tree" / "train.py").write_text(RUN)
    launcher = scripts / "run_fake.py"
    launcher.write_text(LAUNCHER)
    return launcher


def starts(folder: Path) -> int:
    """Return how often the run in a folder was started."""
    file = folder / "starts.txt"
    return len(file.read_text().split()) if file.exists() else 0
