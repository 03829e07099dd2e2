"""How fast the fast paths are: each timed against the plain reference, in alternating pairs in one process, on the CPU.

    python benchmarks/speed.py [--threads N]      CUB's shapes, random data; some 10 minutes on two cores
    python benchmarks/speed.py --quick            small shapes, under two minutes: shows that it works, not how fast

Prints a table and writes benchmarks/results/<name>.json: per row the medians of the repetitions in wall and in CPU seconds,
the median of the pairs' ratios, and the peak memory of a process that does nothing else. Random features cost what real
ones cost: no operation looks at the values. docs/performance.md discusses the numbers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from zsl.classifiers import SoftmaxHead  # noqa: E402
from zsl.data.xlsa17 import Samples, StageData  # noqa: E402
from zsl.runs.environment import command_line, machine  # noqa: E402
from zsl.tfvaegan.classification import evaluate  # noqa: E402
from zsl.tfvaegan.networks import Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder  # noqa: E402
from zsl.tfvaegan.steps import Settings, TrainingState, draw  # noqa: E402
from zsl.tfvaegan.trainer import ITERATIONS  # noqa: E402

from plain_head import PlainSoftmaxHead  # noqa: E402

CPU = torch.device("cpu")
HEADS = {"fast": SoftmaxHead, "eager": PlainSoftmaxHead}
ENGINES = ("fast", "eager")


@dataclass(frozen=True)
class Shapes:
    """The sizes of a data set and its networks; the defaults are CUB's with the release's settings."""

    feature_dim: int = 2048
    attribute_dim: int = 312
    hidden_dim: int = 4096
    n_seen: int = 150
    n_unseen: int = 50
    n_train: int = 7057
    n_test_seen: int = 1764
    n_test_unseen: int = 2967
    n_synthetic: int = 300
    batch_size: int = 64
    head_epochs: int = 2  # of the 25: every one costs the same


QUICK = Shapes(512, 85, 1024, 40, 10, 1000, 200, 300, 50)

Work = Callable[[], object]


def random_data(shapes: Shapes) -> StageData:
    def samples(classes: torch.Tensor, n: int) -> Samples:
        return Samples(torch.rand(n, shapes.feature_dim), classes[torch.arange(n) % len(classes)])

    classes = torch.arange(shapes.n_seen + shapes.n_unseen)
    seen, unseen = classes[: shapes.n_seen], classes[shapes.n_seen :]
    return StageData(
        "test", F.normalize(torch.rand(len(classes), shapes.attribute_dim), dim=1), seen, unseen,
        samples(seen, shapes.n_train), samples(seen, shapes.n_test_seen), samples(unseen, shapes.n_test_unseen),
    )


def build_state(shapes: Shapes) -> TrainingState:
    d, a, h = shapes.feature_dim, shapes.attribute_dim, shapes.hidden_dim
    networks = Networks(
        Encoder(d, a, a, h), Generator(a, a, d, h), Critic(d, a, h), Feedback(h), SemanticDecoder(d, a, h, "unit_norm")
    )
    return TrainingState(networks, Settings(batch_size=shapes.batch_size, n_synthetic=shapes.n_synthetic), CPU)


def iteration_work(shapes: Shapes, engine: str, feedback: bool) -> Work:
    state, data, generator = build_state(shapes), random_data(shapes), torch.Generator().manual_seed(0)

    def work() -> None:
        draws = draw(data, state.settings, state.latent_dim, generator, transductive=False)
        ITERATIONS[engine](state, data, data.attributes, draws, feedback)

    return work


def head_work(shapes: Shapes, engine: str) -> Work:
    n, n_classes = shapes.n_train + shapes.n_unseen * shapes.n_synthetic, shapes.n_seen + shapes.n_unseen
    features = torch.rand(n, shapes.feature_dim + shapes.attribute_dim + shapes.hidden_dim)
    labels = torch.arange(n) % n_classes
    head = HEADS[engine](epochs=shapes.head_epochs, batch_size=shapes.n_synthetic)
    return lambda: head.fit(features, labels, torch.Generator().manual_seed(0))


def evaluation_work(shapes: Shapes, engine: str) -> Work:
    state, data = build_state(shapes), random_data(shapes)
    heads = [HEADS[engine](epochs=shapes.head_epochs, batch_size=shapes.n_synthetic) for _ in range(2)]
    return lambda: evaluate(state.networks, data, state.settings, *heads, torch.Generator().manual_seed(0))


def build(row: str, shapes: Shapes, engine: str) -> Work:
    """What a row of the table times, once per call."""
    torch.manual_seed(0)
    if row.startswith("iteration"):
        return iteration_work(shapes, engine, feedback=row == "iteration with feedback")
    return {"GZSL head": head_work, "evaluation": evaluation_work}[row](shapes, engine)


ROWS = ("iteration without feedback", "iteration with feedback", "GZSL head", "evaluation")


def seconds(work: Work) -> tuple[float, float]:
    """Wall and CPU seconds of one call; CPU seconds count what this process used, whatever else the machine did."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_pairs(row: str, shapes: Shapes, repeats: int) -> dict[str, dict[str, float]]:
    """{"wall_s", "cpu_s"} -> {"fast", "eager": medians; "ratio": median of eager / fast over the pairs}."""
    works = {engine: build(row, shapes, engine) for engine in ENGINES}
    times: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ENGINES}
    for i in range(repeats + 1):
        for engine in ENGINES if i % 2 else reversed(ENGINES):
            times[engine].append(seconds(works[engine]))
    result = {}
    for k, clock in enumerate(("wall_s", "cpu_s")):
        fast, eager = ([t[k] for t in times[engine][1:]] for engine in ENGINES)  # the first pair warms up
        result[clock] = {"fast": median(fast), "eager": median(eager),
                         "ratio": median(e / f for e, f in zip(eager, fast)), "pairs": list(zip(fast, eager))}
    return result


