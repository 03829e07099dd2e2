"""Cost against the number of classes, up to ImageNet's 21,000: training a head on streamed features, and prediction.

    python benchmarks/label_sets.py [--threads 1]      some 5 minutes; writes results/label-sets.json, images/label_sets.png

Random networks of hidden width 4096, as in the paper, on 2048-d features and 300-d class vectors. 300 features are synthesized
for each class, batch by batch within 4 GiB, and the head learns [x, Dec(x), h(x)] with batches of 300. A few batches are
timed. Each point is a process of its own.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from speed import CPU, ROOT, Shapes, build_networks, header, in_fresh_process, peak_gib, save
from torch import Tensor

from zslab.app.attribute_table import AttributeScale
from zslab.app.methods.tfvaegan import SERVED
from zslab.app.model_file import Model
from zslab.app.prediction import Prediction, describe
from zslab.app.predictor import Predictor
from zslab.data.dataset import FeatureScaling
from zslab.data.lazy import LazyFeatures, limit_memory, transformed
from zslab.features.backbones import WHOLE
from zslab.report.style import BLUE, GREEN, STYLE, to_png
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.synthesis import synthesize, transform

CLASSES = (1000, 5000, 10_000, 21_000)
SHAPES = Shapes(attribute_dim=300)
WIDTH = SHAPES.feature_dim + SHAPES.attribute_dim + SHAPES.hidden_dim
BATCHES, IMAGES, MEMORY = 3, 30, 4.0


class Enough(Exception):
    """As many batches were trained as are timed."""


class Timed(LazyFeatures):
    """Features that note when a batch is asked for, and end the training after some."""

    def __init__(self, source: LazyFeatures):
        self.source, self.shape, self.device, self.times = source, source.shape, source.device, []

    def take(self, index: Tensor) -> Tensor:
        self.times.append(time.process_time())
        if len(self.times) > BATCHES:
            raise Enough
        return self.source.take(index)


def train(n_classes: int, threads: int) -> dict[str, float]:
    """CPU seconds of a head's batch and of making its features, and GiB of the process at most."""
    torch.set_num_threads(threads)
    limit_memory(MEMORY)
    generator = torch.Generator().manual_seed(0)
    networks, attributes = build_networks(SHAPES), torch.rand(n_classes, SHAPES.attribute_dim, generator=generator)
    samples = synthesize(networks, attributes, torch.arange(n_classes), 300, 1.0, generator)
    x = transformed(samples.features, partial(transform, networks.decoder), WIDTH)
    assert isinstance(x, LazyFeatures), "the features fit in memory, so nothing is streamed"
    timed, batch = Timed(x), torch.randint(len(samples), (300,), generator=generator)
    with suppress(Enough):
        SoftmaxHead(batch_size=300, epochs=1).fit(timed, samples.labels, generator)
    return {
        "batch_s": median(np.diff(timed.times[1:])),
        "features_s": median(seconds(lambda: x[batch], 3)),
        "peak_gib": peak_gib(),
    }


