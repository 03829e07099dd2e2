"""Every command that works for long, under kills, full disks, rivals, read-only folders, too little memory, closed stdout.

Whatever happens, a command ends in one clear error, what was written before is whole, and repeating the command gives bit
for bit what an uninterrupted run gives. ZSLAB_FAULT_ROUNDS says how many rounds of kills a training gets.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from faults.runner import NONE, TABLE, Command, Ended, Fault, can_mount, contents, difference, remount, small_disk

from zslab.toy.dataset import make_toy

from helpers.project import PROJECT

ROUNDS = int(os.environ.get("ZSLAB_FAULT_ROUNDS", "3"))
SEED = int(os.environ.get("ZSLAB_FAULT_SEED", "0"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
IMAGES, ACTIONS = PROJECT / "zero-shot-images", PROJECT / "zero-shot-actions"
SMALL = ("--nepoch", "3", "--select", "val", "--threads", "1", "--device", "cpu", "--manualSeed", "1", "--resume")
TFVAEGAN = (
    "--batch_size",
    "8",
    "--ngh",
    "24",
    "--ndh",
    "24",
    "--syn_num",
    "10",
    "--classifier_epochs",
    "4",
    "--critic_iter",
    "2",
)
PLENTY = 256 << 20
PAGE = 4096
SPECIES = 10  # of the toy birds, two of them unseen

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks, mounts and limits as Linux does"),
]


class Inputs:
    """What the commands read, made once."""

    def __init__(self, root: Path):
        self.root = root
        toy = make_toy(root, images_per_class=5)
        header, *rows = (toy / "class_attributes.csv").read_text().splitlines()
        self.names = [row.split(",")[0] for row in rows[:SPECIES]]
        self.images, self.table = root / "images", root / "birds.csv"
        for name in self.names:
            shutil.copytree(toy / "images" / name, self.images / name)
        self.table.write_text("\n".join([header, *rows[:SPECIES]]) + "\n")

    @cached_property
    def birds(self) -> Path:
        """A few toy birds as one's own data set: descriptor.mat, feature_map_descriptor.hdf5, att_splits.mat."""
        self._run(own_data(self, self.root))
        return self.root / "BIRDS"

    @cached_property
    def clips(self) -> Path:
        """Action features with two class splits, which the launcher's data set is called after."""
        folder = self.root / "hmdb_i3d"
        folder.mkdir()
        generator = np.random.default_rng(0)
        labels = generator.permutation(np.repeat(np.arange(8), 6))
        features = generator.random((8, 2048))[labels] + 0.1 * generator.random((len(labels), 2048))
        scipy.io.savemat(folder / "i3d.mat", {"features": features.T.astype(np.float32), "labels": labels[:, None] + 1.0})
        np.save(folder / "vectors.npy", generator.normal(size=(8, 5)))
        flags = ["--dataset", folder.name, "--dataroot", str(self.root), "--class_vectors", str(folder / "vectors.npy")]
        self._run([str(ACTIONS / "make_splits.py"), *flags, "--splits", "1-2"])
        return folder

    @cached_property
    def run(self) -> Path:
        """A finished run."""
        self._run(tfvaegan(self, self.root / "runs"))
        return next(path.parent for path in (self.root / "runs").glob("*/result.json"))

    @cached_property
    def sweep(self) -> Path:
        """The folder of a finished sweep over seeds."""
        self._run(seeds(self, self.root / "sweep"))
        return self.root / "sweep"

    def _run(self, arguments: list[str]) -> None:
        ended = Command(arguments, self.root / "output.txt").end()
        assert ended.status == 0, ended


# The commands ---------------------------------------------------------------------------------------------------------


def tfvaegan(inputs: Inputs, folder: Path) -> list[str]:
    data = ["--dataset", inputs.birds.name, "--dataroot", str(inputs.root), "--output", str(folder)]
    return [str(IMAGES / "train_tfvaegan_inductive.py"), *data, "--image_embedding", "descriptor", *SMALL, *TFVAEGAN]


def dazle(inputs: Inputs, folder: Path) -> list[str]:
    data = ["--dataset", inputs.birds.name, "--dataroot", str(inputs.root), "--output", str(folder)]
    maps = ["--image_embedding", "feature_map_descriptor", "--split_file", "att_splits.mat"]
    return [str(IMAGES / "train_dazle.py"), *data, *maps, "--batch_size", "8", *SMALL]


