"""Toy birds as images: vector drawings with varied pose, plumage, light, background and clutter.

Since we draw the birds, we know where each part is; real data sets tell that only roughly.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from zslab.toy.species import PARTS

Color = tuple[int, int, int]  # red, green, blue in 0 ... 255

IMAGE_SIZE = 112  # pixels; sixteen to a cell of the 7 x 7 grid
SUPERSAMPLING = 3  # images are drawn this much larger and averaged down, which is all the antialiasing there is
REST = "rest"  # face and outline: they belong to the bird, but to none of the parts

PALETTE = {
    "red": (206, 52, 48), "orange": (243, 142, 44), "yellow": (249, 209, 72), "green": (84, 156, 84), "blue": (62, 118, 200),
    "brown": (138, 90, 58), "black": (48, 46, 56), "white": (246, 243, 234), "grey": (142, 148, 160), "pink": (238, 150, 166),
}  # fmt: skip
CHEEK = (250, 226, 196)
# Where the bird sits: sky above, sky below, and the colors of what grows there.
SCENES = (
    ((176, 214, 240), (232, 244, 248), ((122, 170, 110), (94, 148, 98), (164, 196, 120))),
    ((250, 214, 180), (252, 238, 214), ((206, 140, 92), (186, 112, 84), (226, 176, 110))),
    ((190, 226, 206), (236, 246, 226), ((90, 150, 104), (128, 178, 116), (70, 124, 92))),
    ((206, 204, 234), (244, 232, 240), ((148, 136, 186), (190, 150, 186), (122, 150, 160))),
    ((196, 206, 214), (230, 232, 230), ((140, 150, 136), (168, 162, 140), (116, 132, 126))),
    ((128, 176, 214), (206, 228, 232), ((78, 132, 120), (106, 158, 124), (222, 196, 116))),
)
BERRIES = ("red", "orange", "yellow", "blue", "pink", "white")


def _points(text: str) -> np.ndarray:
    """Return the points (n, 2) of an outline written as "x y, x y"."""
    return np.array([[float(number) for number in point.split()] for point in text.split(",")])


# Outlines in bird coordinates: the middle of the body at (0, 0), x forwards, y down; a bird is about 2 units long. Most are
# drawn as smooth curves through these points; bill, crest and pointed tail keep their corners.
BODY = _points(
    "0.46 -0.36, 0.2 -0.46, -0.12 -0.24, -0.42 0.02, -0.62 0.24, -0.5 0.36, -0.2 0.5, 0.14 0.52, 0.42 0.34, 0.58 0.06, 0.6 -0.2"
)
HEAD = _points("0.68 -0.4, 0.64 -0.58, 0.5 -0.7, 0.32 -0.7, 0.17 -0.58, 0.14 -0.38, 0.26 -0.22, 0.44 -0.15, 0.61 -0.22")
BREAST = _points("0.7 -0.24, 0.7 0.1, 0.46 0.42, 0.22 0.4, 0.12 0.16, 0.16 -0.06, 0.34 -0.19")
BELLY = _points("0.46 0.3, 0.4 0.6, 0 0.7, -0.4 0.6, -0.66 0.4, -0.56 0.23, -0.2 0.22, 0.1 0.16")
CHEEK_SHAPE = _points("0.72 -0.3, 0.68 -0.47, 0.52 -0.49, 0.36 -0.45, 0.3 -0.34, 0.36 -0.24, 0.5 -0.17, 0.66 -0.18")
CROWN = _points("0.74 -0.5, 0.7 -0.72, 0.46 -0.84, 0.22 -0.8, 0.08 -0.6, 0.14 -0.44, 0.26 -0.46, 0.4 -0.5, 0.58 -0.5")
CREST = _points("0.6 -0.6, 0.5 -0.76, 0.3 -0.9, 0.06 -0.99, 0.14 -0.88, 0 -0.86, 0.11 -0.77, 0.02 -0.7, 0.16 -0.62, 0.3 -0.56")
WING = _points(
    "0.24 -0.16, 0.3 0.02, 0.22 0.2, 0.02 0.32, -0.26 0.38, -0.5 0.42, -0.72 0.48, -0.6 0.3, -0.44 0.1, -0.24 -0.12, 0.04 -0.24"
)
BILLS = {
    "cone": _points("0.6 -0.57, 0.78 -0.52, 1 -0.36, 0.78 -0.26, 0.6 -0.23"),
    "hooked": _points("0.6 -0.55, 0.78 -0.58, 0.95 -0.48, 1.01 -0.32, 0.97 -0.1, 0.88 -0.24, 0.79 -0.29, 0.6 -0.25"),
    "long": _points("0.6 -0.52, 0.84 -0.48, 1.24 -0.36, 0.84 -0.32, 0.6 -0.28"),
}
# Lines from the shoulder towards the tip.
FEATHERS = [
    _points(line) for line in ("-0.1 0, -0.59 0.39", "-0.04 0.1, -0.46 0.38", "0.03 0.18, -0.28 0.36", "-0.18 -0.08, -0.66 0.4")
]
FOOT_LEVEL = 0.78  # y of the branch under the feet


@dataclass(frozen=True)
class Bird:
    """One rendered bird."""

    image: Image.Image  #: RGB, size x size
    part_map: np.ndarray  #: (size, size) uint8; 0 background, 1 + place in PARTS, or 1 + len(PARTS) for face and outline
    boxes: dict[str, tuple[int, int, int, int]]  #: part -> (x0, y0, x1, y1) in pixels, x1 and y1 exclusive, of what is visible


def render_bird(traits: dict[str, str], random: np.random.RandomState, *, size: int = IMAGE_SIZE, jitter: float = 1.0) -> Bird:
    """Draw one bird.

    Args:
        traits: trait -> value, for every trait of TRAITS.
        random: source of pose, light and background.
        size: edge of the square image in pixels; the drawing scales with it.
        jitter: 0 gives the same pose and the palette's own colors on a plain background, 1 the full variety.
    """
    canvas = _Canvas(random, size, jitter)
    _draw_background(canvas)
    _draw_bird(canvas, traits)
    return canvas.finish()


class _Canvas:
    """An enlarged image and, drawn by the same strokes, a map of the visible parts; with the pose of the bird."""

    def __init__(self, random: np.random.RandomState, size: int, jitter: float):
        self.random, self.size, self.jitter = random, size, jitter
        flip = -1.0 if jitter and random.rand() < 0.5 else 1.0
        angle = self.wobble(0.2)
        self.scale = 0.415 * (1 + self.wobble(0.12))  # unit in frame edges
        edge = size * SUPERSAMPLING
        self.offset = edge * np.array([0.5 + self.wobble(0.05), 0.5 + self.wobble(0.05)])
        self.image, self.parts = Image.new("RGB", (edge, edge)), Image.new("L", (edge, edge))
        cosine, sine = np.cos(angle), np.sin(angle)
        # The bird is tilted first and mirrored after, so that a mirrored bird leans the mirrored way.
        self.matrix = self.scale * edge * np.array([[flip, 0], [0, 1]]) @ [[cosine, -sine], [sine, cosine]]

    def wobble(self, width: float) -> float:
        """Draw a number in ±width, 0 without jitter."""
        return self.jitter * width * self.random.uniform(-1, 1)

    def tint(self, color: Color, width: float = 1.0) -> Color:
        """Return the color slightly lighter or darker and with a slightly different hue."""
        gain = 1 + self.wobble(0.10 * width)
        return _clip_color([channel * gain + self.wobble(12 * width) for channel in color])

    def place(self, points: ArrayLike) -> list[tuple[float, float]]:
        """Convert bird coordinates (n, 2) to pixels of the enlarged image."""
        return [tuple(point) for point in (np.asarray(points) @ self.matrix.T + self.offset).tolist()]

    def pen(self, width: float) -> int:
        """Convert a width in bird units to whole pixels of the enlarged image."""
        return max(1, round(width * self.scale * self.size * SUPERSAMPLING))

    def mask(self, points: ArrayLike) -> Image.Image:
        """Return the inside of a polygon (n, 2) as an 8-bit mask."""
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon(self.place(points), fill=255)
        return mask

    def paste(self, mask: Image.Image, color: Color, part: str | None) -> None:
        """Color the inside of a mask. With a part it belongs to the bird, otherwise to the background."""
        box = mask.getbbox()
        if box is None:
            return
        mask = mask.crop(box)  # pasting is where the time goes
        self.image.paste(color, box, mask)
        if part is not None:
            self.parts.paste(_part_number(part), box, mask)

    def shape(self, points: ArrayLike, color: Color, part: str | None, outline: float = 0.02) -> None:
        """Draw a filled polygon (n, 2) with an outline in a darker color."""
        pixels = self.place(points)
        draw = ImageDraw.Draw(self.image)
        draw.polygon(pixels, fill=color)
        draw.line([*pixels, *pixels[:2]], fill=_darker(color), width=self.pen(outline))
        if part is not None:
            ImageDraw.Draw(self.parts).polygon(pixels, fill=_part_number(part))

    def stroke(self, points: ArrayLike, color: Color, width: float, part: str | None) -> None:
        """Draw an open line through points (n, 2)."""
        pixels, pen = self.place(points), self.pen(width)
        joint = "curve" if len(pixels) == 3 else None  # only a sharp bend shows a gap, and filling it takes time
        ImageDraw.Draw(self.image).line(pixels, fill=color, width=pen, joint=joint)
        if part is not None:
            ImageDraw.Draw(self.parts).line(pixels, fill=_part_number(part), width=pen, joint=joint)

    def dot(self, centre: ArrayLike, radius: float, color: Color, part: str | None) -> None:
        """Draw a filled circle."""
        (place,), reach = self.place(np.asarray(centre)[None]), self.pen(radius)
        _circle(ImageDraw.Draw(self.image), place, reach, color)
        if part is not None:
            _circle(ImageDraw.Draw(self.parts), place, reach, _part_number(part))

    def finish(self) -> Bird:
        """Scale down, shade the body, vary the light, and measure the boxes of the parts."""
        pixels = np.asarray(self.image.reduce(SUPERSAMPLING), dtype=np.float32)
        inside = self.parts.point(lambda number: 255 if number else 0).reduce(SUPERSAMPLING)
        # A blurred silhouette rises towards the middle of the body: its slope is how far the surface turns to the sky.
        height = np.asarray(inside.filter(ImageFilter.GaussianBlur(self.size * 0.06)), dtype=np.float32) / 255
        slope = np.gradient(height, axis=0) * self.size / 7
        pixels *= 1 + (0.32 * np.clip(slope, -0.5, 0.7) * np.asarray(inside, dtype=np.float32) / 255)[..., None]
        if self.jitter:
            pixels *= _daylight(self.size, self.random, self.jitter)
        part_map = np.asarray(self.parts)[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING]
        image = Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
        boxes = {part: Image.fromarray(part_map == _part_number(part)).getbbox() for part in PARTS}
        return Bird(image, part_map, {part: box for part, box in boxes.items() if box})  # the jitter hides no part


def _daylight(size: int, random: np.random.RandomState, jitter: float) -> np.ndarray:
    """Return factors (size, size, 3): exposure, a color cast, a brighter side, and smooth blotches of color."""
    cast = 1 + jitter * (random.uniform(-0.12, 0.10) + random.uniform(-0.05, 0.05, size=3))
    blotches = random.uniform(-1, 1, size=(5, 5, 3)).astype(np.float32)
    channels = [Image.fromarray(blotches[..., channel]).resize((size, size), Image.Resampling.BICUBIC) for channel in range(3)]
    smooth = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    side = np.linspace(-1, 1, size)[None, :, None] * random.uniform(-0.08, 0.08) * jitter
    return (cast + 0.06 * jitter * smooth + side).astype(np.float32)


def _draw_background(canvas: _Canvas) -> None:
    """Draw the sky, blurred foliage, and the branch with leaves and berries."""
    random, edge, size = canvas.random, canvas.image.size[0], canvas.size
    sky_top, sky_bottom, foliage = SCENES[random.randint(len(SCENES)) if canvas.jitter else 0]
    ramp = np.linspace(0, 1, size)[:, None, None]
    sky = (1 - ramp) * np.array(sky_top) + ramp * np.array(sky_bottom)
    backdrop = Image.fromarray(np.broadcast_to(sky, (size, size, 3)).astype(np.uint8))
    if not canvas.jitter:
        canvas.image.paste(backdrop.resize((edge, edge), Image.Resampling.BILINEAR))
        return
    draw = ImageDraw.Draw(backdrop)
    for _ in range(random.randint(8, 20)):
        x, y, radius = random.uniform(0, size), size * random.beta(2.0, 1.3), size * random.uniform(0.04, 0.2)
        _circle(draw, (x, y), radius, canvas.tint(foliage[random.randint(len(foliage))], 1.6))
    for _ in range(random.randint(0, 4)):  # flowers far away
        centre, radius = random.uniform(0, size, 2), size * random.uniform(0.02, 0.06)
        _circle(draw, centre, radius, PALETTE[BERRIES[random.randint(len(BERRIES))]])
    backdrop = backdrop.filter(ImageFilter.GaussianBlur(size * random.uniform(0.012, 0.035)))
    canvas.image.paste(backdrop.resize((edge, edge), Image.Resampling.BILINEAR))

    bark = canvas.tint((128, 98, 76), 1.5)
    tilt, sag = canvas.wobble(0.16), canvas.wobble(0.12)
    along = np.linspace(-1.9, 1.9, 24)
    # The branch passes under the feet whatever its tilt.
    branch = np.stack([along, FOOT_LEVEL + 0.05 + tilt * along + sag * along**2], axis=1)
    leaf_color = ((104, 158, 84), (140, 176, 84), (78, 136, 96), (206, 160, 70))[random.randint(4)]
    for _ in range(random.randint(3, 8)):
        stem = branch[random.randint(len(branch))]
        if abs(stem[0]) < 0.3:  # the feet need room
            continue
        angle, length, color = random.uniform(0, 2 * np.pi), random.uniform(0.22, 0.42), canvas.tint(leaf_color, 1.5)
        blade = [(0, 0), (0.3, -0.2), (0.7, -0.17), (1, 0), (0.7, 0.17), (0.3, 0.2)]
        canvas.shape(stem + length * _turn(_curve(blade), angle), color, None)
        canvas.stroke(stem + length * _turn([(0, 0), (0.85, 0)], angle), _darker(color), 0.012, None)
    canvas.stroke(branch, _darker(bark), 0.105, None)
    canvas.stroke(branch, bark, 0.08, None)
    canvas.stroke(branch - [0, 0.018], _lighter(bark), 0.02, None)
    for _ in range(random.randint(0, 4)):
        stem = branch[random.randint(len(branch))]
        color = canvas.tint(PALETTE[BERRIES[random.randint(len(BERRIES))]])
        centre, radius = stem + random.uniform(-0.1, 0.1, 2) + [0, 0.12], random.uniform(0.045, 0.08)
        canvas.stroke([stem, centre], _darker(bark), 0.018, None)
        canvas.dot(centre, radius + 0.01, _darker(color), None)
        canvas.dot(centre, radius, color, None)
        canvas.dot(centre - radius * 0.35, radius * 0.25, _lighter(color), None)


def _draw_bird(canvas: _Canvas, traits: dict[str, str]) -> None:
    """Draw tail, legs, body with belly and breast, head and wing, from back to front."""
    colors = {part: canvas.tint(PALETTE[traits[f"{part}_color"]]) for part in PARTS}
    fat, nod = 1 + canvas.wobble(0.07), np.array([canvas.wobble(0.04), canvas.wobble(0.04)])
    _draw_tail(canvas, traits["tail_shape"], colors["tail"], canvas.wobble(0.24))
    _draw_legs(canvas, colors["leg"], canvas.wobble(0.05))

    body = _curve(BODY * [1, fat]).copy()
    head_mask = canvas.mask(_curve(HEAD + nod))
    body_mask = ImageChops.lighter(canvas.mask(body), head_mask)
    ink = _darker(colors["back"])
    for outline in (body, _curve(HEAD + nod)):
        canvas.stroke(np.concatenate([outline, outline[:2]]), ink, 0.045, REST)
    canvas.paste(body_mask, colors["back"], "back")
    belly_mask = ImageChops.multiply(body_mask, canvas.mask(_curve(BELLY * [1, fat])))
    canvas.paste(belly_mask, colors["belly"], "belly")
    breast_mask = ImageChops.multiply(body_mask, canvas.mask(_curve(BREAST * [1, fat] + nod / 3)))
    canvas.paste(breast_mask, colors["breast"], "breast")
    _draw_breast_pattern(canvas, traits["breast_pattern"], colors["breast"], breast_mask)

    _draw_head(canvas, traits, colors, head_mask, nod)
    _draw_wing(canvas, traits["wing_pattern"], colors["wing"], canvas.wobble(0.16))


def _draw_head(
    canvas: _Canvas, traits: dict[str, str], colors: dict[str, Color], head_mask: Image.Image, nod: np.ndarray
) -> None:
    # The cheek carries no attribute: the same cream on every bird keeps back and breast colors off the face.
    cheek_mask = ImageChops.multiply(head_mask, canvas.mask(_curve(CHEEK_SHAPE + nod)))
    canvas.paste(cheek_mask, canvas.tint(CHEEK), REST)
    if traits["crown_shape"] == "crested":
        crest = CREST + nod + [canvas.wobble(0.03), 0]
        canvas.shape(crest, colors["crown"], "crown", outline=0.025)
    crown_mask = ImageChops.multiply(head_mask, canvas.mask(_curve(CROWN + nod)))
    canvas.paste(crown_mask, colors["crown"], "crown")

    bill_angle = canvas.wobble(0.10)
    base = np.array([0.62, -0.40]) + nod
    bill = _turn(BILLS[traits["bill_shape"]] + nod - base, bill_angle) + base
    canvas.shape(bill, colors["bill"], "bill", outline=0.022)
    mouth = np.array([bill[0] * 0.35 + bill[-1] * 0.65, bill[2] * 0.6 + bill[-2] * 0.4])
    canvas.stroke(mouth, _darker(colors["bill"]), 0.014, "bill")

    eye = np.array([0.50, -0.43]) + nod
    canvas.dot(eye + [0.02, 0.13], 0.045, (246, 190, 170), REST)
    canvas.dot(eye, 0.072, (255, 255, 250), REST)
    canvas.dot(eye + [0.008, 0.0], 0.056, (36, 30, 34), REST)
    canvas.dot(eye + [0.026, -0.022], 0.02, (255, 255, 255), REST)


def _draw_breast_pattern(canvas: _Canvas, pattern: str, color: Color, breast_mask: Image.Image) -> None:
    marks = Image.new("L", canvas.image.size)
    draw = ImageDraw.Draw(marks)
    shift = canvas.wobble(0.03)
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
                _circle(draw, canvas.place(spot[None])[0], reach, 255)
    canvas.paste(ImageChops.multiply(marks, breast_mask), _darker(color, 0.42), "breast")


def _draw_wing(canvas: _Canvas, pattern: str, color: Color, lift: float) -> None:
    shoulder = np.array([0.16, -0.08])
    outline = _turn(_curve(WING) - shoulder, lift) + shoulder
    canvas.shape(outline, color, "wing", outline=0.028)
    mask, ink = canvas.mask(outline), _darker(color)
    marks = Image.new("L", canvas.image.size)
    draw = ImageDraw.Draw(marks)
    for start, end in FEATHERS:
        line = _turn(_curve([start, (start + end) / 2 + [-0.03, 0.05], end], closed=False) - shoulder, lift)
        draw.line(canvas.place(line + shoulder), fill=255, width=canvas.pen(0.02))
    canvas.paste(ImageChops.multiply(marks, mask), ink, "wing")
    if pattern == "barred":
        bars = Image.new("L", canvas.image.size)
        draw = ImageDraw.Draw(bars)
        for x in (-0.30, -0.02):
            bar = _turn(_curve([(x + 0.06, -0.30), (x - 0.04, 0.05), (x + 0.06, 0.50)], closed=False) - shoulder, lift)
            draw.line(canvas.place(bar + shoulder), fill=255, width=canvas.pen(0.06))
        pale = (250, 246, 236)
        canvas.paste(ImageChops.multiply(bars, mask), pale, "wing")


def _draw_tail(canvas: _Canvas, shape: str, color: Color, angle: float) -> None:
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
        canvas.shape(rump + _turn(feather, np.pi - 0.12 + angle), color, "tail", outline=0.024)
    if shape == "pointed":
        canvas.stroke(rump + _turn([(0.0, 0.0), (0.6, 0.0)], np.pi - 0.12 + angle), _darker(color), 0.02, "tail")


def _draw_legs(canvas: _Canvas, color: Color, shift: float) -> None:
    for hip, foot in ((-0.02, 0.02 + shift), (0.22, 0.30 + shift)):
        ankle = np.array([foot, FOOT_LEVEL - 0.02])
        lines = [np.array([(hip, 0.42), ((hip + foot) / 2 - 0.04, 0.60), ankle])]
        lines += [np.array([ankle, ankle + toe]) for toe in ((-0.12, 0.08), (0.03, 0.11), (0.15, 0.07))]
        for width, ink in ((0.115, _darker(color)), (0.085, color)):
            for line in lines:
                canvas.stroke(line, ink, width, "leg")
                canvas.dot(line[-1], width / 2, ink, "leg")


def _circle(draw: ImageDraw.ImageDraw, centre: Any, radius: float, color: Color | int) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _part_number(part: str) -> int:
    return len(PARTS) + 1 if part == REST else PARTS.index(part) + 1


def _clip_color(channels: list[float]) -> Color:
    red, green, blue = (int(min(255, max(0, round(channel)))) for channel in channels)
    return red, green, blue


def _darker(color: Color, factor: float = 0.62) -> Color:
    return _clip_color([channel * factor for channel in color])


def _lighter(color: Color) -> Color:
    return _clip_color([channel * 0.6 + 255 * 0.4 for channel in color])


def _turn(points: ArrayLike, angle: float) -> np.ndarray:
    """Rotate points (n, 2) about the origin by `angle` radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turned: np.ndarray = np.asarray(points) @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def _curve(points: ArrayLike, closed: bool = True) -> np.ndarray:
    """Return a smooth line through points (n, 2): a Catmull-Rom spline of six points a segment."""
    points = np.asarray(points, dtype=float)
    number = np.arange(len(points) if closed else len(points) - 1)[:, None] + [-1, 0, 1, 2]
    number = number % len(points) if closed else np.clip(number, 0, len(points) - 1)
    t = np.linspace(0, 1, 6, endpoint=False)[:, None]
    weights = np.concatenate([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1)
    line = (weights @ points[number] / 2).reshape(-1, 2)
    return line if closed else np.concatenate([line, points[-1:]])
