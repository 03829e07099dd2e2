"""Where a run's data come from: a description that config and result.json share, and that opens the data set.

A source is made by a tree's config, written into result.json, and read back by `source_from_json`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from zslab.config import ActionConfig, DazleConfig, RunConfig
from zslab.data.dataset import Dataset
from zslab.data.region_dataset import AttributeChange, RegionDataset, read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.toy.dataset import open_toy
from zslab.toy.regions import make_toy_regions
from zslab.utils.files import converted, user_path

TOY = "TOY"  # the data set that is rendered where it is asked for


@dataclass(frozen=True)
class DataSource(ABC):
    """What is known of a run's data beside the folder that holds all data sets."""

    kind: ClassVar[str]  #: the name of the source in result.json
    dataset: str  #: its folder
    image_embedding: str  #: the file of features or region maps, without its suffix
    class_embedding: str  #: which class vectors
    partition: int | None = field(default=None, kw_only=True)  #: number of a random one, which replaces the split of the files

    @abstractmethod
    def open(self, dataroot: Path, cache: Path) -> Dataset:
        """Read and check the data set in `dataroot`; `cache` is a folder for files that make reading faster."""

    def split_file(self, dataroot: Path) -> Path:
        """Return the path of the split file that belongs to the data; region maps may lack one."""
        return dataroot / self.dataset / f"{self.class_embedding}_splits.mat"

    def to_json(self) -> dict[str, Any]:
        """Return the source as result.json holds it; `source_from_json` reads it back."""
        return {"kind": self.kind, **asdict(self)}

    def files_digest(self, dataroot: Path) -> str:
        """Return digits that change when a file of the data set is added, removed, resized or rewritten.

        No file is read, so files that are copied back give other digits with the same content.
        """
        folders = {dataroot / self.dataset, self.split_file(dataroot).parent}
        digest = hashlib.sha256()
        for path in sorted(path for folder in folders for path in folder.glob("*") if path.is_file()):
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Xlsa17Source(DataSource):
    """Image features in the layout of Xian et al."""

    kind: ClassVar[str] = "xlsa17"

    @classmethod
    def of(cls, config: RunConfig) -> Xlsa17Source:
        """Return the source that a config names."""
        return cls(config.dataset, config.image_embedding, config.class_embedding, partition=config.partition)

    def open(self, dataroot: Path, cache: Path) -> Dataset:
        """Read and check the data set."""
        if self.dataset == TOY:
            open_toy(dataroot)
        dataset = read_xlsa17(dataroot, self.dataset, self.image_embedding, self.class_embedding)
        return dataset.with_partition(self.partition)


@dataclass(frozen=True)
class ActionSource(DataSource):
    """Video features, with several class splits or one."""

    kind: ClassVar[str] = "actions"
    split: int | None  #: number of the class split; None for a split file beside the features
    manual_att: bool  #: class vectors from <name>_manual_att.npy

    @classmethod
    def of(cls, config: ActionConfig) -> ActionSource:
        """Return the source that a config names."""
        names = config.dataset, config.image_embedding, config.class_embedding
        return cls(*names, split=config.split, manual_att=config.manual_att, partition=config.partition)

    def open(self, dataroot: Path, cache: Path) -> Dataset:
        """Read and check the data set."""
        names = (self.dataset, self.image_embedding, self.class_embedding)
        dataset = read_xlsa17(dataroot, *names, split=self.split, manual_att=self.manual_att, cache=cache)
        return dataset.with_partition(self.partition)

    def split_file(self, dataroot: Path) -> Path:
        """Return the path of the split file."""
        path = super().split_file(dataroot)
        return path if self.split is None else path.parent / f"split_{self.split}" / path.name


@dataclass(frozen=True)
class RegionSource(DataSource):
    """Region maps for DAZLE; see `zslab.data.region_dataset.read_region_maps` for the options.

    A split file in place of the region file's lists, and word vectors, lie beside the region file unless they are absolute.
    """

    kind: ClassVar[str] = "regions"
    class_embedding: Literal["att", "original_att"] = "att"
    attribute_change: AttributeChange = "none"
    splits: str | None = None
    word_vectors: str | None = None
    drop_absent_classes: bool = False
    standard_split: bool = False
    allow_missing_vectors: bool = False

    @classmethod
    def of(cls, config: DazleConfig) -> RegionSource:
        """Return the source that a config names."""
        return cls(
            config.dataset,
            config.image_embedding,
            config.class_embedding,  # type: ignore[arg-type]  # checked by the reader
            attribute_change=config.att_change,
            splits=str(config.split_file) if config.split_file else None,
            word_vectors=str(config.w2v_file) if config.w2v_file else None,
            drop_absent_classes=config.drop_absent_classes,
            standard_split=config.standard_split,
            allow_missing_vectors=config.allow_missing_w2v,
            partition=config.partition,
        )

    def open(self, dataroot: Path, cache: Path) -> RegionDataset:
        """Read and check the data set."""
        if self.dataset == TOY:
            make_toy_regions(open_toy(dataroot))
        folder = dataroot / self.dataset
        dataset = read_region_maps(
            folder / f"{self.image_embedding}.hdf5",
            dataset=self.dataset,
            attributes=self.class_embedding,
            attribute_change=self.attribute_change,
            split_file=folder / user_path(self.splits) if self.splits else None,
            word_vector_file=folder / user_path(self.word_vectors) if self.word_vectors else None,
            drop_absent_classes=self.drop_absent_classes,
            standard_split=self.standard_split,
            allow_missing_vectors=self.allow_missing_vectors,
        )
        return dataset.with_partition(self.partition)

    def split_file(self, dataroot: Path) -> Path:
        """Return the path of the split file."""
        return dataroot / self.dataset / user_path(self.splits or "att_splits.mat")


SOURCES: dict[str, type[DataSource]] = {source.kind: source for source in (Xlsa17Source, ActionSource, RegionSource)}


def source_from_json(described: object, where: object) -> DataSource:
    """Return the source that `DataSource.to_json` described, the "source" of a result's "data"."""
    content = described if isinstance(described, dict) else {}
    source = SOURCES.get(str(content.get("kind")))
    fix = "Train again with this version of zslab."
    if source is None:
        raise InputError(f"data.source must have a kind out of {', '.join(SOURCES)}", where=where, got=described, fix=fix)
    return converted({key: value for key, value in content.items() if key != "kind"}, source, where, fix)
