"""Draws the project's figures into images/: `python images/draw_figures.py [TOY_DAZLE_RUN]`, from any directory, in seconds.

architecture.png, feedback.png and transformation.png show TF-VAEGAN (Narayan et al., ECCV 2020) as zslab/tfvaegan
computes it, toy_birds.jpg the embedded data set. board.png is drawn from docs/results*.json, attention.jpg is the
upper half of the attention figure of the run folder that is given. The same inputs give the same bytes.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Route
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # a clone that was never installed draws too

from zslab.report import style  # noqa: E402
from zslab.results.names import QUOTABLE  # noqa: E402
from zslab.results.runs import read_runs  # noqa: E402
from zslab.results.table import build_variants  # noqa: E402
from zslab.toy.render import render_bird  # noqa: E402
from zslab.toy.species import SPECIES, UNSEEN_CLASSES  # noqa: E402

DPI = 132
FIGURE_STYLE = style.STYLE | {"text.parse_math": True, "mathtext.fontset": "stix", "font.size": 11}
# One color a network, the same in every figure.
ENCODER, GENERATOR, CRITIC, DECODER, FEEDBACK = style.BLUE, style.GREEN, style.RED, style.PURPLE, style.ORANGE
HEAD, DATA, ATTRIBUTE = "#4b3f9e", style.MUTED, "#7d1f4e"
METHODS = {
    "TF-VAEGAN": style.BLUE,
    "f-VAEGAN-D2": style.SKY,
    "DAZLE": style.GREEN,
    "ALE": "#8a8d1d",
    "f-CLSWGAN": "#7d1f4e",
    "class-normalized MLP": style.PURPLE,
    "ESZSL": style.MUTED,
    "ESZSL, centered": style.INK,
    "prototype regression": style.ORANGE,
}
MARKERS = {False: "o", True: "D"}  # methods, baselines
PANELS = {  # data set and description -> heading
    ("CUB", "att"): "CUB: birds, attributes",
    ("CUB", "sent"): "CUB: birds, sentences",
    ("FLO", "att"): "FLO: flowers, sentences",
    ("CUB114", "att"): "CUB114: birds, attributes",
    ("RADAR", "w2v_300_gzsl"): "RADAR: actions, word vectors",
    ("TOY", "att"): "Toy birds, attributes",
}

Point = tuple[float, float]


class Canvas:
    """A sheet in units of a tenth of an inch, origin at the lower left, with the few marks the figures are made of."""

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(width / 10, height / 10))
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def text(self, x: float, y: float, words: str, size: float = 10.5, color: str = style.INK, **more) -> None:
        """Centred text."""
        centered = {"ha": "center", "va": "center", "zorder": 4}
        self.axes.text(x, y, words, fontsize=size, color=color, **(centered | more))

    def network(
        self, x: float, y: float, name: str, symbol: str, color: str, w: float = 17, h: float = 12, size: float = 13
    ) -> None:
        """A network: a tinted box centered at (x, y) with its name above its symbol."""
        self.box(x, y, w, h, color, fill=0.13, width=1.6)
        self.text(x, y + 2, name, 10.5, color, weight="bold")
        self.text(x, y - 2.3, symbol, size)

    def box(
        self, x: float, y: float, w: float, h: float, color: str, fill: float, width: float = 0, radius: float = 1.4
    ) -> None:
        """A rounded rectangle centered at (x, y); opaque, so that lines end at it."""
        for face in (style.PAPER, (color, fill)):
            self.axes.add_patch(
                FancyBboxPatch(
                    (x - w / 2, y - h / 2),
                    w,
                    h,
                    boxstyle=f"round,pad=0,rounding_size={radius}",
                    linewidth=width,
                    edgecolor=color if width else "none",
                    facecolor=face,
                    zorder=3 if width else 0,
                )
            )

    def vector(self, x: float, y: float, symbol: str, color: str, note: str = "", cells: int = 6) -> None:
        """A feature: a column of cells centered at (x, y), its symbol beneath it."""
        size = 2.0
        for cell in range(cells):
            shade = (0.25, 0.6, 0.4, 0.85, 0.3, 0.7, 0.5, 0.9)[cell % 8]
            self.axes.add_patch(
                Rectangle(
                    (x - size / 2, y + (cell - cells / 2) * size),
                    size,
                    size,
                    facecolor=(color, shade),
                    edgecolor=style.PAPER,
                    linewidth=1,
                )
            )
        self.text(x, y - cells - 1.9, symbol, 14)
        if note:
            self.text(x, y - cells - 4.9, note, 9, style.MUTED)

    def token(self, x: float, y: float, symbol: str, color: str = ATTRIBUTE) -> None:
        """A small disc: an input that enters in several places, or an operation."""
        for face in (style.PAPER, (color, 0.13)):
            self.axes.add_patch(Circle((x, y), 2.1, facecolor=face, edgecolor=color, linewidth=1.3, zorder=3))
        self.text(x, y, symbol, 12.5)

    def loss(self, x: float, y: float, words: str, w: float) -> None:
        """A loss: a white pill."""
        self.box(x, y, w, 6, style.INK, fill=0, width=1.1, radius=3)
        self.text(x, y, words, 10.5)

    def arrow(self, *points: Point, color: str = style.INK, dash: bool = False, head: bool = True) -> None:
        """A line through the points with rounded corners, ending in an arrow head."""
        self.axes.add_patch(
            FancyArrowPatch(
                path=_rounded(points),
                arrowstyle="-|>,head_length=5,head_width=2.6" if head else "-",
                color=color,
                linewidth=1.5,
                linestyle=(0, (3.5, 2)) if dash else "-",
                shrinkA=0,
                shrinkB=0,
                joinstyle="round",
                capstyle="butt",
                mutation_scale=1,
                zorder=2,
            )
        )

    def compared(self, *points: Point) -> None:
        """A dotted line from a value to the loss that uses it."""
        self.axes.add_patch(
            FancyArrowPatch(
                path=_rounded(points), arrowstyle="-", color=style.MUTED, linewidth=1.3, linestyle=(0, (1, 1.6)), zorder=1
            )
        )

    def stop(self, x: float, y: float) -> None:
        """Two bars across a horizontal arrow: no gradient passes."""
        for offset in (-0.7, 0.7):
            self.axes.plot([x + offset] * 2, [y - 2.2, y + 2.2], color=style.RED, linewidth=2.4, solid_capstyle="round")

    def save(self, name: str) -> Path:
        path = HERE / name
        path.write_bytes(style.to_png(self.figure, DPI))
        return path


def _rounded(points: tuple[Point, ...], radius: float = 2.0) -> Route:
    """A path through the points whose corners are quarter-round."""
    vertices, codes = [points[0]], [Route.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before, radius), corner, _towards(corner, after, radius)]
        codes += [Route.LINETO, Route.CURVE3, Route.CURVE3]
    return Route([*vertices, points[-1]], [*codes, Route.LINETO])


def _towards(start: Point, end: Point, distance: float) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = min(1.0, distance / max((dx * dx + dy * dy) ** 0.5, 1e-9))
    return start[0] + share * dx, start[1] + share * dy


def architecture() -> Path:
    """The five networks in training, their losses, and the feedback path."""
    c = Canvas(122, 66)
    lane = 36
    c.vector(5, lane, "$x$", DATA, "real")
    c.network(22, lane, "Encoder", "$E(x, a)$", ENCODER)
    c.vector(38.5, lane, "$z$", ENCODER, cells=4)
    c.network(55, lane, "Generator", r"$G(z, a)$", GENERATOR)
    c.vector(71.5, lane, r"$\hat{x}$", GENERATOR, "synthesized")
    c.network(93, 50, "Critic", "$D(x, a)$", CRITIC)
    c.network(93, 24, "Semantic decoder", r"$\mathrm{Dec}(x)$", DECODER, w=20)
    c.network(55, 9, "Feedback", "$F(h)$", FEEDBACK)

    for start, end in ((6.5, 13.3), (30.7, 37.3), (39.7, 46.3), (63.7, 70.3)):
        c.arrow((start, lane), (end, lane))
    for x, y in ((22, lane + 11), (55, lane + 11), (93, 61)):
        c.token(x, y, "$a$")
        c.arrow((x, y - 2.2), (x, y - 4.8), color=ATTRIBUTE)
    c.arrow((5, lane + 6.3), (5, 58), (79, 58), (79, 52.5), (84.3, 52.5))
    c.arrow((72.7, lane + 2), (79, lane + 2), (79, 47.5), (84.3, 47.5))
    c.arrow((72.7, lane - 2), (79, lane - 2), (79, 24), (82.8, 24))

    # Feedback: the hidden layer of the decoder comes back as an addition to the generator's own hidden layer.
    c.arrow((93, 17.8), (93, 9), (63.8, 9), color=FEEDBACK, dash=True)
    c.text(90.6, 13.5, "$h$", 14)
    c.stop(79, 9)
    c.text(79, 4.6, "no gradient", 9, style.RED)
    c.arrow((55, 15.2), (55, 29.7), color=FEEDBACK, dash=True)
    c.token(55, 22.3, r"$\times\delta$", FEEDBACK)

    c.loss(71.5, 50, r"BCE $(x, \hat{x})$", 13)
    c.compared((71.5, 58), (71.5, 53.2))
    c.compared((71.5, 46.8), (71.5, lane + 6.2))
    c.loss(38.5, 22, r"KL to $\mathcal{N}(0, 1)$", 15.5)
    c.compared((38.5, 28.4), (38.5, 25.2))
    c.loss(112.5, 50, "WGAN-GP", 13)
    c.compared((101.7, 50), (106, 50))
    c.loss(113, 24, r"cycle  $\hat{a} \approx a$", 15)
    c.compared((103.2, 24), (105.5, 24))
    c.text(113, 18.9, r"on $x$ and on $\hat{x}$", 9, style.MUTED)
    c.text(38.5, 16.4, "in synthesis $z$ is noise", 9, style.MUTED)
    c.token(6, 8.5, "$a$")
    c.text(9.4, 8.5, "attributes of the class", 9, style.MUTED, ha="left")
    return c.save("architecture.png")


def feedback() -> Path:
    """The two passes through the generator."""
    c = Canvas(122, 61)
    first, middle, second = 46, 29, 9.5
    c.box(61, 48.5, 120, 23, DATA, fill=0.07)
    c.box(61, 11.5, 120, 21, GENERATOR, fill=0.07)
    title = {"ha": "right", "weight": "bold"}
    c.text(118, 57.3, "First pass: a look at what the generator makes", **title)
    c.text(118, 19.2, "Second pass: what is trained, and what the classifiers learn from", **title)

    for lane in (first, second):
        for offset, symbol, color in ((3, "$z$", ENCODER), (-3, "$a$", ATTRIBUTE)):
            c.token(6, lane + offset, symbol, color)
            c.arrow((8.3, lane + offset), (14.8, lane + offset))
        c.network(22, lane, "layer 1", "$g$", GENERATOR, w=14, h=11)
    c.network(54, first, "layer 2", "sigmoid", GENERATOR, w=14, h=11, size=10.5)
    c.vector(70, first, r"$\hat{x}_0$", GENERATOR)
    c.network(89, first, "Semantic decoder", r"$\mathrm{Dec}(\hat{x}_0)$", DECODER, w=20)
    c.vector(107.5, first, "$h$", DECODER)
    for start, end in ((29.2, 46.8), (61.2, 68.8), (71.2, 78.8), (99.2, 106.3)):
        c.arrow((start, first), (end, first))

    c.arrow((108.7, first), (114.5, first), (114.5, middle), (87.8, middle), color=FEEDBACK)
    c.stop(100, middle)
    c.text(100, middle - 4.4, "no gradient into the decoder\nor the first pass", 9, style.RED, linespacing=1.25)
    c.network(79, middle, "Feedback", "$F(h)$", FEEDBACK, h=11)
    c.arrow((70.3, middle), (38, middle), (38, second + 2.4), color=FEEDBACK)
    c.token(57, middle, r"$\times\delta$", FEEDBACK)
    c.text(57, middle - 4.4, r"$\delta$ is $a_1$ in training, $a_2$ in synthesis", 9, style.MUTED)
    c.text(22, middle, "the same $z$, $a$ and weights", 9, style.MUTED)
    c.compared((22, first - 5.6), (22, middle + 1.6))
    c.compared((22, middle - 1.6), (22, second + 5.6))

    c.token(38, second, "$+$", GENERATOR)
    c.network(58, second, "layer 2", "sigmoid", GENERATOR, w=14, h=11, size=10.5)
    c.vector(75, second + 1, r"$\hat{x}$", GENERATOR, cells=5)
    c.arrow((29.2, second), (35.7, second))
    c.arrow((40.3, second), (50.8, second))
    c.text(45.2, second - 2.6, r"$g + \delta F(h)$", 11)
    c.arrow((65.2, second), (73.8, second))
    c.arrow((76.2, second), (86.8, second))
    c.text(88.5, second, "losses, or the classifiers", ha="left")
    return c.save("feedback.png")


def transformation() -> Path:
    """From any feature to the classifiers' input."""
    c = Canvas(122, 54)
    lane, high, low = 28, 45, 10
    c.vector(9.5, 42, "$x$", DATA, "real, seen classes")
    c.vector(9.5, 19, r"$\hat{x}$", GENERATOR, "synthesized, unseen")
    c.arrow((10.8, 42), (21, 42), (21, lane), (34.3, lane), head=False)
    c.arrow((10.8, 19), (21, 19), (21, lane), (34.3, lane))
    c.network(44.5, lane, "Semantic decoder", r"$\mathrm{Dec}(x)$", DECODER, w=20)
    c.arrow((27.5, lane), (27.5, high), (66.3, high))
    c.arrow((54.7, lane), (66.3, lane))
    c.arrow((44.5, lane - 6.2), (44.5, low), (66.3, low))
    for y, cells, color, symbol, size in (
        (high, 6, DATA, "$x$", "$D$ values"),
        (lane, 4, ATTRIBUTE, r"$\hat{a}$", "$A$ values"),
        (low, 8, DECODER, "$h$", "4096 values"),
    ):
        c.vector(67.5, y, "", color, cells=cells)
        c.text(60.5, y + 2.4, symbol, 14)
        c.text(70, y, size, 9, style.MUTED, ha="left")

    # The bracket is the concatenation.
    c.arrow((80.5, 51.5), (83, 51.5), (83, 2), (80.5, 2), head=False)
    c.text(85, lane, r"$[x,\ \hat{a},\ h]$", 13, ha="left")
    for y, name, classes, data in (
        (41, "ZSL classifier", "softmax, unseen classes", "learns from synthesized features"),
        (15, "GZSL classifier", "softmax, all classes", "learns from real and synthesized features"),
    ):
        c.arrow((83, lane + (4 if y > lane else -4)), (90, lane + (4 if y > lane else -4)), (90, y), (93.8, y))
        c.network(107, y, name, classes, HEAD, w=26, size=9.5)
        c.text(107, y - 8.2, data, 8.5, style.MUTED)
    return c.save("transformation.png")


