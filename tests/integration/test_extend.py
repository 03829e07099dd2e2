"""The guide for extensions: its method is the example, and each of its commands runs, one after the other."""

import doctest
import re
from pathlib import Path
from string import Template

import numpy as np
import pytest
import scipy.io

from zslab.results.runs import read_runs

from helpers.commands import typed
from helpers.project import PROJECT

GUIDE = PROJECT / "docs" / "extend.md"
TEXT = GUIDE.read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)  # without the code, whose docstring has commands of its own
LINES = PROSE.replace("\\\n", " ").splitlines()
SHORT = dict(re.findall(r'^    ([A-Z]+)="(.*)"$', PROSE, re.MULTILINE))  # what the guide abbreviates
COMMANDS = [Template(line.strip()).substitute(SHORT) for line in LINES if re.match(r"    (zslab|python) ", line)]


def test_the_guide_opens_with_the_example() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code == (PROJECT / "examples" / "ale.py").read_text(encoding="utf-8") and len(code.splitlines()) <= 80
    assert len((PROJECT / "examples" / "clswgan.py").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.slow
def test_the_commands_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("examples", "zero-shot-images"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "runs").mkdir()
    names = [f"bird {k}" for k in range(9)]
    typed(COMMANDS[0], monkeypatch)
    att = scipy.io.loadmat("data/MINE/att_splits.mat")["att"].T
    np.save("vectors.npy", att)
    order = np.random.default_rng(0).permutation(9)
    rows = [",".join([names[k], *map(str, att[k])]) for k in order]  # matched by name
    Path("vectors.csv").write_text("\n".join(["class,a,b,c,d,e", *rows]) + "\n")
    Path("classes.txt").write_text("\n".join(names) + "\n")
    Path("unseen.txt").write_text("bird 2\nbird 5\nbird 7\n")
    Path("words.txt").write_text("bird 1 0 0\n" + "".join(f"{k} {k} 1 2\n" for k in range(9)))
    rng = np.random.default_rng(0)
    np.savez("scores.npz", scores=rng.random((30, 9)), labels=np.arange(30) % 9, unseen=[6, 7, 8])
    for command in COMMANDS[1:]:
        trains = "--method" in command or "run_own" in command
        typed(f"{command} --nepoch 2 --no_report --output runs" if trains else command, monkeypatch)
    own, npy = (scipy.io.loadmat(f"data/MINE/{name}_splits.mat") for name in ("own", "npy"))
    assert np.allclose(own["att"].T, att) and np.allclose(npy["att"].T, att)
    labels = scipy.io.loadmat("data/MINE/features.mat")["labels"].ravel()
    assert set(labels[own["test_unseen_loc"].ravel().astype(int) - 1]) == {3, 6, 8}
    records = read_runs([tmp_path / "runs"])
    assert {record.variant for record in records} == {"ALE", "f-CLSWGAN", "TF-VAEGAN", "my scores"}
    assert len([record for record in records if record.variant == "ALE" and record.config["lr"] == 0.01]) == 2
    assert len([record for record in records if record.config.get("margin") == 0.1]) == 1
    found = doctest.testfile(str(GUIDE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0 and found.attempted >= 8