def actions(inputs: Inputs, folder: Path) -> list[str]:
    data = ["--dataset", inputs.clips.name, "--dataroot", str(inputs.root), "--split", "1", "--output", str(folder)]
    gate = ["--gzsl_od", "--ood_epochs", "3", "--ood_hidden", "16", "--no_manual_att"]
    return [str(ACTIONS / "train_tfvaegan.py"), *data, *SMALL, *TFVAEGAN, *gate]


def seeds(inputs: Inputs, folder: Path) -> list[str]:
    flags = tfvaegan(inputs, folder)[1:]
    return [str(IMAGES / "image-scripts" / "run_own_tfvaegan.py"), "--seeds", "1", "2", "--workers", "2", *flags]


def splits(inputs: Inputs, folder: Path) -> list[str]:
    flags = actions(inputs, folder)[1:]
    return [str(ACTIONS / "action-scripts" / "run_hmdb51_tfvaegan.py"), "--splits", "1-2", "--workers", "2", *flags]


def sweep_report(inputs: Inputs, folder: Path) -> list[str]:
    """The same as `seeds` where the runs have finished."""
    if not folder.exists():
        shutil.copytree(inputs.sweep, folder, ignore=shutil.ignore_patterns("*-seeds*", "sweep-output", "tensorboard", "plots"))
    return seeds(inputs, folder)


def extraction(inputs: Inputs, folder: Path) -> list[str]:
    (folder / "BIRDS").mkdir(parents=True, exist_ok=True)
    shutil.copy(inputs.birds / "att_splits.mat", folder / "BIRDS")
    images = ["--images", str(inputs.images), "--image_list", str(inputs.birds / "descriptor.mat"), "--backbone", "descriptor"]
    data = ["--dataset", "BIRDS", "--dataroot", str(folder)]
    return [str(IMAGES / "extract_features.py"), *images, *data, "--batch_size", "5", "--device", "cpu", "--resume"]


def own_data(inputs: Inputs, folder: Path) -> list[str]:
    images = ["--images", str(inputs.images), "--attributes", str(inputs.table), "--unseen", *inputs.names[:2]]
    data = ["--dataroot", str(folder), "--name", "BIRDS", "--backbone", "descriptor", "--write_regions"]
    return [str(IMAGES / "prepare_data.py"), *images, *data, "--batch_size", "5", "--device", "cpu"]


