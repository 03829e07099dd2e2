"""Many images or videos through a backbone: pooled vectors (.mat, the xlsa17 layout) and region maps (HDF5) in one pass.

Threads open files ahead of the network; two batches are in memory. Finished batches are kept on disk
(`zslab.data.resumable`). A batch holds the same files whatever is finished already, so an extraction that was killed and
continued gives the same bits.

    images = read_image_list(Path("image_list.txt"), Path("images"))
    with extract(images, load_backbone(spec), Path("resnet101-partial")) as extraction:
        extraction.write_features(Path("resnet101.mat"), images, images.classes)
        extraction.remove()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
import torch
from torch import Tensor
from tqdm import tqdm

from zslab.data.region_writer import write_region_file
from zslab.data.resumable import Shards, file_key, shards
from zslab.errors import InputError
from zslab.features.backbones import Backbone
from zslab.features.images import MAX_PIXELS
from zslab.features.sources import Images, Split
from zslab.utils.files import atomic_path, printable, write_text


@dataclass(frozen=True)
class Extraction:
    """Features of the files that could be read.

    Attributes:
        backbone: what made them.
        finished: the batches on disk; None where a missing file has stopped everything.
        unreadable: index -> reason for the files that cannot be read.
        pooled: (n, P) of the others, in their order.
    """

    backbone: Backbone
    finished: Shards | None
    unreadable: dict[int, str]
    pooled: np.ndarray

    def maps(self) -> Iterator[np.ndarray]:
        """Yield the region maps in the order of the files, (b, D, rows, columns) at a time."""
        if self.finished is not None:
            for number in sorted(set(range(len(self.finished.batches))) - set(self.finished.missing())):
                yield self.finished.read(number)["maps"]

    def write_features(
        self, path: Path, images: Images, classes: Sequence[str] | None, copy_of: np.ndarray | None = None
    ) -> None:
        """Write a feature file (.mat) of the n readable files, in the layout of the published ones, a column for each file.

        `classes` are the names in the order of the labels, `copy_of` (n,) the indices of the first files with the same content,
        where they are known.
        """
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
            self.maps(),
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
        """Delete the batches: the files have been written."""
        if self.finished is not None:
            self.finished.remove()


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
    skip_unreadable: bool = False,
) -> Iterator[Extraction]:
    """Yield the features of all files that can be read.

    Args:
        partial: folder of the finished batches, from where a later call continues; they need as much disk space as the files.
        maps: precision of region maps to keep as well, "float16" or "float32".
        batch_size: files in the network at a time. Another one may change the last bits of the features.
        workers: threads that open files.
        skip_unreadable: go on where files are missing, which otherwise are told before anything is computed.
    """
    paths = [images.path(index) for index in range(len(images))]
    keys: list[object] = []
    missing: dict[int, str] = {}
    for index, name in enumerate(images.files):
        try:
            keys.append(file_key(paths[index], name))
        except OSError as error:
            keys.append(name)
            missing[index] = error.strerror or str(error)
    backbone = backbone.for_files(paths, max_pixels=max_pixels, workers=workers)
    if missing and not skip_unreadable:
        yield Extraction(backbone, None, missing, np.zeros((0, backbone.pooled_dim), np.float32))
        return
    fields: list[tuple[str, str, tuple[int, ...]]] = [("index", "int64", ()), ("pooled", "float32", (backbone.pooled_dim,))]
    if maps is not None:
        fields.append(("maps", maps, (backbone.feature_dim, *backbone.grid)))
    row_type = np.dtype(fields)

    def load(index: int) -> Tensor | str:
        try:
            return backbone.read(paths[index], max_pixels=max_pixels)[0]
        except InputError as error:
            return f"{error.must}, {error.got}"

    with shards(partial, keys, batch_size, {**backbone.identity(), "rows": str(row_type)}) as finished:
        pooled, unreadable = {-1: np.zeros((0, backbone.pooled_dim), np.float32)}, dict[int, str]()
        for number in set(range(len(finished.batches))) - set(finished.missing()):
            rows = finished.read(number)
            if len(rows) == len(finished.batches[number]):  # otherwise a file could not be read, which may have been mended
                pooled[number] = rows["pooled"].copy()
        to_do = [(number, batch) for number, batch in enumerate(finished.batches) if number not in pooled]
        n_done = len(images) - sum(len(batch) for _, batch in to_do)
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(desc=backbone.spec.name, total=len(images), initial=n_done, disable=None) as bar,
        ):
            following = pool.map(load, to_do[0][1]) if to_do else iter(())
            for (number, batch), (_, next_batch) in zip(to_do, [*to_do[1:], (0, range(0))]):
                current, following = following, pool.map(load, next_batch)
                loaded = dict(zip(batch, current))
                unreadable |= {index: reason for index, reason in loaded.items() if isinstance(reason, str)}
                inputs = {index: tensor for index, tensor in loaded.items() if not isinstance(tensor, str)}
                if inputs:
                    rows = np.empty(len(inputs), row_type)
                    rows["index"] = list(inputs)
                    values = dict(zip(("pooled", "maps"), backbone.features(torch.stack(list(inputs.values())))))
                    for name in (row_type.names or ())[1:]:
                        rows[name] = _finite(values[name], row_type[name].base, [images.files[index] for index in inputs])
                    finished.write(number, rows)
                    pooled[number] = rows["pooled"].copy()
                bar.update(len(batch))
        yield Extraction(backbone, finished, unreadable, np.concatenate([pooled[number] for number in sorted(pooled)]))


def _finite(values: Tensor, dtype: np.dtype, files: Sequence[str]) -> np.ndarray:
    """Return features in the precision of the file, if they are finite in it."""
    with np.errstate(over="ignore"):
        stored = values.numpy().astype(dtype)
    bad = np.flatnonzero(~np.isfinite(stored).reshape(len(stored), -1).all(axis=1))
    if len(bad):
        fix = "Check --weights, --padding and --normalization; --region_type float32 holds larger numbers."
        raise InputError(f"features must be finite {dtype.name} numbers", where=files[bad[0]], got="NaN or infinity", fix=fix)
    return stored


def write_unreadable(path: Path, images: Images, unreadable: dict[int, str]) -> None:
    """Write a line for each file that cannot be read; remove the list if there is none."""
    path.unlink(missing_ok=True)
    lines = (f"{printable(images.files[index])}: {printable(reason)}\n" for index, reason in sorted(unreadable.items()))
    if text := "".join(lines):
        write_text(path, text)
