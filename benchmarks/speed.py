"""How fast training and evaluation are, each timed against a plain reference, in alternating turns.

    python benchmarks/speed.py [--threads N]         CUB's shapes, random data; some 15 minutes on two cores
    python benchmarks/speed.py --quick               small shapes, under two minutes: shows that it works, not how fast
    python benchmarks/speed.py --device cuda         the same on a GPU; says what could not be captured as a CUDA graph
    python benchmarks/speed.py --precision bf16      the first column with products in bfloat16

Columns: "zslab" is what runs by default; "plain" the loop written down without care (tests/helpers/plain_port.py: default
Adam, batches from the host); on CUDA also "uncaptured", without CUDA graphs. Each column has a process of its own. Ratios are
those to "zslab", medians over the turns. against.py times two commits against each other.

Prints a table and writes benchmarks/results/<name>.json: medians in wall and in CPU seconds, all samples, and the peak memory
of a process that does nothing else (on CUDA: of the device). CPU seconds are the ones to trust where other work shares the
machine. Random features cost what real ones cost: no operation looks at the values. The row "CUB epoch" is added up from
rows above it, see `add_epoch`. Opening region files and sweeps over splits have scripts of their own, region_files.py and
splits.py, whose last results are repeated below the table. docs/performance.md discusses the numbers.
"""

import argparse
import gc
import json
import logging
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from zslab.config import ImageConfig  # noqa: E402
from zslab.data.dataset import Samples, StageData  # noqa: E402
from zslab.dazle.losses import cross_entropy, self_calibration  # noqa: E402
from zslab.dazle.model import Dazle  # noqa: E402
from zslab.shared.heads import SoftmaxHead  # noqa: E402
from zslab.tfvaegan.evaluate import evaluate  # noqa: E402
from zslab.tfvaegan.networks import Networks  # noqa: E402
from zslab.tfvaegan.steps import TrainingState, draw  # noqa: E402
from zslab.tfvaegan.trainer import TfvaeganTrainer  # noqa: E402
from zslab.utils.cuda_graphs import can_capture, capture_verified, moments  # noqa: E402
from zslab.utils.environment import command_line, machine  # noqa: E402
from zslab.utils.precision import Precision, set_precision  # noqa: E402

from helpers.configs import dazle_options, tfvaegan  # noqa: E402
from helpers.naive_dazle import naive_step  # noqa: E402
from helpers.plain_port import PlainTraining, fit_plain_head  # noqa: E402

CPU = torch.device("cpu")


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
    regions: int = 49  # of DAZLE, whose batch is 50
    region_batch: int = 50
    word_dim: int = 300


QUICK = Shapes(512, 85, 1024, 40, 10, 1000, 200, 300, 50, regions=9, region_batch=10, word_dim=50)


@dataclass(frozen=True)
class Case:
    """What one cell of the table times."""

    shapes: Shapes
    device: torch.device = CPU
    precision: Precision = "fp32"
    repeated: int = 1  # calls a turn: one would be too short for a clock where a GPU runs ahead of Python


Work = Callable[[], object]


def random_data(shapes: Shapes) -> StageData:
    def samples(classes: torch.Tensor, n: int) -> Samples:
        return Samples(torch.rand(n, shapes.feature_dim), classes[torch.arange(n) % len(classes)])

    classes = torch.arange(shapes.n_seen + shapes.n_unseen)
    seen, unseen = classes[: shapes.n_seen], classes[shapes.n_seen :]
    return StageData(
        "test",
        F.normalize(torch.rand(len(classes), shapes.attribute_dim), dim=1),
        seen,
        unseen,
        samples(seen, shapes.n_train),
        samples(seen, shapes.n_test_seen),
        samples(unseen, shapes.n_test_unseen),
    )


def config(shapes: Shapes, **changes: object) -> ImageConfig:
    s = shapes
    return tfvaegan(batch_size=s.batch_size, syn_num=s.n_synthetic, ngh=s.hidden_dim, ndh=s.hidden_dim, **changes)


def build_networks(shapes: Shapes, device: torch.device = CPU) -> Networks:
    with device:  # a GPU draws 75 million weights at once
        return Networks.build(config(shapes), shapes.feature_dim, shapes.attribute_dim)


def build_state(shapes: Shapes, device: torch.device = CPU) -> TrainingState:
    return TrainingState(build_networks(shapes), config(shapes), device)


def build_trainer(case: Case, **changes: object) -> TfvaeganTrainer:
    networks, heads = build_networks(case.shapes, case.device), (SoftmaxHead(), SoftmaxHead())
    return TfvaeganTrainer(networks, random_data(case.shapes), config(case.shapes, **changes), *heads, case.device)


