"""What `make demo` runs: both methods on the toy birds, then one table with the strongest baseline.

python examples/demo.py [FLAG ...]        flags of both launchers, such as --output DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import load_launcher
from zslab.results.text import format_results
from zslab.utils.environment import shown

LAUNCHERS = Path(__file__).resolve().parents[1] / "zero-shot-images" / "image-scripts"
# A third of the launcher's epochs, half its hidden units, higher learning rates: less than a minute of CPU.
SHORT = [
    *("--nepoch", "16", "--eval_every", "4", "--ngh", "128", "--ndh", "128"),
    *("--lr", "3e-3", "--dec_lr", "5e-3", "--classifier_lr", "3e-3"),
]
VERDICT = """T1: unseen species told from each other (chance 12.5 %); H: mean of u and s, unseen and seen ones among all.
DAZLE, which looks at regions, is ahead; on these birds, whose attributes are exact, ESZSL beats TF-VAEGAN."""


def main(flags: list[str]) -> int:
    """Train both methods, and print what they reach."""
    results, reports = [], []
    for name, own in (("run_toy_tfvaegan.py", SHORT), ("run_toy_dazle.py", [])):
        launcher = load_launcher(LAUNCHERS / name)
        _, (run,) = launcher.parse([*own, *flags])
        if status := launch(launcher, [*own, *flags]):
            return status
        results.append(run.folder.read_result())
        reports.append(shown(run.folder.report))
    print(f"\n{format_results(results)}\n\n{VERDICT}\nReports:", *reports)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
