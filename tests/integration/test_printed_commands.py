"""The commands that `zslab prepare`, `zslab learn` and a run print are typed as they stand, in a folder of a new user."""

import html
import re

import numpy as np
import pytest
from PIL import Image

from helpers.commands import typed

ROWS = {"Red bird": "1,0,0", "Blue bird": "0,1,0", "Green bird": "0,0,1", "Grey": "1,1,1", "Violet": "1,1,0"}
SMALL = {"tfvaegan": "--nepoch 1 --ngh 16 --ndh 16 --syn_num 8", "dazle": "--nepoch 1 --dim_v 8"}


@pytest.mark.slow
@pytest.mark.parametrize("unseen", ["", "--unseen Grey"])
def test_printed_commands_run_as_they_are(tmp_path, monkeypatch, capsys, unseen: str) -> None:
    rng = np.random.default_rng(0)
    for name in list(ROWS)[:4]:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            image = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            image.save(tmp_path / "photos" / name / f"{i}.png")
    image.save(tmp_path / "photo.jpg")
    lines = "".join(f"{name},{row}\n" for name, row in ROWS.items())
    (tmp_path / "birds.csv").write_text("class,red,blue,green\n" + lines)

    def printed_by(command: str) -> str:
        capsys.readouterr()
        typed(command, monkeypatch)
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()  # or a folder of that name in the project would be taken
    monkeypatch.setattr("zslab.report.plots.plot.to_png", lambda figure: b"")  # of the reports the text is read
    sources = f"--images photos --attributes birds.csv --backbone descriptor {unseen}"
    learned = printed_by(f"zslab learn {sources} --dataroot learned --output birds.zsl")
    assert re.search("red|blue|green|grey|violet", printed_by(learned.splitlines()[-1].strip()), re.IGNORECASE)
    printed = printed_by(f"zslab prepare {sources} --name OWN --dataroot data --write_regions")
    *trainings, export, predict = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    assert len(trainings) == len(SMALL)
    for training, small in zip(trainings, SMALL.values()):
        of_run = printed_by(f"{training} {small} --device cpu --output runs")
        assert unseen or "validation" in of_run  # without photos of unseen classes a run measures by validation
        (own_export,) = re.findall(r"Model file: (zslab export (\S+) .*)", of_run)
        printed_by(own_export[0])
        printed_by(export.replace("RUN_FOLDER", own_export[1]))
        assert "photo.jpg" in printed_by(predict)
        report = (tmp_path / own_export[1] / "report.html").read_text(encoding="utf-8")
        assert own_export[0].replace(own_export[1], str(tmp_path / own_export[1]), 1) in html.unescape(report)