def iteration_work(case: Case, column: str, feedback: bool) -> Work:
    if column == "plain":
        data, generator = random_data(case.shapes), torch.Generator().manual_seed(0)
        training = PlainTraining(build_networks(case.shapes, case.device), config(case.shapes), data, case.device)
        return lambda: training.iteration(
            draw(data, training.config, case.shapes.attribute_dim, generator, transductive=False), feedback
        )
    # TF32 is the whole process's, so the plain loop has it, too.
    return build_trainer(case, precision=case.precision, cuda_graphs=column == "zslab").step(feedback)


def head_work(case: Case, column: str, generalized: bool, batch_size: int) -> Work:
    """A GZSL head over all classes, or a ZSL head over the unseen ones."""
    s = case.shapes
    n, k = s.n_unseen * s.n_synthetic, s.n_unseen
    if generalized:
        n, k = n + s.n_train, k + s.n_seen
    features, labels = torch.rand(n, s.feature_dim + s.attribute_dim + s.hidden_dim), torch.arange(n) % k
    if column == "plain":
        return lambda: fit_plain_head(features, labels, k, s.head_epochs, batch_size, 1e-3, case.device)
    head = build_head(case, column, batch_size)
    features, labels = features.to(case.device), labels.to(case.device)
    return lambda: head.fit(features, labels, torch.Generator(case.device).manual_seed(0))


def build_head(case: Case, column: str, batch_size: int) -> SoftmaxHead:
    bf16, captured = case.precision == "bf16", column == "zslab"
    return SoftmaxHead(epochs=case.shapes.head_epochs, batch_size=batch_size, bf16=bf16, cuda_graphs=captured)


class PlainHead(SoftmaxHead):
    """`fit_plain_head` where `evaluate` wants a head, which measures after every epoch."""

    def fit_epochs(self, features, labels, generator):
        self.classes_, targets = labels.unique(return_inverse=True)
        host = features.cpu(), targets.cpu()
        for epoch in range(self.epochs):
            layer = fit_plain_head(*host, len(self.classes_), 1, self.batch_size, self.lr, features.device)
            self.weight_, self.bias_ = layer.weight.data, layer.bias.data
            yield epoch


def evaluation_work(case: Case, column: str) -> Work:
    s, data = case.shapes, random_data(case.shapes).to(case.device)
    networks = build_networks(s, case.device)
    plain = PlainHead(epochs=s.head_epochs, batch_size=s.n_synthetic)
    heads = [plain if column == "plain" else build_head(case, column, s.n_synthetic) for _ in range(2)]
    return lambda: evaluate(networks, data, config(s), *heads, torch.Generator(case.device).manual_seed(0))


