"""Where the time of an iteration goes.

    python benchmarks/operators.py [--threads N]                                     operators, page faults
    python benchmarks/operators.py --device cuda [--precision tf32]                  kernels, and how much of the time they fill

On CUB's shapes with the release's settings and random data. Cited in docs/performance.md.
"""

import argparse
import resource
from dataclasses import replace

import torch
from speed import Case, Shapes, build, seconds
from torch.profiler import ProfilerActivity, profile

from zslab.utils.environment import machine

GROUPS = {"matrix products": ("mm", "addmm", "bmm", "linear"), "Adam": ("_fused_adam_",)}


def print_profile() -> None:
    work = build("iteration with feedback", Case(Shapes()), "zslab")
    work()  # fills caches and makes Adam's moments
    work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    times = {event.key.removeprefix("aten::"): event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}
    total, calls = sum(times.values()), sum(event.count for event in profiler.key_averages())
    print(f"iteration with feedback: {total:.2f} s, {calls} operator calls, {faults} page faults")
    groups = {group: sum(times.get(name, 0.0) for name in names) for group, names in GROUPS.items()}
    for group, time in (groups | {"everything else": total - sum(groups.values())}).items():
        print(f"  {group:18}{time:7.3f} s {time / total:5.0%}")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="on CUDA")
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    print(machine(device))
    if device.type == "cpu":
        print_profile()
        return
    case = Case(Shapes(), device, arguments.precision)
    for row in ("iteration with feedback", "iteration without feedback", "DAZLE step", "GZSL head", "evaluation"):
        for column in ("zslab", "uncaptured") if row == "iteration with feedback" else ("zslab",):
            print_device_profile(row, column, case, calls=1 if row in ("GZSL head", "evaluation") else 5)


if __name__ == "__main__":
    main()
