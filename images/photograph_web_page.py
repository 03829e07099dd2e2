"""Photographs the web page with a model and one of the example birds, for the README: `images/web_page.jpg`.

    python images/photograph_web_page.py toy_dazle.zsl --examples FOLDER

The model comes from `zero-shot-images/image-scripts/run_toy_dazle.py` and `zslab export RUN`. Needs the extra
`web`, playwright, and a Chromium that it finds or that is on the path.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from zslab.app.predictor import Predictor
from zslab.app.web import serving

WIDTH, HEIGHT = 1280, 1000


def photograph(model: Path, output: Path, examples: Path, example: int, port: int) -> None:
    """Writes the page as it looks after the example image was chosen."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with serving(Predictor.load(model), port=port, examples=examples) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.set_default_timeout(300_000)
        page.goto(url)
        page.get_by_role("button", name="Thumbnail").nth(example).click()
        page.get_by_text("Most probable classes").wait_for()
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        page.wait_for_timeout(3000)  # what fades in has faded in
        page.screenshot(path=output, type="jpeg", quality=82, full_page=True)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "web_page.jpg")
    parser.add_argument("--examples", type=Path, required=True, help="folder of images that the page offers")
    parser.add_argument("--example", type=int, default=0, help="which of the example images, from 0")
    parser.add_argument("--port", type=int, default=7860)
    own = parser.parse_args()
    photograph(own.model, own.output, own.examples, own.example, own.port)
