"""The classifiers of the action experiments: a head over unseen classes, and for all classes a second one behind a gate.

All heads are linear softmax layers trained anew at every evaluation on transformed features, with batches of `syn_num`:
the unseen head on synthesized features (it gives T1, and is the gate's unseen side), the seen head on real ones. With
`--no_gzsl_od` one head over all classes takes the place of gate and seen head, as for images. The head itself is
`zslab.shared.heads.SoftmaxHead`, the gate `classifier_entropy.py`, the measures `zslab.tfvaegan.evaluate`.
"""

from zslab.config import ActionConfig
from zslab.shared.gate import GatedClassifier
from zslab.shared.heads import SoftmaxHead

from classifier_entropy import build_gate


def build_heads(config: ActionConfig) -> tuple[SoftmaxHead, SoftmaxHead | GatedClassifier | None]:
    """Return the ZSL head and, with `--gzsl`, what classifies over all classes."""

    def head() -> SoftmaxHead:
        return SoftmaxHead(
            lr=config.classifier_lr,
            epochs=config.classifier_epochs,
            batch_size=config.syn_num,
            bf16=config.precision == "bf16",
            cuda_graphs=config.cuda_graphs,
        )

    unseen_head = head()
    if not config.gzsl:
        return unseen_head, None
    return unseen_head, build_gate(config, head(), unseen_head) if config.gzsl_od else head()
