"""Gate on and off on the very same networks: T1, u, s and H of finished runs of the action tree, at their last epoch.

    python benchmarks/gate_on_off.py RUN_DIR [RUN_DIR ...] [--dataroot DIR]

Rebuilds each run's networks from model_last.safetensors, trains heads and detector on them as the run would, and reads
off every way of classifying over all classes after the last head epoch. The rows marked "best on test" choose threshold
or constant on the test set: what no honest rule can beat, as a measure of how well the sides could be told apart.
Prints mean ± sd over the runs. Cited in docs/results-actions.md.
"""

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "zero-shot-actions"))

from train_tfvaegan import METHOD  # noqa: E402

from zslab.config import ActionConfig, override  # noqa: E402
from zslab.experiment import open_dataset  # noqa: E402
from zslab.tfvaegan.trainer import TfvaeganTrainer  # noqa: E402
from zslab.utils.files import read_json  # noqa: E402

from classifier import build_heads  # noqa: E402
from config import TFVAEGAN  # noqa: E402
from model import build_networks  # noqa: E402


def read_config(run: Path, dataroot: Path | None) -> ActionConfig:
    config = override(TFVAEGAN, read_json(run / "config.json"), run / "config.json")
    return replace(config, gzsl=True, **({"dataroot": dataroot} if dataroot else {}))


def best_h(curve: torch.Tensor) -> tuple[float, float, float]:
    """(u, s, H) of the point of a seen/unseen curve (p, 2) with the highest harmonic mean."""
    h = 2 * curve.prod(1) / curve.sum(1).clamp_min(1e-12)
    s, u = curve[h.argmax()].tolist()
    return u, s, h.max().item()


def measure(run: Path, dataroot: Path | None) -> dict[str, tuple[float, ...]]:
    """Row -> fractions (T1, u, s, H, area) of one run; the area is that of the gate's ROC or of the single head's curve."""
    config, tensors, rows = read_config(run, dataroot), load_file(run / "model_last.safetensors"), {}
    data = open_dataset(config, METHOD.source(config)).stage("test", seed=config.manualSeed)
    for gated, rules in ((True, ("release", "mean")), (False, ("",))):
        for rule in rules:
            changed = replace(config, gzsl_od=gated, ood_threshold=rule or "release")
            networks = build_networks(changed, data)
            networks.load_state_dict({name: tensors[name] for name in networks.state_dict()})  # the file has heads, too
            trainer = TfvaeganTrainer(networks, data, changed, *build_heads(changed), torch.device("cpu"))
            trainer.epoch = config.nepoch  # evaluation draws from the stream of its epoch
            found = trainer.evaluate(keep={config.classifier_epochs - 1})
            t1, gzsl = found.metrics["zsl"]["acc"][-1], {key: values[-1] for key, values in found.metrics["gzsl"].items()}
            plain = t1, gzsl["acc_unseen"], gzsl["acc_seen"], gzsl["H"]
            best = t1, *best_h(found.snapshots[config.classifier_epochs - 1].arrays["curve"])
            if gated:
                area = found.metrics["gate"]["auroc"][-1]
                rows |= {f"gate, {rule}": (*plain, area), "gate, best on test": (*best, area)}
            else:
                rows |= {"one head": (*plain, gzsl["AUSUC"]), "one head, best on test": (*best, gzsl["AUSUC"])}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", nargs="+", type=Path)
    parser.add_argument("--dataroot", type=Path, help="where the data lie now, if not where they lay")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = [measure(run, arguments.dataroot) for run in arguments.run_dir]
    print(f"{len(measured)} runs, per cent\n\n| | T1 | u | s | H | area |\n|---|---|---|---|---|---|")
    for row in measured[0]:
        cells = []
        for values in zip(*(found[row] for found in measured)):
            spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{100 * statistics.fmean(values):.1f}{spread}")
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
