"""The embedded toy data set: cartoon birds rendered from a seed, in the very layout of the real data sets.

Forty species are combinations of 48 attributes of eight body parts (colours, patterns, shapes); eight species are
unseen. A photo-like nuisance comes from pose, scale, position, plumage variation, light, background and clutter. It
needs no download, so it is what `make demo`, the tests and the photo demo run on; and since we draw the birds we know
where each part is, which real data sets tell only roughly: that is what attention is measured against.

Source: our own drawings and our own class table; the file layout is that of the xlsa17 data (Xian et al., "Zero-Shot
Learning - A Comprehensive Evaluation", TPAMI 2018), with the split rules of its Proposed Split v2.

Run: `python -m zsl.data.toy DATAROOT` writes `DATAROOT/TOY/` once (a later call finds it there).
Expect: 2,400 images (46 MB) in about 30 s on one core. On the pooled features closed-form ESZSL, regularisers chosen
on the validation classes reaches a per-class accuracy over the unseen classes of 78 % (seed 0; 83 % for seed 1; chance
is 12.5 %).

What lies in `TOY/`:
    images/<class>/<index>.png   the pictures, 112 x 112 RGB
    descriptor.mat               features (D, N) float32, labels (N, 1) 1-based, image_files (N, 1) cell of strings
                                 relative to `TOY/`
    att_splits.mat               att (A, C) with unit columns, original_att (A, C) in percent, allclasses_names (C, 1)
                                 and the 1-based columns trainval_loc, train_loc, val_loc, test_seen_loc,
                                 test_unseen_loc; classes of train and val are disjoint
    attributes.txt               CUB's list: "<1-based number> has_wing_color::red" a line
    class_attributes.csv         header class,<attribute names>; a row a class; the expected percentage of its images
                                 that show the attribute
    attribute_parts.csv          attribute,part: on which part an attribute is seen
    image_attributes.csv         header image,<attribute names>; 0/1, what this very bird shows (individuals vary)
    parts.csv                    image,part,x0,y0,x1,y1: tightest box around the visible pixels of the part, in pixels
                                 from the top left corner, x1 and y1 exclusive
    manifest.json                what this copy was made from; written last
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy.io import savemat
from tqdm import tqdm

from zsl.errors import InputError
from zsl.features.descriptor import POOLED_DIM, pooled_descriptor
from zsl.runs.files import read_json, write_json

NAME = "TOY"
VERSION = 2  # raise it whenever a pixel, a feature or a file of the set changes, so that old copies are made anew
IMAGE_SIZE = 112  # pixels; sixteen to a cell of the 7 x 7 grid
SUPERSAMPLING = 3  # drawn this much larger and averaged down, which is all the antialiasing there is
VARIATION = 0.18  # probability that one bird differs from its species in one trait
TEST_SEEN_FRACTION = 0.2

# Trait -> its values. A trait and a value make one attribute: has_wing_color::red.
TRAITS = {
    "crown_color": ("red", "yellow", "blue", "black", "white"),
    "crown_shape": ("rounded", "crested"),
    "bill_shape": ("cone", "hooked", "long"),
    "bill_color": ("black", "orange", "grey"),
    "back_color": ("brown", "grey", "green", "blue", "red"),
    "wing_color": ("brown", "green", "blue", "black", "red"),
    "wing_pattern": ("solid", "barred"),
    "breast_color": ("white", "yellow", "orange", "red", "grey"),
    "breast_pattern": ("solid", "striped", "spotted"),
    "belly_color": ("white", "yellow", "brown", "grey"),
    "tail_color": ("black", "blue", "red", "brown", "white"),
    "tail_shape": ("forked", "fan", "pointed"),
    "leg_color": ("orange", "black", "pink"),
}
PARTS = ("crown", "bill", "back", "wing", "breast", "belly", "tail", "leg")
REST = "rest"  # face and outline: of the bird, but of none of the parts
ATTRIBUTES = tuple(f"has_{trait}::{value}" for trait, values in TRAITS.items() for value in values)
ATTRIBUTE_PARTS = {name: name.removeprefix("has_").split("_")[0] for name in ATTRIBUTES}

# A species a line: its name, then its value of each trait in the order of TRAITS. Each value is shared by at least four
# seen species. Seen species differ from all others in at least five traits; the unseen ones come in four pairs that
# differ in three, or nobody would mistake one for the other.
SEEN_SPECIES = """
Black_crested_Creeper       black  crested long   grey   grey  green barred grey   striped white  brown forked  black
Black_tailed_Grosbeak       black  crested cone   orange green brown solid  red    solid   yellow black pointed pink
Black_tailed_Hummingbird    yellow rounded long   grey   brown black barred grey   spotted brown  black fan     black
Black_tailed_Snipe          black  crested long   orange brown red   barred white  solid   grey   black forked  pink
Black_tailed_Tanager        black  crested cone   orange green black solid  grey   spotted white  black forked  orange
Blue_backed_Towhee          white  rounded cone   black  blue  brown barred white  striped grey   red   forked  pink
Blue_capped_Vireo           blue   rounded hooked orange green red   solid  grey   striped yellow white forked  orange
Blue_winged_Bunting         yellow crested cone   black  brown blue  solid  yellow solid   brown  blue  pointed orange
Brown_winged_Curlew         yellow crested long   grey   grey  brown solid  orange spotted grey   blue  pointed orange
Brown_winged_Sunbird        red    crested long   black  red   brown solid  yellow striped grey   brown pointed orange
Green_backed_Hoopoe         red    rounded long   black  green brown barred yellow spotted white  blue  forked  black
Green_backed_Parakeet       blue   crested hooked grey   green black barred grey   solid   brown  brown forked  orange
Green_backed_Sparrow        blue   crested cone   black  green blue  solid  red    solid   grey   white fan     orange
Green_winged_Jacamar        white  crested long   orange red   green solid  orange striped brown  white fan     black
Green_winged_Siskin         red    rounded cone   orange grey  green solid  white  solid   white  white forked  black
Grey_breasted_Weaver        blue   rounded cone   orange grey  red   solid  grey   solid   white  brown pointed black
Orange_breasted_Falcon      yellow crested hooked grey   brown red   barred orange striped white  black fan     orange
Orange_breasted_Junco       blue   crested cone   grey   grey  green solid  orange solid   white  blue  fan     black
Red_breasted_Harrier        white  rounded hooked black  red   green barred red    striped grey   red   fan     pink
Red_breasted_Waxbill        red    rounded cone   black  brown green barred red    solid   grey   red   forked  black
Red_capped_Bee_Eater        red    rounded long   black  red   black solid  red    striped grey   white fan     pink
Red_capped_Canary           red    rounded cone   orange red   green solid  white  striped brown  blue  pointed black
Red_tailed_Avocet           black  rounded long   orange brown red   barred white  striped yellow red   pointed pink
Red_tailed_Owlet            blue   crested hooked orange red   blue  barred yellow spotted white  red   fan     pink
White_breasted_Lovebird     white  rounded hooked grey   blue  red   solid  white  spotted brown  brown pointed orange
White_capped_Kite           white  rounded hooked black  blue  red   barred orange solid   brown  red   fan     black
White_crested_Shrike        white  crested hooked grey   brown blue  solid  grey   striped yellow black pointed pink
White_tailed_Lorikeet       black  crested hooked grey   grey  blue  barred white  spotted brown  white pointed black
Yellow_breasted_Finch       red    rounded cone   grey   blue  brown solid  yellow spotted yellow brown fan     orange
Yellow_capped_Butcherbird   yellow rounded hooked grey   grey  blue  barred red    spotted yellow white pointed pink
Yellow_capped_Merlin        yellow rounded hooked black  blue  black barred yellow solid   yellow brown fan     pink
Yellow_crested_Spiderhunter yellow crested long   black  blue  black barred orange spotted yellow blue  forked  orange
"""
UNSEEN_SPECIES = """
Black_crested_Oriole        black  crested long   grey   grey  red   barred red    striped yellow blue  forked  orange
Black_winged_Rosella        red    rounded hooked black  brown black solid  orange spotted brown  red   fan     pink
Blue_capped_Sandpiper       blue   rounded long   orange red   green solid  grey   solid   white  black pointed pink
Brown_winged_Macaw          black  crested hooked orange blue  brown barred yellow solid   grey   red   fan     black
Green_winged_Honeyeater     white  rounded long   orange red   green solid  grey   spotted brown  black pointed pink
Red_capped_Parrot           red    rounded hooked black  green black solid  orange spotted white  blue  fan     pink
White_crested_Kestrel       white  crested hooked orange blue  brown barred yellow solid   grey   white fan     orange
Yellow_crested_Cardinal     yellow crested cone   grey   grey  red   barred red    striped yellow brown forked  orange
"""


def _parse_species(table: str) -> dict[str, dict[str, str]]:
    rows = [line.split() for line in table.strip().splitlines()]
    return {name: dict(zip(TRAITS, values, strict=True)) for name, *values in rows}


_SEEN, _UNSEEN = _parse_species(SEEN_SPECIES), _parse_species(UNSEEN_SPECIES)
# Alphabetical, so that class number says nothing about seen or unseen; numbered as in CUB.
SPECIES = {
    f"{number:03d}.{name}": traits
    for number, (name, traits) in enumerate(sorted({**_SEEN, **_UNSEEN}.items()), start=1)
}
UNSEEN_CLASSES = tuple(name for name in SPECIES if name.split(".")[1] in _UNSEEN)

PALETTE = {
    "red": (206, 52, 48),
    "orange": (243, 142, 44),
    "yellow": (249, 209, 72),
    "green": (84, 156, 84),
    "blue": (62, 118, 200),
    "brown": (138, 90, 58),
    "black": (48, 46, 56),
    "white": (246, 243, 234),
    "grey": (142, 148, 160),
    "pink": (238, 150, 166),
}
CHEEK = (250, 226, 196)
# Where the bird sits: sky above, sky below, and the colours of what grows there.
SCENES = (
    ((176, 214, 240), (232, 244, 248), ((122, 170, 110), (94, 148, 98), (164, 196, 120))),
    ((250, 214, 180), (252, 238, 214), ((206, 140, 92), (186, 112, 84), (226, 176, 110))),
    ((190, 226, 206), (236, 246, 226), ((90, 150, 104), (128, 178, 116), (70, 124, 92))),
    ((206, 204, 234), (244, 232, 240), ((148, 136, 186), (190, 150, 186), (122, 150, 160))),
    ((196, 206, 214), (230, 232, 230), ((140, 150, 136), (168, 162, 140), (116, 132, 126))),
    ((128, 176, 214), (206, 228, 232), ((78, 132, 120), (106, 158, 124), (222, 196, 116))),
)
BERRIES = ("red", "orange", "yellow", "blue", "pink", "white")

# The drawing. Corner points (x, y) with the middle of the body at (0, 0), x forwards, y down; a bird is about 2 units
# long. Most outlines are smooth curves through the points; bill, crest and pointed tail keep their corners.
BODY = np.array(
    [(0.46, -0.36), (0.20, -0.46), (-0.12, -0.24), (-0.42, 0.02), (-0.62, 0.24), (-0.50, 0.36), (-0.20, 0.50),
     (0.14, 0.52), (0.42, 0.34), (0.58, 0.06), (0.60, -0.20)]
)
HEAD = np.array(
    [(0.68, -0.40), (0.64, -0.58), (0.50, -0.70), (0.32, -0.70), (0.17, -0.58), (0.14, -0.38), (0.26, -0.22),
     (0.44, -0.15), (0.61, -0.22)]
)
BREAST = np.array(
    [(0.70, -0.24), (0.70, 0.10), (0.46, 0.42), (0.22, 0.40), (0.12, 0.16), (0.16, -0.06), (0.34, -0.19)]
)
BELLY = np.array(
    [(0.46, 0.30), (0.40, 0.60), (0.0, 0.70), (-0.40, 0.60), (-0.66, 0.40), (-0.56, 0.23), (-0.20, 0.22), (0.10, 0.16)]
)
CHEEK_SHAPE = np.array(
    [(0.72, -0.30), (0.68, -0.47), (0.52, -0.49), (0.36, -0.45), (0.30, -0.34), (0.36, -0.24), (0.50, -0.17),
     (0.66, -0.18)]
)
CROWN = np.array(
    [(0.74, -0.50), (0.70, -0.72), (0.46, -0.84), (0.22, -0.80), (0.08, -0.60), (0.14, -0.44), (0.26, -0.46),
     (0.40, -0.50), (0.58, -0.50)]
)
CREST = np.array(
    [(0.60, -0.60), (0.50, -0.76), (0.30, -0.90), (0.06, -0.99), (0.14, -0.88), (0.00, -0.86), (0.11, -0.77),
     (0.02, -0.70), (0.16, -0.62), (0.30, -0.56)]
)
WING = np.array(
    [(0.24, -0.16), (0.30, 0.02), (0.22, 0.20), (0.02, 0.32), (-0.26, 0.38), (-0.50, 0.42), (-0.72, 0.48),
     (-0.60, 0.30), (-0.44, 0.10), (-0.24, -0.12), (0.04, -0.24)]
)
BILLS = {
    "cone": np.array([(0.60, -0.57), (0.78, -0.52), (1.00, -0.36), (0.78, -0.26), (0.60, -0.23)]),
    "hooked": np.array(
        [(0.60, -0.55), (0.78, -0.58), (0.95, -0.48), (1.01, -0.32), (0.97, -0.10), (0.88, -0.24), (0.79, -0.29),
         (0.60, -0.25)]
    ),
    "long": np.array([(0.60, -0.52), (0.84, -0.48), (1.24, -0.36), (0.84, -0.32), (0.60, -0.28)]),
}
FEATHERS = (  # lines from the shoulder towards the tip
    ((-0.10, 0.00), (-0.59, 0.39)),
    ((-0.04, 0.10), (-0.46, 0.38)),
    ((0.03, 0.18), (-0.28, 0.36)),
    ((-0.18, -0.08), (-0.66, 0.40)),
)
FOOT_LEVEL = 0.78  # y of the branch under the feet


@dataclass(frozen=True)
class Bird:
    """One rendered bird.

    Attributes:
        image: RGB picture, size x size.
        part_map: (size, size) uint8; 0 background, 1 + the part's place in PARTS, or 1 + len(PARTS) for face
            and outline.
        boxes: part -> (x0, y0, x1, y1) in pixels, x1 and y1 exclusive, around the part's visible pixels.
    """

    image: Image.Image
    part_map: np.ndarray
    boxes: dict[str, tuple[int, int, int, int]]


def render_bird(
    traits: dict[str, str], random: np.random.RandomState, *, size: int = IMAGE_SIZE, jitter: float = 1.0
) -> Bird:
    """Draws one bird.

    Args:
        traits: trait -> value, for every trait of TRAITS.
        random: where pose, light and background come from.
        size: edge of the square picture in pixels; the drawing scales with it.
        jitter: 0 gives the same pose and the palette's own colours on a plain background, 1 the full variety.

    Raises:
        InputError: a trait is missing or has a value that is not in TRAITS.
    """
    for trait, values in TRAITS.items():
        if traits.get(trait) not in values:
            raise InputError(
                "unknown value", where=f"trait {trait}", found=traits.get(trait), expected=" or ".join(values),
                cure="Take the value from zsl.data.toy.TRAITS.",
            )
    pose = _Pose(random, jitter)
    canvas = _Canvas(size, pose, random)
    _draw_background(canvas, random, jitter)
    _draw_bird(canvas, traits, pose)
    return canvas.finish(jitter)


class _Pose:
    """Where the bird is and how it leans, and the source of every smaller random choice in its drawing."""

    def __init__(self, random: np.random.RandomState, jitter: float):
        self.random, self.jitter = random, jitter
        self.flip = -1.0 if jitter and random.rand() < 0.5 else 1.0
        self.angle = self.wobble(0.2)
        self.scale = 0.415 * (1 + self.wobble(0.12))  # unit in frame edges
        self.centre = np.array([0.5 + self.wobble(0.05), 0.5 + self.wobble(0.05)])

    def wobble(self, width: float) -> float:
        """A number in ±width, 0 without jitter."""
        return self.jitter * width * self.random.uniform(-1, 1)

    def tint(self, colour: tuple[int, int, int], width: float = 1.0) -> tuple[int, int, int]:
        """The colour a little lighter or darker, and a little off its hue."""
        gain = 1 + self.wobble(0.10 * width)
        return _clip_colour([channel * gain + self.wobble(12 * width) for channel in colour])


class _Canvas:
    """An enlarged picture and, drawn by the same strokes, the map of which part is seen where."""

    def __init__(self, size: int, pose: _Pose, random: np.random.RandomState):
        self.size, self.pose, self.random = size, pose, random
        edge = size * SUPERSAMPLING
        self.picture = Image.new("RGB", (edge, edge))
        self.parts = Image.new("L", (edge, edge))
        cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
        # The bird is tilted first and mirrored after, so that a mirrored bird leans the mirrored way.
        self.matrix = pose.scale * edge * np.array([[pose.flip, 0], [0, 1]]) @ [[cosine, -sine], [sine, cosine]]
        self.offset = pose.centre * edge

    def place(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Bird coordinates (n, 2) to pixels of the enlarged picture."""
        return [tuple(point) for point in (np.asarray(points) @ self.matrix.T + self.offset).tolist()]

    def pen(self, width: float) -> int:
        """Width in bird units to whole pixels of the enlarged picture."""
        return max(1, round(width * self.pose.scale * self.size * SUPERSAMPLING))

    def mask(self, points: np.ndarray) -> Image.Image:
        """The inside of a polygon (n, 2), as an 8-bit mask."""
        mask = Image.new("L", self.picture.size)
        ImageDraw.Draw(mask).polygon(self.place(points), fill=255)
        return mask

    def paste(self, mask: Image.Image, colour: tuple[int, int, int], part: str | None) -> None:
        """Colours the inside of a mask; with a part, it belongs to the bird, else to the background."""
        box = mask.getbbox()
        if box is None:
            return
        mask = mask.crop(box)  # pasting is where the time goes
        self.picture.paste(colour, box, mask)
        if part is not None:
            self.parts.paste(_part_number(part), box, mask)

    def shape(self, points: np.ndarray, colour: tuple[int, int, int], part: str | None, outline: float = 0.02) -> None:
        """A filled polygon (n, 2) with an outline in a darker colour."""
        pixels = self.place(points)
        draw = ImageDraw.Draw(self.picture)
        draw.polygon(pixels, fill=colour)
        draw.line([*pixels, *pixels[:2]], fill=_darker(colour), width=self.pen(outline))
        if part is not None:
            ImageDraw.Draw(self.parts).polygon(pixels, fill=_part_number(part))

    def stroke(self, points: np.ndarray, colour: tuple[int, int, int], width: float, part: str | None) -> None:
        """An open line through points (n, 2)."""
        pixels, pen = self.place(points), self.pen(width)
        joint = "curve" if len(pixels) == 3 else None  # only a sharp bend shows a gap, and filling it takes time
        ImageDraw.Draw(self.picture).line(pixels, fill=colour, width=pen, joint=joint)
        if part is not None:
            ImageDraw.Draw(self.parts).line(pixels, fill=_part_number(part), width=pen, joint=joint)

    def dot(self, centre: np.ndarray, radius: float, colour: tuple[int, int, int], part: str | None) -> None:
        """A disc."""
        (x, y), reach = self.place(np.asarray(centre)[None])[0], self.pen(radius)
        box = (x - reach, y - reach, x + reach, y + reach)
        ImageDraw.Draw(self.picture).ellipse(box, fill=colour)
        if part is not None:
            ImageDraw.Draw(self.parts).ellipse(box, fill=_part_number(part))

    def finish(self, jitter: float) -> Bird:
        """Scales down, lights the body, adds the light of the day, and reads the part boxes off the map."""
        pixels = np.asarray(self.picture.reduce(SUPERSAMPLING), dtype=np.float32)
        inside = self.parts.point(lambda number: 255 if number else 0).reduce(SUPERSAMPLING)
        # A blurred silhouette rises towards the middle of the body: its slope is how far the surface turns to the sky.
        height = np.asarray(inside.filter(ImageFilter.GaussianBlur(self.size * 0.06)), dtype=np.float32) / 255
        slope = np.gradient(height, axis=0) * self.size / 7
        pixels *= 1 + (0.32 * np.clip(slope, -0.5, 0.7) * np.asarray(inside, dtype=np.float32) / 255)[..., None]
        if jitter:
            pixels *= _daylight(self.size, self.random, jitter)
        part_map = np.asarray(self.parts)[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING]
        image = Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
        return Bird(image, part_map, {part: _box(part_map == _part_number(part)) for part in PARTS})


