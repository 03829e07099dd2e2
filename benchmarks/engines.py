"""Where an iteration's time goes in either engine, and how far apart float32 takes the two.

    python benchmarks/engines.py profile [--threads N] [--device cuda] [--precision tf32]
    python benchmarks/engines.py drift [--iterations 10]

`profile` sums PyTorch's operator times of one iteration with feedback and counts the page faults; on CUDA it sums the times of
the kernels of some steps and says how much of the time they fill. `drift` runs both engines from the same weights on the same
random draws, with the release's settings, and prints how far apart losses and weights are then; both on CUB's shapes and
random data. Cited in docs/performance.md.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Iterable
from dataclasses import replace

import torch
from speed import ENGINES, Case, Shapes, build, build_state, random_data, seconds
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from zslab.tfvaegan.steps import draw
from zslab.tfvaegan.trainer import ITERATIONS
from zslab.utils.environment import machine

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
        time = (
            sum(
                e.self_cpu_time_total
                for e in events
                if e.key.removeprefix("aten::").rstrip("_") in {name.rstrip("_") for name in names}
            )
            / 1e6
        )
        left -= time
        print(f"  {group:18}{time:7.3f} s {time / total:5.0%}")
    print(f"  {'everything else':18}{left:7.3f} s {left / total:5.0%}")


def print_device_profile(row: str, column: str, case: Case, calls: int) -> None:
    """Print how many kernels a call launches, how much of its time they fill, and which ones take longest."""
    work = build(row, case, column)
    for _ in range(3):
        work()
    wall, _ = seconds(work, replace(case, repeated=calls))
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            work()
        torch.cuda.synchronize()
    kernels = [event for event in profiler.key_averages() if event.self_device_time_total > 0]
    busy = sum(kernel.self_device_time_total for kernel in kernels) / 1e6 / calls
    n = sum(kernel.count for kernel in kernels) / calls
    print(f"{row}, {column}: {1e3 * wall:.3f} ms, {n:.0f} kernels of {1e3 * busy:.3f} ms together, {busy / wall:.0%} busy")
    for kernel in sorted(kernels, key=lambda kernel: -kernel.self_device_time_total)[:10]:
        milliseconds = kernel.self_device_time_total / 1e3 / calls
        print(f"  {milliseconds:8.3f} ms {kernel.count / calls:7.0f} × {kernel.key[:100]}")


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
            print(
                f"  {network:10} difference / weights {apart / norm(eager[name] for name in names):.0e}, "
                f"difference / change {apart / norm(eager[name] - start[name] for name in names):.0e}"
            )


def norm(tensors: Iterable[Tensor]) -> float:
    """L2 norm of all entries together."""
    return sum(tensor.double().square().sum().item() for tensor in tensors) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["profile", "drift"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--device", default="cpu", help="of profile: cpu or cuda")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="of profile on CUDA")
    parser.add_argument("--iterations", type=int, default=10, help="of drift")
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    print(machine(device))
    if arguments.what == "drift":
        print_drift(arguments.iterations)
    elif device.type == "cuda":
        case = Case(Shapes(), device, arguments.precision)
        for row in ("iteration with feedback", "iteration without feedback", "DAZLE step", "GZSL head", "evaluation"):
            for column in ("fast", "uncaptured") if row == "iteration with feedback" else ("fast",):
                print_device_profile(row, column, case, calls=1 if row in ("GZSL head", "evaluation") else 5)
    else:
        for engine in ENGINES:
            print_profile(engine)


if __name__ == "__main__":
    main()