def dazle_work(case: Case, column: str) -> Work:
    """One training step of DAZLE, its default loss, on regions that are there already."""
    s, device, k = case.shapes, case.device, case.shapes.n_seen + case.shapes.n_unseen
    side = int(s.regions**0.5)
    model = Dazle(None, s.attribute_dim, s.feature_dim, s.word_dim, grid=(side, side)).to(device)
    optimizer = torch.optim.RMSprop(
        model.parameters(), lr=1e-4, weight_decay=1e-4, momentum=0.9, capturable=can_capture(device)
    )
    regions = torch.rand(s.region_batch, s.regions, s.feature_dim).to(device)
    att = F.normalize(torch.rand(k, s.attribute_dim), dim=1).to(device)
    labels = (torch.arange(s.region_batch) % s.n_seen).to(device)
    is_unseen = (torch.arange(k) >= s.n_seen).to(device)
    margin, unseen = torch.where(is_unseen, 1.0, -1.0), is_unseen.nonzero().flatten()
    set_precision(case.precision, device)
    model.bf16 = case.precision == "bf16"
    if column == "plain":
        parameters = dict(model.named_parameters())
        return lambda: naive_step(parameters, optimizer, dazle_options(), (side, side), regions, att, labels, is_unseen)

    def step() -> dict[str, Tensor]:
        scores = model(regions, att).scores
        loss = cross_entropy(scores, labels) + 0.1 * self_calibration(scores + margin, unseen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    def changed() -> dict[str, Tensor]:
        return model.state_dict() | moments(optimizer)

    if column == "zslab" and can_capture(device):
        return capture_verified(step, changed, torch.Generator(device), "DAZLE step")
    return step


def build(row: str, case: Case, column: str) -> Work:
    """What a cell of the table times, once per call."""
    torch.manual_seed(0)
    batch = case.shapes.n_synthetic
    return {
        "iteration without feedback": lambda: iteration_work(case, column, feedback=False),
        "iteration with feedback": lambda: iteration_work(case, column, feedback=True),
        "GZSL head": lambda: head_work(case, column, True, batch),
        "GZSL head, batch 50": lambda: head_work(case, column, True, 50),
        "ZSL head": lambda: head_work(case, column, False, batch),
        "evaluation": lambda: evaluation_work(case, column),
        "DAZLE step": lambda: dazle_work(case, column),
    }[row]()


COLUMNS = {
    "iteration without feedback": ("zslab", "uncaptured", "plain"),
    "iteration with feedback": ("zslab", "uncaptured", "plain"),
    "GZSL head": ("zslab", "uncaptured", "plain"),
    "GZSL head, batch 50": ("zslab", "uncaptured", "plain"),
    "ZSL head": ("zslab", "plain"),
    "evaluation": ("zslab", "plain"),
    "DAZLE step": ("zslab", "uncaptured", "plain"),
}
WARM_UP = ("iteration", "DAZLE")  # rows whose first call makes gradients and moments; a head is made anew in every call


def seconds(work: Work, case: Case) -> tuple[float, float]:
    """Wall and CPU seconds of one call; CPU seconds count what this process used, whatever else the machine did."""

    def wait() -> None:
        if case.device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(case.repeated):
        work()
    wait()
    return (time.perf_counter() - wall) / case.repeated, (time.process_time() - cpu) / case.repeated


class Server:
    """A process of its own for a column, because what one sets for its process, such as glibc's allocator, helps all in it."""

    def __init__(self, column: str, case: Case, threads: int):
        self.connection, end = multiprocessing.Pipe()
        arguments = end, column, case, threads
        multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True).start()

    def ask(self, request: object) -> object:
        self.connection.send(request)
        return self.connection.recv()


def serve(connection: Connection, column: str, case: Case, threads: int) -> None:
    """Build the work of a row when one is named, and time a call of it on every number, which is how often to repeat it."""
    logging.basicConfig(format="%(message)s")  # what could not be captured as a CUDA graph says so
    torch.set_num_threads(threads)
    work = None
    for request in iter(connection.recv, None):
        if isinstance(request, str):
            work = None  # frees what it holds
            work = build(request, case, column)
            if request.startswith(WARM_UP):
                work()
            connection.send("ready")
        else:
            connection.send(seconds(work, replace(case, repeated=request)))


def measure(row: str, servers: dict[str, Server], case: Case, repeats: int) -> dict[str, dict]:
    """{"wall_s", "cpu_s"} -> {"median": column -> seconds, "ratio": column -> median of column / zslab, "samples"}."""
    times: dict[str, list[tuple[float, float]]] = {column: [] for column in servers}
    for server in servers.values():
        server.ask(row)
    for turn in range(repeats):
        for column in servers if turn % 2 else reversed(servers):
            times[column].append(servers[column].ask(case.repeated))
    result = {}
    for i, clock in enumerate(("wall_s", "cpu_s")):
        samples = {column: [t[i] for t in times[column]] for column in servers}
        result[clock] = {
            "median": {column: median(values) for column, values in samples.items()},
            "ratio": {column: median(v / f for v, f in zip(samples[column], samples["zslab"])) for column in servers},
            "samples": samples,
        }
    return result


def peak_memory(row: str, column: str, case: Case, threads: int) -> float:
    """GiB that a process needs at most for a cell's work, Python, PyTorch and the random data included; on CUDA, GiB of
    tensors on the device, more than there were before."""
    torch.set_num_threads(threads)
    if case.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    work = build(row, case, column)
    for _ in range(2 if row.startswith(WARM_UP) else 1):  # then old and new gradients, where made anew, both are there
        work()
    if case.device.type == "cuda":
        return (torch.cuda.max_memory_allocated() - before) / 2**30
    return peak_gib()


def in_fresh_process(function: Callable, *arguments: object) -> object:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(function, arguments)


