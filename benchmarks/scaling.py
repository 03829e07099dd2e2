"""Cost against size: time and memory as classes, samples, synthesized features and dimensions grow; and one very large set.

    python benchmarks/scaling.py curves [--threads N]          some 3 minutes; writes scaling.json, images/scaling.png
    python benchmarks/scaling.py large --folder DIR            2,000 classes × 1,300 samples × 2048 in half precision: 10.7 GB
                                                               of disk, some 15 minutes; writes scaling-large.json

`curves` changes one size at a time from CUB's shapes, at hidden width 1024, random data, each point in a process of its own:
an iteration with feedback and one epoch of the GZSL head.
`large` writes a random set of that size into DIR (kept, and used again), trains on it as `zsl` trains on any set
that does not fit in memory, and evaluates on a share of it; it prints what exactly was run. Results lie in benchmarks/results.
CPU seconds are the ones to trust where other work shares the machine.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
import scipy.io
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from speed import CPU, ROOT, Case, Shapes, build, build_networks, config, header, in_fresh_process, save, seconds

from zslab.data import lazy as rows
from zslab.data.dataset import Samples, StageData
from zslab.data.lazy import StoredFeatures
from zslab.data.xlsa17 import read_xlsa17
from zslab.report.style import BLUE, GREEN, RED, STYLE, to_png
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.evaluate import evaluate
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.utils.files import atomic_path

BASE = Shapes(hidden_dim=1024, head_epochs=1)
AXES = {
    "classes": [replace(BASE, n_seen=3 * n // 4, n_unseen=n // 4) for n in (50, 200, 1000)],
    "training samples": [replace(BASE, n_train=n) for n in (2000, 7057, 56_000)],
    "synthesized a class": [replace(BASE, n_synthetic=n) for n in (75, 300, 1200)],
    "feature dimension": [replace(BASE, feature_dim=n) for n in (512, 2048, 8192)],
}
SIZE = {
    "classes": lambda s: s.n_seen + s.n_unseen,
    "training samples": lambda s: s.n_train,
    "synthesized a class": lambda s: s.n_synthetic,
    "feature dimension": lambda s: s.feature_dim,
}
WORKS = ("iteration with feedback", "GZSL head, batch 50")


def memory() -> dict[str, float]:
    """GiB of this process: largest so far, and now without and with pages of mapped files, which the system may drop."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    keys = {"peak": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
    return {name: int(status[key].split()[0]) / 2**20 for name, key in keys.items()}


def measure_point(shapes: Shapes, threads: int) -> dict[str, float]:
    """CPU seconds of an iteration and of a head's epoch, and GiB that both in turn need at most."""
    torch.set_num_threads(threads)
    case, found = Case(shapes), {}
    for work in WORKS:
        run = build(work, case, "zslab")
        if work == WORKS[0]:
            run()
        found[work] = median(seconds(run, case)[1] for _ in range(3 if work == WORKS[0] else 1))
    return found | {"peak_gib": memory()["peak"]}


def curves(threads: int) -> None:
    report = header() | {"threads": threads, "axes": {}}
    for axis, points in AXES.items():
        sizes = [SIZE[axis](shapes) for shapes in points]
        report["axes"][axis] = {"size": sizes}
        found = [in_fresh_process(measure_point, shapes, threads) for shapes in points]
        report["axes"][axis] |= {key: [point[key] for point in found] for key in (*WORKS, "peak_gib")}
        for n, point in zip(sizes, found):
            cells = "  ".join(f"{work} {point[work]:7.2f} CPU s" for work in WORKS)
            print(f"{axis:20}{n:>8}  {cells}  {point['peak_gib']:5.2f} GiB", flush=True)
    save(report, "scaling")
    draw(report, ROOT / "images" / "scaling.png")


