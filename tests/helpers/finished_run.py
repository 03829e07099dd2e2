"""A finished run as its folder holds it, with every kind of value that a report shows."""

import json
from pathlib import Path

import numpy as np

EVIL = '<script>alert("$x$")</script>'
EPOCHS = 3


def record(epoch: int) -> dict:
    """One line of metrics.jsonl with three head epochs, of which the middle one is best."""
    best = 0.5 + 0.1 * epoch
    losses = {
        "vae": 600.0 - epoch,
        "critic": -3.0,
        "critic_unseen": -2.0,
        "wasserstein": 1.0 / (epoch + 1),
        "wasserstein_unseen": 0.5,
    }
    return {
        "epoch": epoch,
        "losses": losses,
        "seconds": 1.0,
        "status": {"lambda1": 10.0 * 0.1**epoch},
        "metrics": {
            "zsl": {"acc": [0.2, best, best - 0.1]},
            "gzsl": {"acc_seen": [0.6, 0.4, 0.5], "acc_unseen": [0.1, 0.4, 0.2], "H": [0.17, 0.4, 0.29]},
        },
    }


def result() -> dict:
    names = [f"class {index}" for index in range(5)] + [EVIL]

    def row(rule, t1, u, s, h, at=None, **more):
        place = at and {"epoch": at[0] - 1, "head_epoch": at[1] - 1, "head_epochs": 3}
        values = {"T1": t1, "acc_unseen": u, "acc_seen": s, "H": h, "T1_at": place, "H_at": place}
        return {"rule": rule, **values, "about": f"Why {rule}."} | more

    return {
        "schema": 2,
        "method": "tfvaegan",
        "version": "0.1.0",
        "variant": "TF-VAEGAN",
        "command": "python run.py --x '<b>'",
        "device": "cpu",
        "machine": "a machine",
        "torch": "2.9.0",
        "seed": 3483,
        "seconds": 4000.0,
        "config": {"lambda1": 10.0, "nepoch": EPOCHS, "dataroot": "a & b"},
        "data": {
            "dataset": "CUB",
            "image_embedding": "res101",
            "class_embedding": "att",
            "split_version": "v2",
            "class_names": names,
            "seen_classes": [0, 2, 4],
            "unseen_classes": [1, 3, 5],
            "feature_dim": 2048,
            "attribute_dim": 312,
            "counts": {"trainval": 7057, "test_unseen": 2967},
        },
        "rows": [
            row("paper", 0.70123, 0.4, 0.6, 0.48, (3, 2)),
            row("val", 0.6, 0.35, 0.55, 0.4278, (2, 2), AUSUC=0.3),
            row("val + calibration", None, 0.45, 0.5, 0.4737),
            row("last", 0.6, 0.2, 0.5, 0.2857, (3, 3), AUSUC=0.25),
            row("validation", None, None, None, None),
            row("val", 0.5, 0.1, 0.7, 0.175, baseline="ESZSL", AUSUC=0.15),
            row("val + calibration", 0.5, 0.4, 0.6, 0.48, baseline="ESZSL"),
        ],
        "notes": [f"A note about {EVIL}."],
        "exportable": True,
    }


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    zsl = np.array([[8, 2, 0], [0, 10, 0], [5, 0, 5]])
    gzsl = np.diag([10, 6, 4, 2, 9, 0]) + 1
    gzsl[3] = 0  # a class without test samples
    curve = np.stack([np.linspace(0.8, 0, 20), np.linspace(0, 0.7, 20)], axis=1)
    labels = np.repeat([1, 3, 5], 10)
    found = {"eszsl_curve": 0.8 * curve}
    for tag in ("last", "val"):
        found |= {f"{tag}_zsl_confusion": zsl, f"{tag}_gzsl_confusion": gzsl, f"{tag}_curve": curve}
    for kind in ("real", "synthetic"):
        features = labels[:, None] + rng.normal(size=(30, 60))
        found |= {f"projection_{kind}": features.astype(np.float32), f"projection_{kind}_labels": labels}
    return found


def write_finished_run(folder: Path) -> Path:
    """Write a complete run folder, without its drawings; return it."""
    lines = "".join(json.dumps(record(epoch)) + "\n" for epoch in range(EPOCHS))
    for each in (folder, folder / "validation"):
        each.mkdir(parents=True, exist_ok=True)
        (each / "metrics.jsonl").write_text(lines)
    (folder / "result.json").write_text(json.dumps(result()))
    np.savez(folder / "evaluation.npz", **arrays())
    return folder
