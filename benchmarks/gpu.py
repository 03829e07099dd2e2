"""Everything to measure on a GPU, in one command of less than ten minutes.

    python benchmarks/gpu.py --dataroot DIR --output results.json      # on a GPU, DIR holds CUB
    python benchmarks/gpu.py --toy --output results.json               # shows on a CPU that the script works
    python benchmarks/gpu.py --wheels DIR2 ...                         # installs wheels that the machine lacks, for this call

Each step is a process with a time limit of its own. The JSON is written anew after every step, and a step that fails or
runs out of time does not stop the others. Nothing is downloaded.

| step          | limit | what                                                                          |
|---------------|-------|-------------------------------------------------------------------------------|
| tests         |  60 s | tests/gpu: iterations are captured and replayed, and train as without graphs  |
| speed-<p>     |  60 s | speed.py in fp32, tf32 and bf16: with and without graphs, and the plain loop  |
| profile       |  30 s | operators.py: the kernels of an iteration, and how much of the time they fill |
| dazle         |  60 s | dazle_cub.py: DAZLE at CUB's size, generated regions held in memory           |
| splits        |  60 s | splits.py: several action splits by three workers that share the device       |
| cub           | 240 s | the release's settings at full width, as many of 300 epochs as fit            |

--seconds limits all steps together; the last one gets what is left.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
TAIL = 20_000  # characters of a step's output that are kept
GRACE = 20  # seconds that a step may take to stop when its time is over


@dataclass(frozen=True)
class Step:
    """One command with its time limit in seconds."""

    name: str
    command: list[str]
    limit: float


def plan(device: str, toy: bool, dataroot: Path | None, folder: Path) -> list[Step]:
    """Return the steps in order of worth."""
    scripts, out = ROOT / "benchmarks", ["--output", str(folder), "--device", device]
    steps = [Step("tests", ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "gpu")], 60)]
    rows = ["iteration with feedback"]
    if not toy:
        rows = ["iteration without feedback", *rows, "GZSL head", "ZSL head", "evaluation", "DAZLE step"]
    quick = ["--quick"] if toy else []
    for precision in ("fp32",) if toy else ("fp32", "tf32", "bf16"):
        speed = ["--device", device, "--repeats", "2", "--no-memory", "--precision", precision, *quick, "--rows", *rows]
        steps.append(Step(f"speed-{precision}", [str(scripts / "speed.py"), *speed], 60))
    if device != "cpu":
        steps.append(Step("profile", [str(scripts / "operators.py"), "--device", device], 30))
    regions = ["--images", "400", "--dim", "32", "--nepoch", "1"] if toy else ["--nepoch", "8", "--eval_every", "4"]
    steps.append(Step("dazle", [str(scripts / "dazle_cub.py"), "--cache", "memory", *regions, *out], 60))
    splits = ["--splits", "2" if toy else "6", "--workers", "1" if toy else "3", "--nepoch", "1", "--device", device]
    steps.append(Step("splits", [str(scripts / "splits.py"), *splits], 60))
    if dataroot is not None:
        launcher = str(ROOT / "zero-shot-images" / "image-scripts" / "run_cub_tfvaegan.py")
        small = ["--ngh", "32", "--ndh", "32", "--nepoch", "1"] if toy else []
        steps.append(Step("cub", [launcher, "--dataroot", str(dataroot), "--eval_every", "10", *small, *out], 240))
    return [replace(step, limit=10 * step.limit) for step in steps] if toy else steps  # a CPU may be slow


def install(wheels: Path, folder: Path) -> str:
    """Install a folder of wheels beside the machine's own packages, and return the folder to import them from."""
    files = sorted(str(wheel) for wheel in wheels.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, *files], check=True)
    return str(folder)


def run(step: Step, site: str = "") -> dict[str, object]:
    """Run a step; when its time is over ask it to stop with SIGINT, on which a training saves its state.

    Args:
        step: what to run.
        site: folder of packages that the machine lacks.
    """
    begin, timed_out = time.perf_counter(), False
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *step.command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), site, os.environ.get("PYTHONPATH")]))},
            start_new_session=True,  # so that workers are stopped with it
        )
        for request in (signal.SIGINT, signal.SIGKILL):
            try:
                process.wait(step.limit if not timed_out else GRACE)
                break
            except subprocess.TimeoutExpired:
                timed_out = True
                os.killpg(process.pid, request)
        status = process.wait()
        output.seek(0)
        text = output.read()[-TAIL:]
    seconds = time.perf_counter() - begin
    return asdict(step) | {"status": status, "timed_out": timed_out, "seconds": seconds, "output": text}


def epoch_seconds(records: list[dict]) -> dict[str, float | None]:
    """Return the median seconds of an epoch with and without evaluation; the first, which captures graphs, is left out."""
    by_kind: dict[bool, list[float]] = {False: [], True: []}
    for record in records[1:] or records:
        by_kind["zsl" in record].append(record["seconds"])
    names = {False: "training", True: "training and evaluation"}
    return {names[kind]: median(seconds) if seconds else None for kind, seconds in by_kind.items()}


def environment(device: str) -> dict[str, object]:
    """Return what the figures depend on."""
    cuda = torch.cuda.is_available()
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(device) if cuda and device != "cpu" else "cpu",
    }


def save(report: dict[str, object], path: Path) -> None:
    """Write the report as it is now."""
    path.write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    """Run all steps, or the chosen ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--dataroot", type=Path, help="folder that holds CUB; without it that step is left out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--toy", action="store_true", help="small sizes")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install into a temporary folder first")
    parser.add_argument("--steps", nargs="+", help="names of the steps to run; all by default")
    parser.add_argument("--seconds", type=float, default=570, help="limit of all steps together; of a toy run ten times that")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="last: more flags for the launcher of CUB")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds * (10 if arguments.toy else 1)
    report: dict[str, object] = {"environment": environment(arguments.device), "steps": {}}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as packages:
        save(report, arguments.output)
        site = install(arguments.wheels, Path(packages)) if arguments.wheels else ""
        for step in plan(arguments.device, arguments.toy, arguments.dataroot, Path(folder)):
            if arguments.steps and step.name not in arguments.steps:
                continue
            left = end - time.monotonic() - GRACE
            if left < 0:
                print(f"{step.name}: no time left", flush=True)
                continue
            command = step.command + (arguments.flags if step.name == "cub" else [])
            result = run(Step(step.name, command, min(step.limit, left)), site)
            for path in Path(folder).glob("*/metrics.jsonl"):  # of a training, also of one that ran out of time
                records = [json.loads(line) for line in path.open()]
                result.setdefault("metrics", {})[path.parent.name] = records
                result.setdefault("epochs", {})[path.parent.name] = epoch_seconds(records)
            report["steps"][step.name] = result
            save(report, arguments.output)
            print(f"{step.name}: status {result['status']}, {result['seconds']:.0f} s", flush=True)
            if result["status"] != 0:
                print(result["output"], flush=True)


if __name__ == "__main__":
    main()