def board() -> Path:
    """T1 against H of every method on every data set, with 95 % intervals."""
    docs = HERE.parent / "docs"
    every = build_variants(read_runs([docs / name for name in ("results.json", "results-actions.json", "results-dazle.json")]))
    figure = Figure(figsize=(12.2, 8.4), layout="constrained")
    marks = {}
    for axes, ((dataset, description), heading) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
        shown = set[str]()  # baselines are measured on pooled vectors and, beside DAZLE, on those of region files: the first
        for variant in every:
            name = variant.name.removesuffix(", gate")
            here = (variant.data[0], variant.data[2]) == (dataset, description) and "lite" not in variant.data[1]
            if not here or name not in METHODS or name in shown:
                continue
            shown.add(name)
            rule = next(rule for rule in QUOTABLE if variant.summary(rule, "H"))
            t1, h = (variant.summary(rule, measure) for measure in ("T1", "H"))
            half = [100 * summary.half_interval for summary in (t1, h)]
            color, calibrated = METHODS[name], rule == "val + calibration"
            drawn = axes.errorbar(
                *(100 * summary.mean for summary in (t1, h)),
                *reversed(half),
                fmt=MARKERS[variant.is_baseline],
                color=color,
                ms=8,
            )
            drawn.lines[0].set_markerfacecolor(color if calibrated else "white")
            marks.setdefault(name, Line2D([], [], ls="", ms=8, color=color, marker=MARKERS[variant.is_baseline], label=name))
        axes.set_title(heading)
        axes.set_xlabel("T1, %")
        axes.set_ylabel("H, %")
    caption = "Filled: calibrated on validation; open: not calibrated. Bars: 95 % intervals over seeds by Student's t.\n"
    caption += "Other features and smaller networks than the papers': not comparable with published tables."
    figure.supxlabel(caption, fontsize=10)
    figure.legend(handles=[marks[name] for name in METHODS], loc="outside upper center", ncols=5)
    path = HERE / "board.png"
    path.write_bytes(style.to_png(figure, DPI))
    return path


