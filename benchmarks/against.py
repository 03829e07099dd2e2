"""This commit against another one: its speed, and whether float32 numbers differ by more than rounding.

    git worktree add DIR COMMIT
    python benchmarks/against.py speed DIR [--turns 10] [--threads 1] [--quick]
    python benchmarks/against.py tables DIR LAUNCHER [--nudges 3] [--output FOLDER] -- FLAGS...

`speed`: a process of each commit makes iterations on CUB's shapes, in alternating turns. Prints CPU seconds, which count what
a process used whatever else the machine did, and the ratio of this commit to the other: of the least times, and the median
over the turns.

`tables`: trains LAUNCHER, a path below both folders, in both commits, and in this one also from initial weights that differ in
their last bit. Training amplifies rounding, so two correct programs end at different numbers; those of the other commit should
lie within what nudged weights do. Prints T1, u, s and H of the last epoch. Both commits must know the FLAGS.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
ROWS = ("iteration without feedback", "iteration with feedback")
SERVER = """
import sys, torch
import speed
torch.set_num_threads(int(sys.argv[1]))
case = speed.Case(speed.QUICK if sys.argv[2] == "quick" else speed.Shapes())
works = {row: speed.build(row, case, speed.COLUMNS[row][0]) for row in sys.argv[3:]}
for work in works.values():
    work()
print("ready", flush=True)
for line in sys.stdin:
    print(speed.seconds(works[line.strip()], case)[1], flush=True)
"""


def environment(root: Path) -> dict[str, str]:
    folders = [str(root), str(root / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1"}


class Server:
    """A process that makes iterations of one commit when asked to."""

    def __init__(self, root: Path, threads: int, quick: bool):
        command = [sys.executable, "-c", SERVER, str(threads), "quick" if quick else "cub", *ROWS]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, env=environment(root), cwd=root, **pipes)

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a process ended too early; its message stands above")
        return line.strip()

    def seconds(self, row: str) -> float:
        self.process.stdin.write(f"{row}\n")
        return float(self.answer())


def compare_speed(other: Path, turns: int, threads: int, quick: bool) -> None:
    servers = {"other": Server(other, threads, quick), "this": Server(ROOT, threads, quick)}
    for server in servers.values():
        assert server.answer() == "ready"
    times: dict[str, dict[str, list[float]]] = {row: {name: [] for name in servers} for row in ROWS}
    for turn in range(turns):
        for row in ROWS:
            for name in list(servers) if turn % 2 else reversed(servers):
                times[row][name].append(servers[name].seconds(row))
    for server in servers.values():
        server.process.stdin.close()
    for row, found in times.items():
        ratio = min(found["this"]) / min(found["other"]), median(t / o for t, o in zip(found["this"], found["other"]))
        least = ", ".join(f"{name} {min(values):.3f} (median {median(values):.3f})" for name, values in found.items())
        print(f"{row}, CPU s: {least}; this / other {ratio[0]:.3f}, median of turns {ratio[1]:.3f}", flush=True)


def run_nudged(seed: int, launcher: Path, flags: list[str]) -> None:
    """Run a launcher of this commit whose networks start from weights that differ in their last bit."""
    from zslab.tfvaegan.networks import Networks

    build, generator = Networks.build, torch.Generator().manual_seed(seed)

    def nudged(*arguments: object) -> Networks:
        networks = build(*arguments)
        with torch.no_grad():
            for parameter in networks.parameters():
                sign = torch.randn(parameter.shape, generator=generator).sign()
                parameter.mul_(1 + torch.finfo(parameter.dtype).eps / 2 * sign)
        return networks

    Networks.build = nudged
    sys.argv = [str(launcher), *flags]
    runpy.run_path(str(launcher), run_name="__main__")


def last_accuracies(folder: Path) -> list[float]:
    """T1, u, s and H in percent after the last epoch and head epoch of the one run below a folder."""
    (path,) = folder.glob("*/metrics.jsonl")
    record = json.loads(path.read_text().splitlines()[-1])
    metrics = record.get("metrics", record)  # the records of earlier commits have no "metrics"
    places = [("zsl", "acc"), ("gzsl", "acc_unseen"), ("gzsl", "acc_seen"), ("gzsl", "H")]
    return [100 * metrics[group][measure][-1] for group, measure in places]


def compare_tables(other: Path, launcher: str, flags: list[str], nudges: int, output: Path) -> None:
    runs = {"other": (other, [str(other / launcher)]), "this": (ROOT, [str(ROOT / launcher)])}
    for seed in range(1, nudges + 1):
        runs[f"this, nudged {seed}"] = ROOT, [str(Path(__file__).resolve()), "nudged", str(seed), str(ROOT / launcher)]
    found = {}
    print(f"{'':18}" + "".join(f"{name:>14}" for name in ("T1", "u", "s", "H")) + "   (difference from this)")
    for name, (root, command) in runs.items():
        folder = output / name.replace(", ", "-").replace(" ", "-")
        done = subprocess.run(
            [sys.executable, *command, *flags, "--output", str(folder)],
            env=environment(root),
            cwd=root,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        found[name] = last_accuracies(folder)
    for name, values in found.items():
        cells = "".join(f"{value:7.2f} {value - this:+6.2f}" for value, this in zip(values, found["this"]))
        print(f"{name:18}{cells}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["nudged"]:  # one run of `tables`
        run_nudged(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("other", type=Path, help="folder of the other commit")
    speed.add_argument("--turns", type=int, default=10)
    speed.add_argument("--threads", type=int, default=1)
    speed.add_argument("--quick", action="store_true", help="small shapes")
    tables = commands.add_parser("tables")
    tables.add_argument("other", type=Path, help="folder of the other commit")
    tables.add_argument("launcher", help="such as zero-shot-images/image-scripts/run_toy_tfvaegan.py")
    tables.add_argument("--nudges", type=int, default=3)
    tables.add_argument("--output", type=Path, help="empty folder for the runs; a temporary one where not given")
    words, flags = sys.argv[1:], []
    if "--" in words:
        words, flags = words[: words.index("--")], words[words.index("--") + 1 :]
    arguments = parser.parse_args(words)
    if arguments.what == "speed":
        compare_speed(arguments.other.resolve(), arguments.turns, arguments.threads, arguments.quick)
    else:
        with tempfile.TemporaryDirectory() as folder:
            output = (arguments.output or Path(folder)).resolve()
            compare_tables(arguments.other.resolve(), arguments.launcher, flags, arguments.nudges, output)


if __name__ == "__main__":
    main()