def add_epoch(rows: dict[str, dict], shapes: Shapes) -> None:
    """The row "CUB epoch": ⌈n_train / B⌉ iterations of each kind, one evaluation, and the head epochs that its row lacks."""
    n, more = -(-shapes.n_train // shapes.batch_size), (25 - shapes.head_epochs) / shapes.head_epochs
    parts = {
        "iteration without feedback": n,
        "iteration with feedback": n,
        "evaluation": 1,
        "GZSL head": more,
        "ZSL head": more,
    }
    if not parts.keys() <= rows.keys():
        return
    rows["CUB epoch"] = {"parts": parts}
    for clock in ("wall_s", "cpu_s"):
        total = {
            column: sum(times * rows[part][clock]["median"][column] for part, times in parts.items())
            for column in ("zslab", "plain")
        }
        rows["CUB epoch"][clock] = {"median": total, "ratio": {c: total[c] / total["zslab"] for c in total}}


def environment() -> dict[str, str]:
    """This process's environment, in which scripts that it starts find the package and what this process was told to import."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}


def commit() -> str:
    """The project's git commit, "+" where files that are tracked differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def header(device: torch.device = CPU) -> dict:
    """What a report's figures depend on."""
    return {
        "command": command_line(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(device),
        "torch": torch.__version__,
        "load_before": os.getloadavg(),
    }


def peak_gib() -> float:
    """GiB that this process has needed at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands a parent's ru_maxrss down to its children; this one starts afresh
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def earlier_rows(path: Path, report: dict) -> dict[str, dict]:
    """What an earlier call with --rows has measured of the same code on the same machine."""
    same = ("commit", "machine", "torch", "precision", "shapes")
    earlier = json.loads(path.read_text()) if path.exists() else {}
    return earlier["rows"] if all(earlier.get(key) == report[key] for key in same) else {}


def save(report: dict, name: str) -> None:
    """Write a report to benchmarks/results."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"-> {path.relative_to(ROOT)}")


def print_row(name: str, row: dict, columns: list[str]) -> None:
    def cells(clock: str) -> str:
        found = row[clock]
        return "".join(
            f"{found['median'][c]:9.4g} ({found['ratio'][c]:5.2f}x)" if c in found["median"] else f"{'':18}" for c in columns
        )

    memory = " / ".join(f"{row['peak_gib'][c]:.2f}" for c in columns if c in row.get("peak_gib", {}))
    print(f"{name:28}{'wall s':8}{cells('wall_s')}\n{'':28}{'CPU s':8}{cells('cpu_s')}   {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, without the peak memory")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="of the first column")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--repeats", type=int, default=3, help="turns a row")
    parser.add_argument(
        "--rows", nargs="+", choices=COLUMNS, default=list(COLUMNS), help="some rows only; others of the same commit stay"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory, which takes as long again")
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    threads, device = torch.get_num_threads(), torch.device(arguments.device)
    cuda = device.type == "cuda"
    case = Case(QUICK if arguments.quick else Shapes(), device, arguments.precision)
    columns = ["zslab", *(["uncaptured"] if cuda else []), "plain"]
    about = {"threads": threads, "python": platform.python_version(), "precision": arguments.precision}
    report = header(device) | about | {"shapes": asdict(case.shapes), "rows": {}}
    words = ["speed", "quick" if arguments.quick else "cub", device.type, *([] if cuda else [str(threads)])]
    words += [] if arguments.precision == "fp32" else [arguments.precision]
    path = RESULTS / f"{'-'.join(words)}.json"
    report["rows"] = earlier_rows(path, report)
    print(
        f"{report['machine']}, PyTorch {torch.__version__}, {arguments.precision}, commit {report['commit']}, load "
        f"{os.getloadavg()[0]:.1f}\n{'':36}" + "".join(f"{c:>18}" for c in columns) + "   peak GiB"
    )
    servers = {column: Server(column, case, threads) for column in columns}
    for row in arguments.rows:
        there = [column for column in COLUMNS[row] if column in columns]
        repeated = replace(case, repeated=10 if cuda and row.startswith(WARM_UP) else 1)
        result = measure(row, {column: servers[column] for column in there}, repeated, arguments.repeats)
        if not (arguments.no_memory or arguments.quick):
            measured = peak_memory if cuda else partial(in_fresh_process, peak_memory)
            result["peak_gib"] = {c: measured(row, c, case, threads) for c in there}
        report["rows"][row] = result | {"load": os.getloadavg()[0]}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")
        print_row(row, result, columns)
    for server in servers.values():
        server.connection.send(None)
    add_epoch(report["rows"], case.shapes)
    if "CUB epoch" in report["rows"]:
        print_row("CUB epoch, added up" if not arguments.quick else "epoch, added up", report["rows"]["CUB epoch"], columns)
    report["load_after"] = os.getloadavg()
    for name in ("region-files", "splits"):
        if (RESULTS / f"{name}.json").exists():
            print(f"{name}: {(RESULTS / f'{name}.json').relative_to(ROOT)}")
    save(report, path.stem)


if __name__ == "__main__":
    main()
