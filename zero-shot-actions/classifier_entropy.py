"""The out-of-distribution gate of the action experiments: this tree's settings of `zslab.shared.gate`.

The detector is a perceptron over transformed features, d → 512 → 512 → seen classes, trained to be certain on real
features of seen classes and uncertain on synthesized ones of unseen classes (Mandal et al., CVPR 2019). A clip whose
entropy is below the threshold is assigned a seen class, any other an unseen one.

    --ood_threshold release    (default) about half the mean entropy of the seen training clips: the sum over those that an
                               epoch visits, which is half of them, divided by the number of all
    --ood_threshold mean       the mean over the clips that an epoch visits, which the release probably meant
    --ood_threshold val        the best one of a validation run
"""

from zslab.config import ActionConfig
from zslab.shared.gate import EntropyDetector, GatedClassifier
from zslab.shared.heads import SoftmaxHead


def build_gate(config: ActionConfig, seen_head: SoftmaxHead, unseen_head: SoftmaxHead) -> GatedClassifier:
    """Return the gate in front of a head for each side."""
    detector = EntropyDetector(
        lr=config.ood_lr, epochs=config.ood_epochs, batch_size=config.ood_batch_size, hidden_dim=config.ood_hidden
    )
    return GatedClassifier(detector, seen_head, unseen_head, config.ood_threshold)
