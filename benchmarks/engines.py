"""Where an iteration's time goes in either engine, how far apart float32 takes them, and whether accuracy notices.

    python benchmarks/engines.py profile [--threads N]
    python benchmarks/engines.py drift [--iterations 10]
    python benchmarks/engines.py accuracy --dataroot DIR [--dataset CUB] [--seeds 1 2 3] [--nepoch 5] [--ngh 256]

`profile` sums PyTorch's operator times of one iteration with feedback and counts the page faults. `drift` runs both engines
from the same weights on the same random draws, with the release's settings, and prints how far apart losses and weights
are then; both on CUB's shapes and random data. `accuracy` trains on real features, every seed once with each engine (and with
--bf16 once more with products in bfloat16), and prints mean ± standard deviation over the seeds of T1, u, s and H after the
last epoch and last head epoch, and the differences within a seed. Cited in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from speed import CPU, ENGINES, RESULTS, ROOT, Case, Shapes, build, build_networks, build_state, commit, random_data
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from zsl.classifiers import SoftmaxHead
from zsl.data.xlsa17 import StageData, read_xlsa17
from zsl.runs.environment import command_line, machine
from zsl.tfvaegan.steps import Settings, draw
from zsl.tfvaegan.trainer import ITERATIONS, TfvaeganTrainer

GROUPS = {"matrix products": ("mm", "addmm", "bmm", "linear"), "Adam": ("_fused_adam_",)}


def print_profile(engine: str) -> None:
    work = build("iteration with feedback", Case(Shapes()), engine)
    work()  # fills caches and allocates the gradients
    work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events) / 1e6
    print(f"{engine}: {total:.2f} s, {sum(event.count for event in events)} operator calls, {faults} page faults")
    left = total
    for group, names in GROUPS.items():
        time = sum(e.self_cpu_time_total for e in events if e.key.removeprefix("aten::").rstrip("_") in
                   {name.rstrip("_") for name in names}) / 1e6
        left -= time
        print(f"  {group:18}{time:7.3f} s {time / total:5.0%}")
    print(f"  {'everything else':18}{left:7.3f} s {left / total:5.0%}")


def print_drift(iterations: int) -> None:
    """Fast against eager; and as a yardstick eager against itself, started from weights that differ in their last bit."""
    torch.manual_seed(0)
    data, states = random_data(Shapes()), {run: build_state(Shapes()) for run in ("eager", "fast", "eager, nudged")}
    start = {name: value.clone() for name, value in states["eager"].networks.state_dict().items()}
    states["fast"].networks.load_state_dict(start)
    last_bit = torch.finfo(torch.float32).eps / 2
    nudged = {name: value * (1 + last_bit * torch.randn_like(value).sign()) for name, value in start.items()}
    states["eager, nudged"].networks.load_state_dict(nudged)
    generator, worst = torch.Generator().manual_seed(0), {run: {} for run in states}
    for i in range(iterations):
        draws = draw(data, states["fast"].settings, states["fast"].latent_dim, generator, transductive=False)
        losses = {
            run: ITERATIONS[run.split(",")[0]](state, data, data.attributes, draws, bool(i % 2))
            for run, state in states.items()
        }
        for run in states:
            for name, value in losses["eager"].items():
                error = ((losses[run][name] - value).abs() / value.abs()).item()
                worst[run][name] = max(worst[run].get(name, 0.0), error)
    print(f"{iterations} iterations, every other one with feedback")
    eager = states["eager"].networks.state_dict()
    for run in ("fast", "eager, nudged"):
        print(f"{run} against eager; λ1 {states[run].penalty_weight.item()} and {states['eager'].penalty_weight.item()}")
        print("  losses, largest relative difference:", ", ".join(f"{n} {e:.0e}" for n, e in worst[run].items()))
        found = states[run].networks.state_dict()
        for network, _ in states[run].networks.items():
            names = [name for name in start if name.startswith(f"{network}.")]
            apart = norm(found[name] - eager[name] for name in names)
            print(f"  {network:10} difference / weights {apart / norm(eager[name] for name in names):.0e}, "
                  f"difference / change {apart / norm(eager[name] - start[name] for name in names):.0e}")


def norm(tensors: Iterable[Tensor]) -> float:
    """L2 norm of all entries together."""
    return sum(tensor.double().square().sum().item() for tensor in tensors) ** 0.5


MEASURES = ("T1", "u", "s", "H")
RUNS = {"eager": {"engine": "eager"}, "fast": {}, "fast, bf16": {"precision": "bf16"}}


def train(data: StageData, run: str, seed: int, shapes: Shapes, n_epochs: int) -> list[float]:
    """T1, u, s and H in per cent after the last epoch and last head epoch."""
    torch.manual_seed(seed)
    rounded = run.endswith("bf16")
    heads = [SoftmaxHead(epochs=25, batch_size=shapes.n_synthetic, rounded=rounded) for _ in range(2)]
    settings = Settings(n_synthetic=shapes.n_synthetic)
    trainer = TfvaeganTrainer(build_networks(shapes), data, settings, *heads, CPU, seed, **RUNS[run])
    for _ in range(n_epochs):
        trainer.train_epoch(lambda: True)
    record = trainer.evaluate().record
    gzsl = [record["gzsl"][name][-1] for name in ("acc_unseen", "acc_seen", "H")]
    return [100 * value for value in (record["zsl"]["acc"][-1], *gzsl)]


def print_accuracy(arguments: argparse.Namespace) -> None:
    data = read_xlsa17(arguments.dataroot, arguments.dataset, "res101", "att").stage("test")
    shapes = Shapes(
        feature_dim=data.feature_dim, attribute_dim=data.attribute_dim, hidden_dim=arguments.ngh,
        n_synthetic=arguments.syn_num,
    )
    runs, found = [run for run in RUNS if arguments.bf16 or "bf16" not in run], {}
    for seed in arguments.seeds:
        for run in runs:
            begin = time.process_time()
            found[run, seed] = train(data, run, seed, shapes, arguments.nepoch)
            values = "  ".join(f"{name} {value:.1f}" for name, value in zip(MEASURES, found[run, seed]))
            print(f"seed {seed}  {run:12}{values}   {time.process_time() - begin:.0f} CPU s", flush=True)

    def cells(rows: list[list[float]]) -> str:
        spread = [statistics.stdev(column) if len(rows) > 1 else 0.0 for column in zip(*rows)]
        return " | ".join(f"{statistics.fmean(column):.1f} ± {sd:.1f}" for column, sd in zip(zip(*rows), spread))

    print(f"\n{arguments.dataset}, {arguments.nepoch} epochs, width {arguments.ngh}, {len(arguments.seeds)} seeds, mean ± sd")
    print("| | " + " | ".join(MEASURES) + " |\n" + "|---" * 5 + "|")
    for run in runs:
        print(f"| {run} | {cells([found[run, seed] for seed in arguments.seeds])} |")
    for run in runs[1:]:
        differences = [[f - e for f, e in zip(found[run, s], found["eager", s])] for s in arguments.seeds]
        print(f"| {run} minus eager | {cells(differences)} |")
    report = {
        "command": command_line(), "commit": commit(), "machine": machine(CPU), "torch": torch.__version__,
        "shapes": asdict(shapes), "n_epochs": arguments.nepoch, "measures": MEASURES,
        "found": {run: {seed: found[run, seed] for seed in arguments.seeds} for run in runs},
    }
    path = RESULTS / f"accuracy-{arguments.dataset.lower()}-{arguments.ngh}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"-> {path.relative_to(ROOT)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["profile", "drift", "accuracy"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--iterations", type=int, default=10, help="of drift")
    parser.add_argument("--dataroot", type=Path, help="accuracy: folder above the data set's")
    parser.add_argument("--dataset", default="CUB")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nepoch", type=int, default=5, help="epochs")
    parser.add_argument("--ngh", type=int, default=256, help="hidden units of all networks")
    parser.add_argument("--syn_num", type=int, default=300, help="synthesised features a class, and the heads' batch size")
    parser.add_argument("--bf16", action="store_true", help="also the fast engine with products in bfloat16")
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    print(machine(CPU))
    if arguments.what == "drift":
        print_drift(arguments.iterations)
    elif arguments.what == "accuracy":
        if arguments.dataroot is None:
            parser.error("accuracy needs --dataroot")
        print_accuracy(arguments)
    else:
        for engine in ENGINES:
            print_profile(engine)


if __name__ == "__main__":
    main()