def _daylight(size: int, random: np.random.RandomState, jitter: float) -> np.ndarray:
    """Factors (size, size, 3): exposure, a warm or cold cast, a light side, and slow blotches of colour."""
    cast = 1 + jitter * (random.uniform(-0.12, 0.10) + random.uniform(-0.05, 0.05, size=3))
    blotches = random.uniform(-1, 1, size=(5, 5, 3)).astype(np.float32)
    smooth = np.stack(
        [np.asarray(Image.fromarray(blotches[..., channel]).resize((size, size), Image.Resampling.BICUBIC))
         for channel in range(3)], axis=-1,
    )
    side = np.linspace(-1, 1, size)[None, :, None] * random.uniform(-0.08, 0.08) * jitter
    return (cast + 0.06 * jitter * smooth + side).astype(np.float32)


def _draw_background(canvas: _Canvas, random: np.random.RandomState, jitter: float) -> None:
    """Sky, foliage out of focus, then the branch with leaves and berries."""
    edge, size = canvas.picture.size[0], canvas.size
    sky_top, sky_bottom, foliage = SCENES[random.randint(len(SCENES)) if jitter else 0]
    ramp = np.linspace(0, 1, size)[:, None, None]
    sky = (1 - ramp) * np.array(sky_top) + ramp * np.array(sky_bottom)
    backdrop = Image.fromarray(np.broadcast_to(sky, (size, size, 3)).astype(np.uint8))
    if not jitter:
        canvas.picture.paste(backdrop.resize((edge, edge), Image.Resampling.BILINEAR))
        return
    draw = ImageDraw.Draw(backdrop)
    for _ in range(random.randint(8, 20)):
        x, y = random.uniform(0, size), size * random.beta(2.0, 1.3)
        radius = size * random.uniform(0.04, 0.2)
        colour = canvas.pose.tint(foliage[random.randint(len(foliage))], 1.6)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    for _ in range(random.randint(0, 4)):  # flowers far away
        x, y = random.uniform(0, size, 2)
        radius = size * random.uniform(0.02, 0.06)
        colour = PALETTE[BERRIES[random.randint(len(BERRIES))]]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    backdrop = backdrop.filter(ImageFilter.GaussianBlur(size * random.uniform(0.012, 0.035)))
    canvas.picture.paste(backdrop.resize((edge, edge), Image.Resampling.BILINEAR))

    bark = canvas.pose.tint((128, 98, 76), 1.5)
    tilt, sag = canvas.pose.wobble(0.16), canvas.pose.wobble(0.12)
    along = np.linspace(-1.9, 1.9, 24)
    # The branch passes under the feet whatever its tilt.
    branch = np.stack([along, FOOT_LEVEL + 0.05 + tilt * along + sag * along**2], axis=1)
    leaf_colour = ((104, 158, 84), (140, 176, 84), (78, 136, 96), (206, 160, 70))[random.randint(4)]
    for _ in range(random.randint(3, 8)):
        stem = branch[random.randint(len(branch))]
        if abs(stem[0]) < 0.3:  # the feet need room
            continue
        _draw_leaf(canvas, stem, random.uniform(0, 2 * np.pi), random.uniform(0.22, 0.42), leaf_colour)
    canvas.stroke(branch, _darker(bark), 0.105, None)
    canvas.stroke(branch, bark, 0.08, None)
    canvas.stroke(branch - [0, 0.018], _lighter(bark), 0.02, None)
    for _ in range(random.randint(0, 4)):
        stem = branch[random.randint(len(branch))]
        colour = canvas.pose.tint(PALETTE[BERRIES[random.randint(len(BERRIES))]])
        centre, radius = stem + random.uniform(-0.1, 0.1, 2) + [0, 0.12], random.uniform(0.045, 0.08)
        canvas.stroke([stem, centre], _darker(bark), 0.018, None)
        canvas.dot(centre, radius + 0.01, _darker(colour), None)
        canvas.dot(centre, radius, colour, None)
        canvas.dot(centre - radius * 0.35, radius * 0.25, _lighter(colour), None)