def peak_memory(row: str, shapes: Shapes, engine: str, threads: int) -> float:
    """GiB that a fresh process needs at most for a row's work, Python, PyTorch and the random data included."""
    torch.set_num_threads(threads)
    work = build(row, shapes, engine)
    work()
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def commit() -> str:
    """The project's git commit, "+" where files that are tracked differ from it."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, few repetitions")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--repeats", type=int, default=5, help="pairs a row, after one to warm up")
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    threads = torch.get_num_threads()
    shapes = QUICK if arguments.quick else Shapes()
    report = {
        "command": command_line(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "commit": commit(),
        "machine": machine(CPU), "threads": threads, "torch": torch.__version__, "python": platform.python_version(),
        "precision": "float32", "shapes": asdict(shapes), "load_before": os.getloadavg(), "rows": {},
    }
    print(f"{report['machine']}, PyTorch {torch.__version__}, float32, commit {report['commit']}, "
          f"load {os.getloadavg()[0]:.1f}")
    print(f"{'':28}{'fast':>9}{'eager':>9}{'ratio':>8}{'CPU ratio':>11}{'peak GiB, fast / eager':>25}")
    for row in ROWS:
        result = measure_pairs(row, shapes, arguments.repeats)
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            memory = {engine: pool.apply(peak_memory, (row, shapes, engine, threads)) for engine in ENGINES}
        report["rows"][row] = result | {"peak_gib": memory}
        wall = result["wall_s"]
        print(f"{row:28}{wall['fast']:8.3f}s{wall['eager']:8.3f}s{wall['ratio']:7.2f}x{result['cpu_s']['ratio']:10.2f}x"
              f"{memory['fast']:16.2f} / {memory['eager']:.2f}", flush=True)
    report["load_after"] = os.getloadavg()
    path = ROOT / "benchmarks" / "results" / f"speed-{'quick' if arguments.quick else 'cub'}-cpu-{threads}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"-> {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
