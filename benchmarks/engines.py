"""Where an iteration's time goes in either engine, and how far apart float32 takes them; CUB's shapes, random data.

    python benchmarks/engines.py profile [--threads N]
    python benchmarks/engines.py drift [--iterations 20]

`profile` sums PyTorch's operator times of one iteration with feedback and counts the page faults. `drift` runs both engines
from the same weights on the same random draws, with the release's settings, and prints how far apart the weights of each
network are then, relative to how far training has moved them. Cited in docs/performance.md.
"""

from __future__ import annotations

import argparse
import resource

import torch
from speed import ENGINES, Shapes, build, build_state, random_data
from torch.profiler import ProfilerActivity, profile

from zsl.runs.environment import machine
from zsl.tfvaegan.steps import draw
from zsl.tfvaegan.trainer import ITERATIONS

GROUPS = {"matrix products": ("mm", "addmm", "bmm", "linear"), "Adam": ("_fused_adam_",)}


def print_profile(engine: str) -> None:
    work = build("iteration with feedback", Shapes(), engine)
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
    torch.manual_seed(0)
    data, states = random_data(Shapes()), {engine: build_state(Shapes()) for engine in ENGINES}
    start = {name: value.clone() for name, value in states["fast"].networks.state_dict().items()}
    states["eager"].networks.load_state_dict(start)
    generator, worst = torch.Generator().manual_seed(0), {}
    for i in range(iterations):
        draws = draw(data, states["fast"].settings, states["fast"].latent_dim, generator, transductive=False)
        losses = {e: ITERATIONS[e](states[e], data, data.attributes, draws, bool(i % 2)) for e in ENGINES}
        for name, value in losses["eager"].items():
            error = ((losses["fast"][name] - value).abs() / value.abs()).item()
            worst[name] = max(worst.get(name, 0.0), error)
    print(f"{iterations} iterations, every other one with feedback")
    print("losses, largest relative difference:", ", ".join(f"{name} {error:.1e}" for name, error in worst.items()))
    print("λ1:", *(states[engine].penalty_weight.item() for engine in ENGINES))
    fast, eager = (states[engine].networks.state_dict() for engine in ENGINES)
    for network, _ in states["fast"].networks.items():
        names = [name for name in start if name.startswith(f"{network}.")]

        def norm(a: dict, b: dict, names: list[str] = names) -> float:
            return sum((a[name] - b[name]).double().square().sum().item() for name in names) ** 0.5

        size = sum(eager[name].double().square().sum().item() for name in names) ** 0.5
        print(f"  {network:10} difference / weights {norm(fast, eager) / size:.1e}, "
              f"difference / change {norm(fast, eager) / norm(eager, start):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["profile", "drift"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--iterations", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    print(machine(torch.device("cpu")))
    if arguments.what == "drift":
        print_drift(arguments.iterations)
    else:
        for engine in ENGINES:
            print_profile(engine)


if __name__ == "__main__":
    main()