def _draw_leaf(canvas: _Canvas, stem: np.ndarray, angle: float, length: float, colour: tuple[int, int, int]) -> None:
    colour = canvas.pose.tint(colour, 1.5)
    blade = [(0, 0), (0.3, -0.2), (0.7, -0.17), (1, 0), (0.7, 0.17), (0.3, 0.2)]
    canvas.shape(stem + length * _turn(_curve(blade), angle), colour, None)
    canvas.stroke(stem + length * _turn([(0, 0), (0.85, 0)], angle), _darker(colour), 0.012, None)


def _draw_bird(canvas: _Canvas, traits: dict[str, str], pose: _Pose) -> None:
    """Tail, legs, body with belly, breast and cheek, crown, bill, wing, eye: from back to front."""
    colours = {part: pose.tint(PALETTE[traits[f"{part}_color"]]) for part in PARTS}
    fat, nod = 1 + pose.wobble(0.07), np.array([pose.wobble(0.04), pose.wobble(0.04)])
    _draw_tail(canvas, traits["tail_shape"], colours["tail"], pose.wobble(0.24))
    _draw_legs(canvas, colours["leg"], pose.wobble(0.05))

    body = _curve(BODY * [1, fat]).copy()
    head_mask = canvas.mask(_curve(HEAD + nod))
    body_mask = ImageChops.lighter(canvas.mask(body), head_mask)
    ink = _darker(colours["back"])
    for outline in (body, _curve(HEAD + nod)):
        canvas.stroke(np.concatenate([outline, outline[:2]]), ink, 0.045, REST)
    canvas.paste(body_mask, colours["back"], "back")
    belly_mask = ImageChops.multiply(body_mask, canvas.mask(_curve(BELLY * [1, fat])))
    canvas.paste(belly_mask, colours["belly"], "belly")
    breast_mask = ImageChops.multiply(body_mask, canvas.mask(_curve(BREAST * [1, fat] + nod / 3)))
    canvas.paste(breast_mask, colours["breast"], "breast")
    _draw_breast_pattern(canvas, traits["breast_pattern"], colours["breast"], breast_mask, pose)

    _draw_head(canvas, traits, colours, head_mask, nod, pose)
    _draw_wing(canvas, traits["wing_pattern"], colours["wing"], pose.wobble(0.16))


