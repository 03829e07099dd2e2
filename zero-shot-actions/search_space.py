"""What `zslab search` varies on actions: flags and their bounds."""

from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Integer

SPACES = {
    "train_tfvaegan": {
        "lr": Float(3e-5, 3e-3, log=True),
        "dec_lr": Float(3e-5, 3e-3, log=True),
        "feed_lr": Float(1e-6, 1e-3, log=True),
        "recons_weight": Float(1e-3, 1.0, log=True),
        "a1": Float(0.1, 1.0),
        "a2": Float(0.1, 1.0),
        "syn_num": Integer(50, 1000, log=True),
        "classifier_lr": Float(3e-4, 3e-3, log=True),
    }
}