def draw(report: dict, path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = plot(report)
        path.write_bytes(to_png(figure, dpi=110))
    print(f"-> {path.relative_to(ROOT)}")


def plot(report: dict) -> Figure:
    """CPU seconds above, peak memory below, one column for each size that was changed."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col")
    for column, (axis, found) in enumerate(report["axes"].items()):
        time_panel, memory_panel = panels[:, column]
        for work, color in zip(WORKS, (BLUE, RED)):
            time_panel.plot(found["size"], found[work], "o-", color=color, label=work)
        memory_panel.plot(found["size"], found["peak_gib"], "o-", color=GREEN)
        time_panel.set(xscale="log", yscale="log", title=axis, ylim=(0.1, 40), yticks=[0.1, 1, 10])
        memory_panel.set(xscale="log", xlabel=axis, ylim=(0, 3))
        memory_panel.set_xticks(found["size"], [f"{n:,}" for n in found["size"]])
        time_panel.yaxis.set_major_formatter("{x:g}")
        for ticks in (time_panel.xaxis, time_panel.yaxis, memory_panel.xaxis):
            ticks.set_minor_locator(NullLocator())
    panels[0, 0].set_ylabel("CPU seconds")
    panels[1, 0].set_ylabel("peak memory, GiB")
    panels[0, 0].legend()
    return figure


# ---- one very large set ---------------------------------------------------------------------------------------------


def make_large(folder: Path, n_classes: int, per_class: int, dim: int, attribute_dim: int = 85) -> None:
    """A set to measure cost on: a class's features scatter around a random map of its attributes, and rows repeat after 32
    samples a class. Four fifths of the classes are seen; of those, 50 samples each (a tenth where there are fewer than 500)
    are test_seen. So accuracies on it mean nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "half_features.npy"
    if target.exists():
        return
    rng, n = np.random.default_rng(0), n_classes * per_class
    attributes = rng.random((n_classes, attribute_dim), dtype=np.float32)
    centers = np.maximum((attributes - 0.5) @ rng.standard_normal((attribute_dim, dim), dtype=np.float32), 0)
    blocks = [
        np.maximum(np.tile(centers, (4, 1)) + rng.standard_normal((4 * n_classes, dim), dtype=np.float32), 0)
        .astype(np.float16)
        .tobytes()
        for _ in range(8)
    ]
    left, row = n * dim * 2, 0
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (n, dim)})
        while left > 0:
            left -= file.write(blocks[row % 8][:left])
            row += 1
    labels, held_out = np.arange(n) % n_classes, 50 if per_class >= 500 else max(1, per_class // 10)
    seen = labels < n_classes * 4 // 5
    test_seen = seen & (np.arange(n) // n_classes < held_out)
    lists = {"trainval_loc": seen & ~test_seen, "test_seen_loc": test_seen, "test_unseen_loc": ~seen}
    scipy.io.savemat(
        folder / "att_splits.mat",
        {"att": attributes.T} | {name: np.flatnonzero(member)[:, None] + 1 for name, member in lists.items()},
    )
    np.save(folder / "half_labels.npy", labels + 1)


def share_of(samples: Samples, share: float) -> Samples:
    """Some of the samples on disk, at least one of every class, evenly over the file."""
    step = max(1, round(1 / share))
    chosen = torch.arange(0, len(samples), step)
    first = torch.from_numpy(np.unique(samples.labels.numpy(), return_index=True)[1])
    chosen = torch.cat([chosen, first]).unique()
    stored = samples.features
    assert isinstance(stored, StoredFeatures), "the set is too small to be read by the row"
    return Samples(StoredFeatures(stored.array, stored.rows[chosen.numpy()], stored.scale), samples.labels[chosen])


def run_large(folder: Path, iterations: int, share: float, threads: int) -> dict:
    """Opens, scales, trains, evaluates; step -> seconds and GiB after it."""
    torch.set_num_threads(threads)
    steps: dict[str, dict] = {}

    def timed(name: str, work: Callable[[], object], n: int = 1) -> object:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        steps[name] = {"wall_s": (time.perf_counter() - wall) / n, "cpu_s": (time.process_time() - cpu) / n, **memory()}
        print(f"{name:50}" + "  ".join(f"{key} {value:.2f}" for key, value in steps[name].items()), flush=True)
        return result

    dataset = timed("open and check", lambda: read_xlsa17(folder.parent, folder.name, "half", "att"))
    data: StageData = timed("fit the scaling", lambda: dataset.stage("test"))
    shapes = Shapes(feature_dim=data.feature_dim, attribute_dim=data.attribute_dim, n_synthetic=100)
    flags = config(shapes)
    torch.manual_seed(0)
    heads = [SoftmaxHead(epochs=1, batch_size=300) for _ in range(2)]
    trainer = timed("build the trainer", lambda: TfvaeganTrainer(build_networks(shapes), data, flags, *heads, CPU))
    for feedback in (False, True):
        work = trainer.step(feedback)
        work()
        name = f"an iteration {'with' if feedback else 'without'} feedback"
        timed(name, lambda work=work: [work() for _ in range(iterations)], iterations)
    part = replace(
        data,
        train=share_of(data.train, share),
        test_seen=share_of(data.test_seen, share),
        test_unseen=share_of(data.test_unseen, share),
    )
    rows.IN_MEMORY = 0  # treats the share as the whole would be: transformed batch by batch, never made
    record = timed(
        f"evaluation, 1 head epoch, {share:.0%} of the samples",
        lambda: evaluate(trainer.state.networks, part, flags, *heads, torch.Generator().manual_seed(0)).metrics,
    )
    return {
        "steps": steps,
        "record": record,
        "iterations": iterations,
        "share": share,
        "samples": {  # of the whole, and of the evaluation's share
            name: [len(getattr(data, name)), len(getattr(part, name))] for name in ("train", "test_seen", "test_unseen")
        },
        "whole_transformed_gib": 4 * len(data.train) * (shapes.feature_dim + shapes.attribute_dim + shapes.hidden_dim) / 2**30,
    }


def large(folder: Path, n_classes: int, per_class: int, dim: int, iterations: int, share: float, threads: int) -> None:
    folder = folder / f"LARGE{n_classes}x{per_class}x{dim}"
    in_fresh_process(make_large, folder, n_classes, per_class, dim)
    report = header() | {
        "threads": threads,
        "classes": n_classes,
        "per_class": per_class,
        "feature_dim": dim,
        "bytes": (folder / "half_features.npy").stat().st_size,
    }
    report |= in_fresh_process(run_large, folder, iterations, share, threads)
    save(report, "scaling-large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["curves", "large"])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--folder", type=Path, help="large: where the set is written")
    parser.add_argument("--classes", type=int, default=2000)
    parser.add_argument("--per-class", type=int, default=1300)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--iterations", type=int, default=5, help="large: timed iterations of either kind")
    parser.add_argument("--share", type=float, default=0.01, help="large: of the samples that the evaluation visits")
    arguments = parser.parse_args()
    if arguments.what == "curves":
        curves(arguments.threads)
    elif arguments.folder is None:
        parser.error("large needs --folder")
    else:
        large(
            arguments.folder.resolve(),
            arguments.classes,
            arguments.per_class,
            arguments.dim,
            arguments.iterations,
            arguments.share,
            arguments.threads,
        )


if __name__ == "__main__":
    main()