def _draw_head(
    canvas: _Canvas, traits: dict[str, str], colours: dict[str, tuple[int, int, int]], head_mask: Image.Image,
    nod: np.ndarray, pose: _Pose,
) -> None:
    # The cheek carries no attribute: the same cream on every bird keeps back and breast colours off the face.
    cheek_mask = ImageChops.multiply(head_mask, canvas.mask(_curve(CHEEK_SHAPE + nod)))
    canvas.paste(cheek_mask, pose.tint(CHEEK), REST)
    if traits["crown_shape"] == "crested":
        crest = CREST + nod + [pose.wobble(0.03), 0]
        canvas.shape(crest, colours["crown"], "crown", outline=0.025)
    crown_mask = ImageChops.multiply(head_mask, canvas.mask(_curve(CROWN + nod)))
    canvas.paste(crown_mask, colours["crown"], "crown")

    bill_angle = pose.wobble(0.10)
    base = np.array([0.62, -0.40]) + nod
    bill = _turn(BILLS[traits["bill_shape"]] + nod - base, bill_angle) + base
    canvas.shape(bill, colours["bill"], "bill", outline=0.022)
    mouth = np.array([bill[0] * 0.35 + bill[-1] * 0.65, bill[2] * 0.6 + bill[-2] * 0.4])
    canvas.stroke(mouth, _darker(colours["bill"]), 0.014, "bill")

    eye = np.array([0.50, -0.43]) + nod
    canvas.dot(eye + [0.02, 0.13], 0.045, (246, 190, 170), REST)
    canvas.dot(eye, 0.072, (255, 255, 250), REST)
    canvas.dot(eye + [0.008, 0.0], 0.056, (36, 30, 34), REST)
    canvas.dot(eye + [0.026, -0.022], 0.02, (255, 255, 255), REST)


