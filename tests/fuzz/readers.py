"""Every reader of files that others may have written, with a small good file and a way to mutate it."""

import gzip
import json
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import h5py
import numpy as np
import openpyxl
import optuna
import safetensors.torch
import scipy.io
import torch
from fuzz import mutations
from fuzz.campaign import Mutate, Reader
from PIL import Image

from zslab.app.attribute_table import read_attribute_table
from zslab.app.card import model_card
from zslab.app.export import read_weights
from zslab.app.model_file import KEY, write_model
from zslab.app.predictor import Predictor
from zslab.data.deepfashion import read_annotation
from zslab.data.formats.arrays import read_matrix, read_pickled_matrix
from zslab.data.formats.table import read_names
from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.features.images import open_image
from zslab.features.networks import load_fitting, read_state_dict
from zslab.features.sources import read_image_list
from zslab.features.video import middle_frame
from zslab.features.word_vectors import read_word_vectors
from zslab.plan import load_launcher, read_settings
from zslab.protocol.loop import resume, status_line
from zslab.protocol.stages import EvaluatingTrainer
from zslab.results.finished import read_run
from zslab.results.folder import RunFolder, content_digest
from zslab.results.runs import read_runs
from zslab.results.table import build_lines, build_variants
from zslab.results.text import format_rows
from zslab.search.study import Study
from zslab.sweep.plan import read_grid

from helpers import dazle_trainer, tfvaegan_trainer
from helpers.clips import draw_clip
from helpers.fake_tree import write_fake_tree
from helpers.finished_run import write_finished_run
from helpers.region_examples import DEEPFASHION, write_deepfashion, write_ours, write_release
from helpers.tiny import tiny_arrays, write_tiny
from helpers.tiny_models import METHODS, tiny_model

Build = Callable[[Path], Reader]


def matlab5(folder: Path, compressed: bool, file: str) -> Reader:
    write_tiny(folder)
    arrays = tiny_arrays()
    names = ("features", "labels") if file == "res101.mat" else tuple(arrays.keys() - {"features", "labels"})
    path = folder / "TINY" / file
    scipy.io.savemat(path, {name: arrays[name] for name in sorted(names)}, do_compression=compressed)

    def read() -> None:
        read_xlsa17(folder, "TINY", "res101", "att").stage("validation")

    return Reader(read, path, mutations.either(mutations.damaged, mutations.matlab5))


def matlab73(folder: Path) -> Reader:
    path = write_tiny(folder) / "att_splits.mat"
    arrays = tiny_arrays()
    with h5py.File(path, "w") as file:
        for name in sorted(arrays.keys() - {"features", "labels", "allclasses_names"}):
            file[name] = arrays[name].T
        cells = file.create_dataset("allclasses_names", (1, 9), dtype=h5py.ref_dtype)
        for i in range(9):
            codes = np.array([[ord(letter)] for letter in f"bird {i}"], dtype=np.uint16)
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=codes).ref

    def read() -> None:
        read_xlsa17(folder, "TINY", "res101", "att").stage("test")

    return Reader(read, path, mutations.either(mutations.damaged, mutations.hdf5))


def regions(folder: Path, write: Callable[..., object]) -> Reader:
    path = folder / "maps.hdf5"
    write(path)

    def read() -> None:
        data = read_region_maps(path, drop_absent_classes=True)
        try:
            data.stage("test")
            data.regions.read(np.array([0, data.regions.n - 1]))
            next(data.regions.blocks())
        finally:
            data.regions.close()

    return Reader(read, path, mutations.either(mutations.damaged, mutations.hdf5))


def npy(folder: Path) -> Reader:
    np.save(folder / "a.npy", np.arange(12.0).reshape(4, 3))
    read = partial(read_matrix, folder / "a.npy", "numbers", "Save again.")
    return Reader(read, folder / "a.npy", mutations.damaged)


def pickled(folder: Path, protocol: int) -> Reader:
    path = folder / "a.pkl"
    path.write_bytes(pickle.dumps(np.arange(12.0).reshape(4, 3), protocol))
    return Reader(lambda: read_pickled_matrix(path), path, mutations.damaged)


def table(folder: Path, name: str) -> Reader:
    path = folder / name
    rows = [
        ["class", "wing color::red", "size, cm"],
        ["mallard", "0.5", "30"],
        ["heron, grey", "70%", "90"],
        ["'=robin", "0%", 12],
    ]
    if name.endswith(".xlsx"):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
        mutate = mutations.either(
            mutations.damaged, mutations.archive(mutations.damaged), mutations.archive(mutations.repeated)
        )
    else:
        path.write_text("".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows), encoding="utf-8")
        mutate = mutations.either(mutations.damaged, mutations.table)
    return Reader(lambda: read_attribute_table(path), path, mutate)