def predict(n_classes: int, threads: int) -> dict[str, float]:
    """CPU milliseconds an image after the backbone, median and least, alone and in batches of 32; largest GiB of memory."""
    torch.set_num_threads(threads)
    networks, generator = build_networks(SHAPES), torch.Generator().manual_seed(0)
    attributes = torch.nn.functional.normalize(torch.rand(n_classes, SHAPES.attribute_dim, generator=generator))
    seen = np.arange(n_classes) < n_classes // 20
    weights = {name: value for name, value in networks.state_dict().items() if name.split(".")[0] in SERVED}
    for head, classes in zip(("zsl_head", "gzsl_head"), (np.flatnonzero(~seen), np.arange(n_classes))):
        weights[f"{head}.weight"] = torch.randn(len(classes), WIDTH, generator=generator)
        weights[f"{head}.bias"] = torch.zeros(len(classes))
    d, a = SHAPES.feature_dim, SHAPES.attribute_dim
    settings = {"feature_dim": d, "latent_dim": a, "hidden_dim": SHAPES.hidden_dim, "decoder_output": "unit_norm"}
    settings |= {"decoder_trained": True, "transform": True, "feedback_synthesis": 1.0, "gate": None}
    settings |= {"n_synthetic": 300, "head_lr": 1e-3, "head_epochs": 25, "head_batch_size": 300}
    model = Model(
        method="tfvaegan",
        title="large",
        class_names=[f"class {k}" for k in range(n_classes)],
        attribute_names=[f"attribute {k}" for k in range(a)],
        seen=seen,
        attributes=attributes,
        table=attributes.double().numpy(),
        attribute_scale=AttributeScale.unit(a),
        scaling=FeatureScaling(np.ones(d), np.zeros(d), 1.0),
        settings=settings,
        weights=weights,
    )
    predictor = Predictor(model, device="cpu")
    found = {}
    for n in (1, 32):
        x, names = torch.rand(n, d, generator=generator), [str(i) for i in range(n)]
        work = partial(described, predictor, x, names)
        times = seconds(work, IMAGES if n == 1 else 5)
        found |= {f"image_ms_of_{n}": 1000 * median(times) / n, f"least_ms_of_{n}": 1000 * min(times) / n}
    return found | {"predict_peak_gib": peak_gib()}


def described(predictor: Predictor, x: Tensor, names: list[str]) -> list[Prediction]:
    """What `predict` does after the backbone."""
    (output,) = predictor.outputs(x.numpy(), unseen_only=False)
    scores, views = predictor.scores(output, unseen_only=False, calibration=0.5), [WHOLE] * len(names)
    return describe(predictor._method, output, scores, predictor.model, names, views, top=5, attributes=8)


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """CPU seconds of every call, after one that is not timed."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times[1:]


def plot(report: dict) -> Figure:
    """CPU seconds of a batch, CPU milliseconds of an image, and memory, over the number of classes; medians."""
    figure, points, sizes = Figure(figsize=(12, 3.4), layout="constrained"), report["points"], report["classes"]
    panels = figure.subplots(1, 3)
    panels[0].plot(sizes, [p["batch_s"] for p in points], "o-", color=BLUE)
    panels[0].set(title="a head's batch of 300", ylabel="CPU seconds")
    panels[1].plot(sizes, [p["image_ms_of_1"] for p in points], "o-", color=BLUE, label="one image at a time")
    panels[1].plot(sizes, [p["image_ms_of_32"] for p in points], "o-", color=GREEN, label="batches of 32")
    panels[1].set(title="prediction after the backbone", ylabel="CPU milliseconds an image")
    panels[1].legend()
    panels[2].plot(sizes, [p["peak_gib"] for p in points], "o-", color=BLUE, label="training the head")
    panels[2].plot(sizes, [p["predict_peak_gib"] for p in points], "o-", color=GREEN, label="prediction")
    panels[2].set(title="largest memory of the process", ylabel="GiB")
    panels[2].legend()
    for panel in panels:
        panel.set(xlabel="classes", ylim=(0, None), xticks=sizes[1:], xticklabels=[f"{n:,}" for n in sizes[1:]])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    threads = parser.parse_args().threads
    report = header() | {"threads": threads, "device": str(CPU), "classes": CLASSES, "points": []}
    for n in CLASSES:
        point = in_fresh_process(train, n, threads) | in_fresh_process(predict, n, threads)
        report["points"].append(point)
        print(f"{n:>7,} classes  " + "  ".join(f"{name} {value:.3f}" for name, value in point.items()), flush=True)
    save(report, "label-sets")
    with matplotlib.rc_context(STYLE):
        Path(ROOT / "images" / "label_sets.png").write_bytes(to_png(plot(report), dpi=110))


if __name__ == "__main__":
    main()