def _draw_breast_pattern(
    canvas: _Canvas, pattern: str, colour: tuple[int, int, int], breast_mask: Image.Image, pose: _Pose
) -> None:
    marks = Image.new("L", canvas.picture.size)
    draw = ImageDraw.Draw(marks)
    shift = pose.wobble(0.03)
    if pattern == "striped":
        across = np.linspace(0.0, 0.75, 9)
        for level in np.arange(-0.16, 0.55, 0.125):
            line = np.stack([across, level + shift + 0.25 * (across - 0.42) ** 2 - 0.25 * (across - 0.2)], axis=1)
            draw.line(canvas.place(line), fill=255, width=canvas.pen(0.042))
    elif pattern == "spotted":
        reach = canvas.pen(0.036)
        for row in range(7):
            for column in range(7):
                spot = np.array([0.08 + 0.115 * column + 0.057 * (row % 2), -0.22 + 0.105 * row + shift])
                x, y = canvas.place(spot[None])[0]
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
    canvas.paste(ImageChops.multiply(marks, breast_mask), _darker(colour, 0.42), "breast")


def _draw_wing(canvas: _Canvas, pattern: str, colour: tuple[int, int, int], lift: float) -> None:
    shoulder = np.array([0.16, -0.08])
    outline = _turn(_curve(WING) - shoulder, lift) + shoulder
    canvas.shape(outline, colour, "wing", outline=0.028)
    mask, ink = canvas.mask(outline), _darker(colour)
    marks = Image.new("L", canvas.picture.size)
    draw = ImageDraw.Draw(marks)
    for start, end in FEATHERS:
        line = _turn(_curve([start, (np.array(start) + end) / 2 + [-0.03, 0.05], end], closed=False) - shoulder, lift)
        draw.line(canvas.place(line + shoulder), fill=255, width=canvas.pen(0.02))
    canvas.paste(ImageChops.multiply(marks, mask), ink, "wing")
    if pattern == "barred":
        bars = Image.new("L", canvas.picture.size)
        draw = ImageDraw.Draw(bars)
        for x in (-0.30, -0.02):
            bar = _turn(_curve([(x + 0.06, -0.30), (x - 0.04, 0.05), (x + 0.06, 0.50)], closed=False) - shoulder, lift)
            draw.line(canvas.place(bar + shoulder), fill=255, width=canvas.pen(0.06))
        pale = (250, 246, 236)
        canvas.paste(ImageChops.multiply(bars, mask), pale, "wing")