def model(folder: Path, method: str) -> Reader:
    path = folder / "model.zsl"
    write_model(path, tiny_model(method))

    def read() -> None:
        predictor = Predictor.load(path, device="cpu")
        scores = predictor.decision_function(np.random.default_rng(0).random((2, *predictor.feature_shape), np.float32))
        assert scores.shape == (2, len(predictor.classes_)) and not np.isnan(scores).any()
        model_card(predictor.model)
        predictor.add_class("a new class", np.linspace(0.1, 1, len(predictor.attribute_names)))
        predictor.save(path.with_suffix(".again"))

    return Reader(read, path, mutations.either(signed_safetensors(KEY), signed_safetensors(KEY), mutations.damaged))


def signed_safetensors(key: str) -> Mutate:
    """Return a mutation that gives a file the digest that belongs to its content, where it can be read."""

    def sign(content: bytes, header: dict) -> bytes:
        try:
            about, tensors = json.loads(header["__metadata__"][key]), safetensors.torch.load(content)
        except Exception:  # damaged beyond a digest
            return content
        header["__metadata__"][key] = json.dumps(about | {"digest": content_digest(about, tensors)})
        size, head = int.from_bytes(content[:8], "little"), json.dumps(header).encode()
        return len(head).to_bytes(8, "little") + head + content[8 + size :]

    return mutations.safetensors(sign, key)


def image(folder: Path, suffix: str, **options: object) -> Reader:
    path = folder / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(path, **options)
    return Reader(lambda: open_image(path), path, mutations.damaged)


def video(folder: Path, suffix: str) -> Reader:
    path = folder / f"a.{suffix}"
    draw_clip(path, 4, n_frames=6, size=(32, 32))
    av.logging.set_level(None)
    return Reader(lambda: middle_frame(path), path, mutations.damaged)


def word_vectors(folder: Path, name: str) -> Reader:
    path = folder / name
    vectors = {"bill": [1.0, 0.0], "grey": [0.0, 2.0], "wing": [5.0, 5.0]}
    text = "".join(f"{word} {vector[0]} {vector[1]}\n" for word, vector in vectors.items()).encode()
    lines = b"".join(f"{word} ".encode() + struct.pack("<2f", *vector) + b"\n" for word, vector in vectors.items())
    path.write_bytes(b"3 2\n" + lines if name.endswith(".bin") else gzip.compress(text) if name.endswith(".gz") else text)
    ways = [mutations.damaged, mutations.words] if name.endswith(".txt") else [mutations.damaged]
    return Reader(lambda: read_word_vectors(path, ["bill", "grey"]), path, mutations.either(*ways))


def deepfashion(folder: Path, name: str) -> Reader:
    for each, text in DEEPFASHION.items():
        (folder / f"{each}.txt").write_text(text)
    mutate = mutations.either(mutations.damaged, mutations.words)
    return Reader(lambda: read_annotation(folder), folder / f"{name}.txt", mutate)


def list_of_images(folder: Path) -> Reader:
    path = folder / "list.txt"
    path.write_text("A/1.jpg\t1\nA/2.jpg\t1\nB/1.jpg\t2\n")
    (folder / "A").mkdir()
    (folder / "A" / "1.jpg").touch()
    return Reader(lambda: read_image_list(path, folder), path, mutations.either(mutations.damaged, mutations.words))


def list_of_names(folder: Path) -> Reader:
    path = folder / "names.txt"
    path.write_text("1 has_bill_shape::curved\n2 has_wing_color::blue\n")
    return Reader(lambda: read_names(path), path, mutations.either(mutations.damaged, mutations.words))


def run_folder(folder: Path, name: str) -> Reader:
    write_finished_run(folder)

    def read() -> None:
        run = read_run(folder)
        format_rows(run.result)
        for record in RunFolder(folder, "").read_metrics():
            status_line(record, 3)
            record.scalars()
        build_lines(build_variants(read_runs([folder])))

    ways: dict[str, Mutate] = {
        "result.json": mutations.json_tree,
        "metrics.jsonl": mutations.json_lines,
        "evaluation.npz": mutations.archive(mutations.damaged),
    }
    return Reader(read, folder / name, mutations.either(mutations.damaged, ways[name], ways[name]))


def checkpoint(folder: Path, method: str) -> Reader:
    if method == "dazle":
        build: Callable[[], EvaluatingTrainer] = partial(dazle_trainer.build, dazle_trainer.write_regions(folder))
    else:
        write_tiny(folder)
        build = partial(tfvaegan_trainer.build, folder)
    first, run = build(), RunFolder(folder / "run", "digest")
    first.train_epoch(lambda: first.position < 2)
    run.save_checkpoint(first.state_dict())
    trainer = build()

    def read() -> None:
        resume(trainer, run, 3)
        trainer.train_epoch(lambda: False)  # another iteration

    return Reader(read, run.checkpoint, mutations.either(mutations.damaged, mutations.archive(mutations.damaged)))