def export(inputs: Inputs, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return [str(PROJECT / "zslab" / "__main__.py"), "export", str(inputs.run), "--output", str(folder / "birds.zsl")]


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        command: (inputs, folder to write to) -> arguments.
        share: of the rounds that it gets.
        done_before: what it says where everything is there already, if that is an error.
    """

    command: Callable[[Inputs, Path], list[str]]
    share: float = 1.0
    done_before: str = ""


CASES = {
    "TF-VAEGAN": Case(tfvaegan),
    "DAZLE": Case(dazle),
    "actions with gate": Case(actions),
    "sweep over seeds": Case(seeds, share=0.2),
    "sweep over splits": Case(splits, share=0.2),
    "report of a sweep": Case(sweep_report),
    "feature extraction": Case(extraction, done_before="must not exist yet"),
    "own data": Case(own_data, done_before="a data set of that name exists"),
    "export": Case(export),
}
ALONE = [name for name in CASES if not name.startswith("sweep over")]  # a sweep's runs are the same commands


@dataclass
class Trial:
    """A case with its inputs, and what an uninterrupted run of it leaves."""

    name: str
    inputs: Inputs
    expected: dict[str, str]
    seconds: float

    def start(self, folder: Path, fault: Fault = NONE) -> Command:
        return Command(CASES[self.name].command(self.inputs, folder), folder.with_suffix(".txt"), fault)

    def problem(self, ended: Ended, folder: Path) -> str:
        """Return what is wrong with a command that should have ended well, or the empty string."""
        finished = CASES[self.name].done_before
        if ended.status != 0 and not (finished and finished in ended.output):
            return f"not finished: {ended}"
        return f"a traceback: {ended}" if ended.is_noisy else difference(self.expected, folder)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def trials(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trial]:
    """Case -> its trial; a case is run once without a fault."""
    known: dict[str, Trial] = {}

    def trial(name: str) -> Trial:
        if name not in known:
            folder = tmp_path_factory.mktemp("expected") / "out"
            arguments = CASES[name].command(inputs, folder)
            started = time.monotonic()
            ended = Command(arguments, folder.with_suffix(".txt")).end()
            assert ended.status == 0 and not ended.is_noisy, ended
            known[name] = Trial(name, inputs, contents(folder), time.monotonic() - started)
        return known[name]

    return trial


# The faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_killed_commands_are_continued_to_the_same_bits(trials, tmp_path: Path, name: str) -> None:
    trial, generator = trials(name), random.Random(f"{SEED} {name}")
    killed, resumed, lost, problems = 0, 0, 0, []
    rounds = max(1, round(ROUNDS * CASES[name].share))
    for number in range(rounds):
        folder, hits = tmp_path / f"round{number}" / "out", 0
        folder.parent.mkdir()
        for _ in range(generator.randint(1, 3)):
            command = trial.start(folder)
            if command.ends_within(generator.uniform(0, trial.seconds)):
                break
            command.kill(generator.choice(SIGNALS), with_children=generator.random() < 0.5)
            ended = command.end()
            hits += 1
            if ended.is_noisy:
                problems.append(f"round {number}: a traceback: {ended}")
        problem = trial.problem(trial.start(folder).end(), folder)
        problems += [f"round {number}: {problem}"] * bool(problem)
        lost += sum(not path.with_name("report.html").exists() for path in folder.rglob("result.json"))
        killed, resumed = killed + hits, resumed + (hits > 0 and not problem)
        if not problem:
            shutil.rmtree(folder.parent)
    columns = {"rounds": rounds, "killed while running": killed, "resumed": resumed}
    TABLE["Kills"].append({"case": name, **columns, "differences": len(problems), "lost reports": lost})
    assert problems == []


@pytest.mark.parametrize("name", ALONE)
def test_a_full_disk_is_one_error_and_spoils_nothing(trials, tmp_path: Path, name: str) -> None:
    """Disks are small from the start, of sizes halved between two that fail at different files, or fill up at some moment.

    The command is repeated, with enough space, after the first failure of each writer.
    """
    trial, generator, problems = trials(name), random.Random(f"{SEED} {name}"), []
    failing: dict[int, str] = {}  # size -> the file that could not be written
    writers: set[str] = set()

    def fails_at(size: int) -> str:
        folder = tmp_path / f"disk{size}" / "out"
        if can_mount():
            with small_disk(folder.parent, size):
                return attempt(folder, NONE, lambda: remount(folder.parent, f"rw,size={PLENTY}"))
        folder.parent.mkdir()
        return attempt(folder, Fault(file_bytes=size), lambda: None)

    def fills_up(number: int) -> None:
        disk = tmp_path / f"filled{number}"

        def fill_up(command: Command) -> None:
            if not command.ends_within(generator.uniform(0, trial.seconds)):
                command.kill(signal.SIGSTOP)
                remount(disk, f"rw,size={max(PAGE, shutil.disk_usage(disk).used)}")
                command.kill(signal.SIGCONT)

        with small_disk(disk, PLENTY):
            attempt(disk / "out", NONE, lambda: remount(disk, f"rw,size={PLENTY}"), fill_up)

    def attempt(
        folder: Path, fault: Fault, give_space: Callable[[], None], meanwhile: Callable[[Command], None] = lambda command: None
    ) -> str:
        output = tmp_path / "output.txt"
        try:
            arguments = CASES[name].command(trial.inputs, folder)
        except OSError:  # not even the inputs fit
            return "nothing"
        command = Command(arguments, output, fault)
        meanwhile(command)
        ended = command.end()
        if ended.status != 0:
            if not ended.is_one_clear_error:
                problems.append(f"{folder.parent.name}: {ended}")
            contents(folder)  # raises where a file is not whole
            if ended.failing_file in writers:
                return ended.failing_file
            writers.add(ended.failing_file)
            give_space()
            again = Command(arguments, output).end()
            problem = trial.problem(again, folder)
            problems.extend([f"{folder.parent.name} after {ended}: {problem}"] * bool(problem))
            return ended.failing_file
        problem = trial.problem(ended, folder)
        problems.extend([f"{folder.parent.name}: {problem}"] * bool(problem))
        return ""

    size = PAGE
    while writer := fails_at(size):
        failing[size] = writer
        size *= 4
    failing[size] = ""
    for _ in range(4 * ROUNDS):
        sizes = sorted(failing)
        gaps = [(b - a, a, b) for a, b in zip(sizes, sizes[1:]) if failing[a] != failing[b] and b - a > PAGE]
        if not gaps:
            break
        _, a, b = max(gaps)
        middle = (a + b) // 2 // PAGE * PAGE
        failing[middle] = fails_at(middle)
    moments = 4 * ROUNDS * can_mount()
    for number in range(moments):
        fills_up(number)
    kind = "Full disks" if can_mount() else "Full disks (limits of file size)"
    row = {
        "case": name,
        "sizes": len(failing),
        "moments": moments,
        "differences": len(problems),
        "files that could not be written": ", ".join(sorted(writers)),
    }
    TABLE[kind].append(row)
    assert problems == []


@pytest.mark.parametrize("name", CASES)
def test_two_processes_in_one_folder(trials, tmp_path: Path, name: str) -> None:
    trial, generator, problems, refused = trials(name), random.Random(f"{SEED} {name}"), [], 0
    rounds = max(1, round(ROUNDS * CASES[name].share / 2))
    for number in range(rounds):
        folder = tmp_path / f"round{number}" / "out"
        folder.parent.mkdir()
        arguments = CASES[name].command(trial.inputs, folder)
        commands = [Command(arguments, folder.with_name("first.txt"))]
        time.sleep(generator.uniform(0, trial.seconds) if number else 0.0)
        commands.append(Command(arguments, folder.with_name("second.txt")))
        both = [command.end() for command in commands]
        failed = [ended for ended in both if ended.status != 0]
        refused += len(failed)
        if len(failed) == 2 or not all(ended.is_one_clear_error for ended in failed):
            problems.append(f"round {number}: {' / '.join(map(str, both))}")
        if wrong := difference(trial.expected, folder):
            problems.append(f"round {number}: {wrong}: {' / '.join(map(str, both))}")
    TABLE["Two processes"].append({"case": name, "rounds": rounds, "refused": refused, "differences": len(problems)})
    assert problems == []


@pytest.mark.parametrize("name", ALONE)
def test_a_read_only_folder_is_one_error(trials, tmp_path: Path, name: str) -> None:
    trial, problems = trials(name), []
    for share in (0.0, 0.5):
        disk = tmp_path / f"disk{share}"
        with small_disk(disk, PLENTY):
            folder = disk / "out"
            arguments = CASES[name].command(trial.inputs, folder)
            if share:
                command = Command(arguments, tmp_path / "output.txt")
                if not command.ends_within(share * trial.seconds):
                    command.kill(signal.SIGKILL)
                command.end()
            remount(disk, "ro")
            ended = Command(arguments, tmp_path / "output.txt").end()
            if not ended.is_one_clear_error and (ended.status, share) != (0, 0.5):
                problems.append(f"after {share} of the time: {ended}")
            remount(disk, "rw")
            problem = trial.problem(Command(arguments, tmp_path / "output.txt").end(), folder)
            problems += [f"after {share} of the time and {ended}: {problem}"] * bool(problem)
    TABLE["Read-only folders"].append({"case": name, "rounds": 2, "differences": len(problems)})
    assert problems == []


@pytest.mark.parametrize("name", ALONE)
def test_too_little_memory_is_one_error(trials, tmp_path: Path, name: str) -> None:
    trial, problems, refused = trials(name), [], 0
    limits = [4**power << 20 for power in range(6)]
    for limit in limits:
        folder = tmp_path / f"{limit >> 20}MiB" / "out"
        folder.parent.mkdir()
        ended = trial.start(folder, Fault(memory=limit)).end()
        refused += ended.status != 0
        by_the_c_library = "cannot allocate memory for thread-local data" in ended.output and not ended.is_noisy
        if ended.status != 0 and not ended.is_one_clear_error and not by_the_c_library:
            problems.append(f"{limit >> 20} MiB: {ended}")
        contents(folder)  # raises where a file is not whole
        problem = trial.problem(trial.start(folder).end() if ended.status else ended, folder)
        problems += [f"{limit >> 20} MiB, then {problem}"] * bool(problem)
    TABLE["Too little memory"].append({"case": name, "limits": len(limits), "refused": refused, "differences": len(problems)})
    assert problems == []


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stdout", ["closed", "reader gone"])
def test_nobody_reads_the_output(trials, tmp_path: Path, name: str, stdout: str) -> None:
    trial = trials(name)
    ended = trial.start(tmp_path / "out", Fault(stdout=stdout)).end()
    problem = trial.problem(ended, tmp_path / "out")
    TABLE["Standard output"].append({"case": name, "stdout": stdout, "status": ended.status, "differences": int(bool(problem))})
    assert not problem