def _draw_tail(canvas: _Canvas, shape: str, colour: tuple[int, int, int], angle: float) -> None:
    # Drawn along +x from the rump, then turned to where tails point.
    if shape == "forked":
        upper = _curve([(-0.1, -0.11), (0.2, -0.18), (0.62, -0.30), (0.42, -0.06), (0.1, 0.02)])
        feathers = [upper, upper * [1, -1]]
    elif shape == "fan":
        edge = [(-0.1, 0.06), (0.32, 0.10), (0.50, 0.075), (0.55, 0.0)]
        blade = _curve([*edge, *((x, -y) for x, y in edge[2::-1])])
        feathers = [_turn(blade, turn) for turn in (-0.46, 0.46, -0.23, 0.23, 0.0)]
    else:
        feathers = [np.array([(-0.1, -0.14), (0.25, -0.16), (0.70, 0.0), (0.25, 0.16), (-0.1, 0.14)])]
    rump = np.array([-0.46, 0.22])
    for feather in feathers:
        canvas.shape(rump + _turn(feather, np.pi - 0.12 + angle), colour, "tail", outline=0.024)
    if shape == "pointed":
        canvas.stroke(rump + _turn([(0.0, 0.0), (0.6, 0.0)], np.pi - 0.12 + angle), _darker(colour), 0.02, "tail")


