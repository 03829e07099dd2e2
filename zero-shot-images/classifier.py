"""The classifiers of the image experiments: a ZSL head over unseen classes, a GZSL head over all of them.

Both are linear softmax layers, trained anew at every evaluation on transformed features, with batches of `syn_num`. The head is
`zslab.shared.heads.SoftmaxHead`; `zslab.tfvaegan.evaluate` trains and measures it.
"""

from zslab.config import ImageConfig
from zslab.shared.heads import SoftmaxHead


def build_heads(config: ImageConfig) -> tuple[SoftmaxHead, SoftmaxHead | None]:
    """Return the ZSL head and, with `--gzsl`, the GZSL head."""

    def head() -> SoftmaxHead:
        return SoftmaxHead(
            lr=config.classifier_lr,
            epochs=config.classifier_epochs,
            batch_size=config.syn_num,
            bf16=config.precision == "bf16",
            cuda_graphs=config.cuda_graphs,
        )

    return head(), head() if config.gzsl else None