def toy_birds() -> Path:
    """One bird of every unseen toy species and of eight seen ones above them."""
    seen = [name for name in SPECIES if name not in UNSEEN_CLASSES][:8]
    side, gap = 196, 4
    sheet = Image.new("RGB", (8 * (side + gap) - gap, 2 * (side + gap) - gap), "white")
    for row, names in enumerate((seen, UNSEEN_CLASSES)):
        for column, name in enumerate(names):
            bird = render_bird(SPECIES[name], np.random.RandomState(column + 10 * row), size=side)
            sheet.paste(bird.image, (column * (side + gap), row * (side + gap)))
    path = HERE / "toy_birds.jpg"
    sheet.save(path, quality=90)
    return path


def attention(run: Path) -> Path:
    """The upper half of a run's first attention figure."""
    figure = Image.open(run / "plots" / "attention_1.png").convert("RGB")
    path = HERE / "attention.jpg"
    end = figure.height // 2 + 8  # pixels; the last label hangs below the middle
    figure.crop((0, 0, figure.width, end)).save(path, quality=88)
    return path


def main() -> None:
    """Draws everything and prints what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="run folder of DAZLE on the toy birds, for attention.jpg")
    run = parser.parse_args().run
    if run is not None:
        print(attention(run))
    with matplotlib.rc_context(FIGURE_STYLE):
        for draw in (architecture, feedback, transformation, toy_birds, board):
            print(draw())


if __name__ == "__main__":
    main()