def _draw_legs(canvas: _Canvas, colour: tuple[int, int, int], shift: float) -> None:
    for hip, foot in ((-0.02, 0.02 + shift), (0.22, 0.30 + shift)):
        ankle = np.array([foot, FOOT_LEVEL - 0.02])
        lines = [np.array([(hip, 0.42), ((hip + foot) / 2 - 0.04, 0.60), ankle])]
        lines += [np.array([ankle, ankle + toe]) for toe in ((-0.12, 0.08), (0.03, 0.11), (0.15, 0.07))]
        for width, ink in ((0.115, _darker(colour)), (0.085, colour)):
            for line in lines:
                canvas.stroke(line, ink, width, "leg")
                canvas.dot(line[-1], width / 2, ink, "leg")


def _part_number(part: str) -> int:
    return len(PARTS) + 1 if part == REST else PARTS.index(part) + 1


def _box(inside: np.ndarray) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    assert len(columns), "every part shows at least one pixel; the pose jitter is bounded so"
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _clip_colour(channels: list[float]) -> tuple[int, int, int]:
    red, green, blue = (int(min(255, max(0, round(channel)))) for channel in channels)
    return red, green, blue


def _darker(colour: tuple[int, int, int], factor: float = 0.62) -> tuple[int, int, int]:
    return _clip_colour([channel * factor for channel in colour])