def weights(folder: Path, name: str) -> Reader:
    path, state = folder / name, {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
    if name.endswith(".pth"):
        torch.save(state, path)
        mutate = mutations.either(mutations.damaged, mutations.archive(mutations.damaged))
    else:
        safetensors.torch.save_file(state, path)
        mutate = mutations.either(mutations.damaged, mutations.safetensors())
    network = torch.nn.Linear(2, 3)
    return Reader(lambda: load_fitting(network, read_state_dict(path), [], path), path, mutate)


def weights_of_run(folder: Path) -> Reader:
    run = RunFolder(folder, "digest")
    run.save_weights("model_val", {"weight": torch.ones(3, 2)}, {"epoch": 3, "head_epoch": 2, "constant": 0.5})
    path = folder / "model_val.safetensors"
    return Reader(lambda: read_weights(folder, "val"), path, mutations.either(mutations.damaged, signed_safetensors("run")))


def journal(folder: Path) -> Reader:
    space, launcher = {"syn_num": optuna.distributions.IntDistribution(1, 9)}, load_launcher(write_fake_tree(folder))

    def open_study() -> Study:
        return Study(folder, launcher, space, {}, "T1")

    study = open_study()
    for value in (0.5, 0.6):
        trial = study.study.ask()
        study.study.tell(trial, value + trial.suggest_int("syn_num", 1, 9) / 100)

    def read() -> None:
        study = open_study()
        assert study.winner is None or isinstance(study.winner.params, dict)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return Reader(read, folder / "study.journal", mutations.either(mutations.damaged, mutations.json_lines))


def settings(folder: Path) -> Reader:
    path = folder / "settings.toml"
    path.write_text('[flags]\nsyn_num = 3\nlr = 0.5\ngzsl = true\ndevice = "cpu"\n')
    return Reader(lambda: read_settings(path), path, mutations.either(mutations.damaged, mutations.toml))


def sweep(folder: Path) -> Reader:
    path = folder / "sweep.toml"
    (folder / "run.py").write_text("")
    path.write_text(
        'launchers = ["run.py"]\nseeds = [1, 2]\nsplits = "1-3"\nswitches = ["finetuned"]\n[flags]\nnepoch = 20\n'
        "[grid]\nsyn_num = [10, 300]\n[variants.full]\n[variants.short]\nfeedback_loop = 1\n"
    )
    return Reader(lambda: read_grid(path), path, mutations.either(mutations.damaged, mutations.toml))


READERS: dict[str, Build] = {
    "MATLAB v5 features": partial(matlab5, compressed=False, file="res101.mat"),
    "MATLAB v5 split": partial(matlab5, compressed=False, file="att_splits.mat"),
    "MATLAB v5 split, compressed": partial(matlab5, compressed=True, file="att_splits.mat"),
    "MATLAB v7.3 split": matlab73,
    "npy": npy,
    "region maps": partial(regions, write=write_ours),
    "region maps of the release": partial(regions, write=write_release),
    "region maps of DeepFashion": partial(regions, write=write_deepfashion),
    **{f"pickle, protocol {n}": partial(pickled, protocol=n) for n in (0, 2, 4)},
    "attribute table (CSV)": partial(table, name="table.csv"),
    "attribute table (Excel)": partial(table, name="table.xlsx"),
    **{f"model file, {method}": partial(model, method=method) for method in METHODS},
    "PNG": partial(image, suffix="png"),
    "JPEG": partial(image, suffix="jpg"),
    "JPEG, progressive": partial(image, suffix="jpeg", progressive=True),
    **{kind: partial(image, suffix=kind.lower()) for kind in ("WebP", "TIFF", "GIF", "BMP", "AVIF")},
    "JPEG 2000": partial(image, suffix="jp2"),
    **{f"video ({kind})": partial(video, suffix=kind.lower()) for kind in ("MP4", "AVI", "MKV")},
    "word2vec": partial(word_vectors, name="words.bin"),
    "GloVe": partial(word_vectors, name="words.txt"),
    "GloVe, compressed": partial(word_vectors, name="words.txt.gz"),
    **{f"DeepFashion {name}": partial(deepfashion, name=name) for name in DEEPFASHION},
    "list of images": list_of_images,
    "list of names": list_of_names,
    **{f"run folder, {name}": partial(run_folder, name=name) for name in ("result.json", "metrics.jsonl", "evaluation.npz")},
    "weights of a run": weights_of_run,
    "weights (.pth)": partial(weights, name="weights.pth"),
    "weights (.safetensors)": partial(weights, name="weights.safetensors"),
    "checkpoint, TF-VAEGAN": partial(checkpoint, method="tfvaegan"),
    "checkpoint, DAZLE": partial(checkpoint, method="dazle"),
    "journal of a search": journal,
    "settings of a search (TOML)": settings,
    "sweep (TOML)": sweep,
}
