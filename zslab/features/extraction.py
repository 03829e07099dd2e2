"""Many images or videos through a backbone: pooled vectors (.mat, the xlsa17 layout) and region maps (HDF5) in one pass.

Threads open files ahead of the network; two batches are in memory. A batch holds the same files whatever is finished already,
so an extraction that was killed and continued gives the same bits.

    images = read_image_list(Path("image_list.txt"), Path("images"))
    with extract(images, load_backbone(spec), Path("resnet101-partial")) as extraction:
        extraction.write_features(Path("resnet101.mat"), images, images.classes)
        extraction.remove()
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
import torch
from filelock import Timeout
from torch import Tensor
from tqdm import tqdm

from zslab.data.checks import in_precision
from zslab.data.region_writer import write_region_file
from zslab.errors import InputError, readable
from zslab.features.backbones import Backbone
from zslab.features.images import MAX_PIXELS
from zslab.features.sources import Images, Split
from zslab.utils.files import atomic_path, locked, make_folder, printable, write_text


@dataclass(frozen=True)
class Extraction:
    """Features of the files that could be read."""

    backbone: Backbone
    partial: Path  #: folder of all batches
    batches: list[Path]  #: what is on the disk, in the order of the files
    unreadable: dict[int, str]  #: reasons, by the indices of the others
    pooled: np.ndarray  #: (n, P), in the order of the files

    def write_features(
        self, path: Path, images: Images, classes: Sequence[str] | None, copy_of: np.ndarray | None = None
    ) -> None:
        """Write a feature file (.mat) of the n readable files, in the layout of the published ones, a column for each file."""
        content: dict[str, object] = {
            "features": self.pooled.T,
            "labels": images.labels[:, None].astype(np.float64),
            "image_files": np.array([[printable(name)] for name in images.files], dtype=object),
            "backbone": self.backbone.describe(),
        }
        if copy_of is not None:
            content["copy_of"] = copy_of[:, None] + 1.0
        if classes is not None:
            content["allclasses_names"] = np.array([[name] for name in classes], dtype=object)
        with atomic_path(path) as temporary:
            scipy.io.savemat(temporary, content)

    def write_regions(
        self,
        path: Path,
        images: Images,
        split: Split,
        dtype: str = "float16",
        attribute_names: Sequence[str] | None = None,
        word_vectors: np.ndarray | None = None,
    ) -> None:
        """Write a region file (HDF5) of the n readable images with their split, A attribute names and (A, v) word vectors."""
        write_region_file(
            path,
            (_read(batch)["maps"] for batch in self.batches),
            shape=(len(images), self.backbone.feature_dim, *self.backbone.grid),
            dtype=dtype,
            labels=images.labels - 1,
            locations=split.locations,
            att=split.attributes,
            pooled=self.pooled,
            original_att=split.original_attributes,
            w2v_att=word_vectors,
            class_names=split.class_names,
            attribute_names=attribute_names,
            image_files=[printable(name) for name in images.files],
            backbone=self.backbone.describe(),
        )

    def remove(self) -> None:
        """Delete the batches: the results have been written elsewhere."""
        for path in self.partial.glob("*.npy"):
            path.unlink()


@contextmanager
def extract(
    images: Images,
    backbone: Backbone,
    partial: Path,
    *,
    maps: str | None = None,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Extraction]:
    """Yield the features of all files that can be read. A finished batch is a .npy file, complete or absent.

    Args:
        partial: folder of the finished batches, from where a later call continues; they need as much disk space as the files.
        maps: precision of region maps to keep as well, "float16" or "float32".
        batch_size: files in the network at a time. Another one may change the last bits of the features.
        workers: threads that open files.
    """
    paths = [images.path(index) for index in range(len(images))]
    backbone = backbone.for_files(paths, max_pixels=max_pixels, workers=workers)
    fields: list[tuple[str, str, tuple[int, ...]]] = [("index", "int64", ()), ("pooled", "float32", (backbone.pooled_dim,))]
    if maps is not None:
        fields.append(("maps", maps, (backbone.feature_dim, *backbone.grid)))
    row_type = np.dtype(fields)

    def load(index: int) -> Tensor | str:
        try:
            return backbone.read(paths[index], max_pixels=max_pixels)[0]
        except InputError as error:
            return f"{error.must}, {error.got}"

    def features(batch: dict[int, Tensor]) -> np.ndarray:
        rows = np.empty(len(batch), row_type)
        rows["index"], names = list(batch), [images.files[index] for index in batch]
        for name, values in zip((row_type.names or ())[1:], backbone.features(torch.stack(list(batch.values())))):
            rows[name] = in_precision(values.numpy(), row_type[name].base, images.root, names)
        return rows

    settings = {**backbone.identity(), "rows": str(row_type)}
    batches = [range(len(paths))[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    files = {batch: partial / f"{batch.start:08}-{_digest(settings, images, batch)}.npy" for batch in batches}
    with _one_process(partial):
        pooled, unreadable = {-1: np.zeros((0, backbone.pooled_dim), np.float32)}, dict[int, str]()
        for batch in filter(lambda batch: files[batch].is_file(), batches):
            rows = _read(files[batch])
            if len(rows) == len(batch):  # otherwise a file could not be read, which may have been mended
                pooled[batch.start] = rows["pooled"].copy()
        to_do = [batch for batch in batches if batch.start not in pooled]
        n_done = len(images) - sum(map(len, to_do))
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(desc=backbone.spec.name, total=len(images), initial=n_done, disable=None) as bar,
        ):
            following = pool.map(load, to_do[0]) if to_do else iter(())
            for batch, next_batch in zip(to_do, [*to_do[1:], range(0)]):
                current, following = following, pool.map(load, next_batch)
                loaded = dict(zip(batch, current))
                unreadable |= {index: reason for index, reason in loaded.items() if isinstance(reason, str)}
                if inputs := {index: tensor for index, tensor in loaded.items() if not isinstance(tensor, str)}:
                    rows = features(inputs)
                    with atomic_path(files[batch]) as temporary:
                        np.save(temporary, rows, allow_pickle=False)
                    pooled[batch.start] = rows["pooled"].copy()
                bar.update(len(batch))
        finished = [file for file in files.values() if file.is_file()]
        yield Extraction(backbone, partial, finished, unreadable, np.concatenate([pooled[start] for start in sorted(pooled)]))


@contextmanager
def _one_process(folder: Path) -> Iterator[None]:
    """Hold the folder of an extraction, which is deleted once nothing is left in it."""
    make_folder(folder)
    try:
        with locked(folder / ".lock", timeout=0):
            try:
                yield
            finally:
                if not any(folder.glob("*.npy")):
                    shutil.rmtree(folder)
    except Timeout:
        fix = "Wait until the other process has ended, or stop it."
        raise InputError("one process at a time may extract", where=folder, got="a locked folder", fix=fix) from None


def _read(path: Path) -> np.ndarray:
    """Return the rows of a finished batch."""
    fix = "Delete this file and repeat the command, which then computes its rows again."
    with readable(path, "the file must be as it was written", fix, (OSError, ValueError, EOFError)):
        rows: np.ndarray = np.load(path, allow_pickle=False)
    return rows


def _digest(settings: object, images: Images, batch: range) -> str:
    """Return what names a batch: what its rows are made of, so that one with another image or other settings is missing."""
    named = [(images.files[index], images.path(index)) for index in batch]
    keys = [(name, path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (name,) for name, path in named]
    return hashlib.sha256(json.dumps([settings, keys], sort_keys=True).encode()).hexdigest()[:16]


def check_readable(listing: Path, images: Images, unreadable: dict[int, str], skip: bool) -> None:
    """List the files that cannot be read, a line each, or remove the list where there is none; refuse them unless `skip`."""
    listing.unlink(missing_ok=True)
    lines = [f"{printable(images.files[index])}: {printable(reason)}\n" for index, reason in sorted(unreadable.items())]
    if lines:
        write_text(listing, "".join(lines))
    if lines and not skip:
        fix = (
            f"Replace them, which {listing} lists, and repeat the command with --resume where it has it; or --skip_unreadable."
        )
        got = f"{len(lines)} that are not, such as {lines[0].strip()}"
        raise InputError(f"all {len(images)} files must be readable", where=images.root, got=got, fix=fix)