def _lighter(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    return _clip_colour([channel * 0.6 + 255 * 0.4 for channel in colour])


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    """Points (n, 2) turned about the origin by `angle` radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(points) @ np.array([[cosine, sine], [-sine, cosine]])


def _curve(points: np.ndarray, closed: bool = True) -> np.ndarray:
    """A smooth line through points (n, 2): Catmull-Rom, six points a segment."""
    points = np.asarray(points, dtype=float)
    number = np.arange(len(points) if closed else len(points) - 1)[:, None] + [-1, 0, 1, 2]
    number = number % len(points) if closed else np.clip(number, 0, len(points) - 1)
    t = np.linspace(0, 1, 6, endpoint=False)[:, None]
    weights = np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
    )
    line = (weights @ points[number] / 2).reshape(-1, 2)
    return line if closed else np.concatenate([line, points[-1:]])


def make_toy(root: Path, seed: int = 0, images_per_class: int = 60) -> Path:
    """Renders the data set into `root/TOY`, unless it lies there already.

    The work is done in a hidden folder beside it that is renamed when complete, so `root/TOY` is whole or absent. Image
    number i of a species depends on the seed, the species and i alone: a larger set contains the smaller one.

    Args:
        root: folder of data sets; made if missing.
        seed: 0 ... 2**32 - 1. The same seed gives the same bytes; another one other birds of the same species.
        images_per_class: at least 5, so that a fifth of a seen species is at least one test image.

    Returns:
        The folder `root/TOY`; see the module's docstring for what lies in it.

    Raises:
        InputError: an argument is out of range, or `root/TOY` exists and is not something this function made.
    """
    if not 0 <= seed < 2**32:
        raise InputError("seed out of range", where="seed", found=seed, expected="0 ... 4294967295",
                         cure="Pass another seed.")
    if images_per_class < 5:
        raise InputError("too few images", where="images_per_class", found=images_per_class, expected="5 or more",
                         cure="Pass a larger number; training and test images are both taken from them.")
    root = Path(root)
    folder = root / NAME
    manifest = {
        "version": VERSION, "seed": seed, "images_per_class": images_per_class, "image_size": IMAGE_SIZE,
        "feature_dim": POOLED_DIM, "attributes": len(ATTRIBUTES), "seen_classes": len(SPECIES) - len(UNSEEN_CLASSES),
        "unseen_classes": len(UNSEEN_CLASSES),
    }
    if _is_same(folder, manifest):
        return folder
    temporary, discarded = (root / f".{NAME}.{os.getpid()}.{ending}" for ending in ("tmp", "old"))
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed process that had our number
        temporary.mkdir(parents=True)
        _write_everything(temporary, seed, images_per_class)
        write_json(temporary / "manifest.json", manifest)
        if not _is_same(folder, manifest):  # another process may have been faster
            if folder.exists():
                folder.rename(discarded)
            temporary.rename(folder)
    except OSError as error:
        raise InputError(
            "cannot write the toy data set", where=folder, found=error.strerror, expected="a folder with 60 MB of room",
            cure="Free some space or pass another folder.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(discarded, ignore_errors=True)
    return folder


def class_attributes() -> np.ndarray:
    """(n_classes, n_attributes) float64: the share of a species' birds that show an attribute, 0 ... 1."""
    shares = [
        ((1 - VARIATION) * (value == species[trait]) + VARIATION * (value == _other_value(trait, species[trait])))
        for species in SPECIES.values() for trait, values in TRAITS.items() for value in values
    ]
    return np.array(shares).reshape(len(SPECIES), len(ATTRIBUTES))


def _other_value(trait: str, value: str) -> str:
    """What a bird that differs from its species shows instead."""
    values = TRAITS[trait]
    return values[(values.index(value) + 1) % len(values)]


def _individual(species: dict[str, str], random: np.random.RandomState) -> dict[str, str]:
    """The traits of one bird of a species."""
    return {
        trait: _other_value(trait, value) if random.rand() < VARIATION else value for trait, value in species.items()
    }


def _is_same(folder: Path, manifest: dict[str, int]) -> bool:
    """Whether `folder` holds just what `manifest` says; False if it is absent or an older copy of ours."""
    if not folder.exists():
        return False
    if not (folder / "manifest.json").exists():
        raise InputError(
            "not a toy data set of ours", where=folder, found="a folder without manifest.json",
            expected="no folder, or one made by make_toy", cure="Move it away or pass another root.",
        )
    whole = all((folder / file).exists() for file in ("descriptor.mat", "att_splits.mat", "parts.csv"))
    return whole and read_json(folder / "manifest.json") == manifest


def _write_everything(folder: Path, seed: int, images_per_class: int) -> None:
    files, features, shown, boxes = [], [], [], []
    with tqdm(total=len(SPECIES) * images_per_class, desc="toy birds", unit="image", disable=None) as progress:
        for class_number, (name, species) in enumerate(SPECIES.items()):
            (folder / "images" / name).mkdir(parents=True)
            images = []
            for index in range(images_per_class):
                # RandomState, for its stream of numbers never changes with the version of numpy.
                random = np.random.RandomState([seed, class_number, index])
                traits = _individual(species, random)
                bird = render_bird(traits, random)
                files.append(f"images/{name}/{index:04d}.png")
                bird.image.save(folder / files[-1], compress_level=4)
                images.append(bird.image)
                shown.append([value == traits[trait] for trait, values in TRAITS.items() for value in values])
                boxes.extend((files[-1], part, *bird.boxes[part]) for part in PARTS)
                progress.update()
            features.append(pooled_descriptor(images))
    labels = np.repeat(np.arange(1, len(SPECIES) + 1), images_per_class)[:, None]
    _write_mat(folder / "descriptor.mat", {
        "features": np.concatenate(features).T, "labels": labels.astype(np.float64), "image_files": _cells(files),
    })
    shares = class_attributes()
    _write_mat(folder / "att_splits.mat", {
        "att": (shares / np.linalg.norm(shares, axis=1, keepdims=True)).T, "original_att": 100 * shares.T,
        "allclasses_names": _cells(list(SPECIES)), **_splits(labels[:, 0], seed),
    })
    (folder / "attributes.txt").write_text(
        "".join(f"{number} {name}\n" for number, name in enumerate(ATTRIBUTES, start=1)), encoding="utf-8"
    )
    _write_csv(folder / "class_attributes.csv", ["class", *ATTRIBUTES],
               [[name, *(f"{100 * share:g}" for share in row)] for name, row in zip(SPECIES, shares, strict=True)])
    _write_csv(folder / "attribute_parts.csv", ["attribute", "part"], ATTRIBUTE_PARTS.items())
    _write_csv(folder / "image_attributes.csv", ["image", *ATTRIBUTES],
               [[file, *map(int, row)] for file, row in zip(files, shown, strict=True)])
    _write_csv(folder / "parts.csv", ["image", "part", "x0", "y0", "x1", "y1"], boxes)


def _splits(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """1-based columns of sample numbers; every fourth seen class is a validation class."""
    random = np.random.RandomState([seed, len(SPECIES)])
    parts = {key: [] for key in ("train_loc", "val_loc", "test_seen_loc", "test_unseen_loc")}
    seen_classes = [name for name in SPECIES if name not in UNSEEN_CLASSES]
    for class_number, name in enumerate(SPECIES, start=1):
        samples = np.flatnonzero(labels == class_number) + 1
        if name in UNSEEN_CLASSES:
            parts["test_unseen_loc"].extend(samples)
            continue
        samples = random.permutation(samples)
        n_test = round(TEST_SEEN_FRACTION * len(samples))
        parts["test_seen_loc"].extend(samples[:n_test])
        parts["val_loc" if seen_classes.index(name) % 4 == 3 else "train_loc"].extend(samples[n_test:])
    parts["trainval_loc"] = parts["train_loc"] + parts["val_loc"]
    return {key: np.sort(np.array(numbers, dtype=np.float64))[:, None] for key, numbers in parts.items()}


def _cells(strings: list[str]) -> np.ndarray:
    """A column of MATLAB cells with a string each."""
    column = np.empty((len(strings), 1), dtype=object)
    column[:, 0] = strings
    return column


def _write_mat(path: Path, values: dict[str, np.ndarray]) -> None:
    savemat(path, values)
    with open(path, "r+b") as file:  # the header's text holds the time of day; the same data must be the same bytes
        file.write(b"MATLAB 5.0 MAT-file, zsl toy data set".ljust(116))


def _write_csv(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the toy data set.", allow_abbrev=False)
    parser.add_argument("root", type=Path, help="folder of data sets; TOY is made in it")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other birds of the same species")
    parser.add_argument("--images_per_class", type=int, default=60, help="pictures of each species")
    arguments = parser.parse_args()
    print(make_toy(arguments.root, arguments.seed, arguments.images_per_class))


if __name__ == "__main__":
    main()
