"""What `zslab search` varies on images: flags and their bounds, for each training script."""

from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Integer

SPACES = {
    "train_tfvaegan_inductive": {
        "lr": Float(3e-5, 3e-3, log=True),
        "dec_lr": Float(3e-5, 3e-3, log=True),
        "feed_lr": Float(1e-6, 1e-3, log=True),
        "recons_weight": Float(1e-3, 1.0, log=True),
        "a1": Float(0.1, 1.0),
        "a2": Float(0.1, 1.0),
        "syn_num": Integer(50, 1500, log=True),
        "classifier_lr": Float(3e-4, 3e-3, log=True),
    },
    "train_dazle": {
        "lr": Float(1e-5, 1e-3, log=True),
        "weight_decay": Float(1e-6, 1e-3, log=True),
        "momentum": Float(0.0, 0.95),
        "lambda_": Float(0.01, 1.0, log=True),
        "bias": Float(0.5, 2.0),
    },
}
