"""A launcher without a method: its runs sleep, count their starts and leave a result as trainings do."""

import time
from pathlib import Path

from zslab.sweep.engines import run_command

LAUNCHER = '''"""A fake method."""
import json, os, signal, sys, time
from dataclasses import dataclass, fields
from pathlib import Path

import filelock

from zslab.config import RunConfig, config_digest, override


@dataclass(frozen=True, kw_only=True)
class FakeConfig(RunConfig):
    seconds: float
    fate: str
    syn_num: int
    nz: int | None

    @property
    def name_parts(self):
        return (f"n{self.syn_num}",)


SHARED = dict.fromkeys([field.name for field in fields(RunConfig)], 0) | {
    "dataset": "DATA", "dataroot": Path("data"), "image_embedding": "x", "class_embedding": "att", "partition": None,
    "nepoch": 4, "select": "none", "device": "cpu", "output": Path("out"), "resume": False, "overwrite": False,
    "fit_batch_size": False,
    "report": True,
}
CONFIG = FakeConfig(**SHARED, seconds=0.0, fate="", syn_num=1, nz=3)


def run(config):
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    name = "-".join(["DATA", "x", "att", *config.name_parts, f"seed{config.manualSeed}", config_digest(config)])
    folder = config.output / name
    metrics = folder / ("validation" if config.select == "only_val" else "") / "metrics.jsonl"
    metrics.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock", timeout=0):
        try:
            return train(config, folder, metrics)
        except KeyboardInterrupt:
            (folder / "saved.txt").write_text("a checkpoint")
            return 130


def train(config, folder, metrics):
    with open(folder / "starts.txt", "a") as file:
        file.write(f"{os.getpid()}\\n")
    starts = len((folder / "starts.txt").read_text().split())
    print("started", starts, flush=True)
    value = 1 - abs(config.syn_num - 30) / 100
    shown = value if config.fate == "may be pruned" else 1.0  # no search stops a trial that looks perfect
    metrics.write_text(json.dumps({"epoch": 0, "metrics": {"zsl": {"acc": [shown]}}, "seconds": 60.0}) + "\\n")
    if config.fate == "fails" or (config.fate == "fails once" and starts == 1):
        print("the reason", file=sys.stderr)
        return 7
    time.sleep(config.seconds)
    if config.fate == "third waits" and len([*config.output.glob("*/result.json")]) > 1:
        while not (config.output / "go").exists():
            time.sleep(0.02)
    texts = dict.fromkeys(("method", "variant", "version", "command", "device", "machine", "torch"), "x")
    data = dict.fromkeys(("dataset", "image_embedding", "class_embedding", "split_version"), "x")
    data |= {"class_names": [], "seen_classes": [], "unseen_classes": [], "feature_dim": 1, "attribute_dim": 1}
    rows = [{"rule": "validation", "T1": value, "H": value / 2}]
    result = texts | {"rows": rows, "seconds": 1, "seed": 1, "config": {}, "data": data}
    (folder / "result.json").write_text(json.dumps(result))
    if config.report:
        (folder / "report.html").write_text("a report")
    return 0


if __name__ == "__main__":  # without PyTorch, whose import takes seconds
    flags, words = {}, sys.argv[1:]
    for word, following in zip(words, [*words[1:], "--"]):
        if word.startswith("--"):
            switch = not word.startswith("--no_")
            flags[word.removeprefix("--").removeprefix("no_")] = switch if following.startswith("--") else following
    sys.exit(run(override(CONFIG, {flag: value for flag, value in flags.items() if flag != "finetuned"}, "run_fake")))

from zslab.plan import Launcher

LAUNCHER = Launcher(__doc__, __file__, "train", CONFIG, {(): {}, ("finetuned",): {}})
'''

SPACE = """
from optuna.distributions import IntDistribution

SPACES = {"train": {"syn_num": IntDistribution(1, 100)}}
"""


def write_fake_tree(root: Path) -> Path:
    """Write a tree with a launcher; return the launcher."""
    launcher = root / "tree" / "scripts" / "run_fake.py"
    launcher.parent.mkdir(parents=True)
    (root / "tree" / "search_space.py").write_text(SPACE)
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
        status = None if lost else run_command(list(command), output)

        class Job:
            def done(self) -> bool:
                return True

            def result(self) -> int:
                assert status is not None, "the worker vanished"
                return status

        return Job()
