"""What `zslab search` varies of the examples: flags and their bounds, for each file that has METHOD."""

from optuna.distributions import FloatDistribution as Float

SPACES = {
    "ale": {"lr": Float(1e-4, 1e-2, log=True), "margin": Float(0.03, 3.0, log=True)},
    "clswgan": {"lr": Float(1e-4, 3e-3, log=True), "cls_weight": Float(1e-3, 1.0, log=True)},
}
