"""Unseen classes that a backbone's pretraining contains: what matches with what, and T1 with and without them."""

import numpy as np
import pytest

from zslab import cli
from zslab.errors import InputError
from zslab.features.pretraining import Match, find_matches, pretraining_classes
from zslab.report.leakage import group_accuracies

from helpers.finished_run import write_finished_run
from helpers.project import SHARED_DATA

PRETRAINING = [
    ["killer whale", "killer", "orca", "Orcinus orca"],
    ["albatross", "mollymawk"],
    ["barn"],
    ["riding or walking with horse"],
    ["push up"],
    ["punching bag"],
    ["skiing (not slalom or crosscountry)"],
    ["timber wolf", "gray wolf"],
    ["African elephant"],
    ["red-breasted merganser", "Mergus serrator"],
]


@pytest.mark.parametrize(
    "name,pretrained,same",
    [
        ("killer+whale", "killer whale", True),
        ("Orca", "orca", True),
        ("Red_breasted_Merganser", "red-breasted merganser", True),
        ("Pushups", "push up", True),
        ("Skiing", "skiing (not slalom or crosscountry)", True),
        ("Laysan_Albatross", "albatross", False),
        ("HorseRiding", "riding or walking with horse", False),
        ("Punch", "punching bag", False),
        ("wolf", "gray wolf", False),
        ("elephant", "African elephant", False),
    ],
)
def test_what_matches_with_what(name, pretrained, same) -> None:
    assert find_matches([name, "Barn_Swallow", "blue+whale", "elephant seal", ""], PRETRAINING) == {
        name: Match(name, pretrained, same)
    }


def test_numbers_are_part_of_a_name_unless_all_have_one() -> None:
    assert set(find_matches(["class 1", "class 12"], [["class 1"]])) == {"class 1"}
    numbered = find_matches(["001.Orca", "002.Laysan_Albatross", "003.Gull"], PRETRAINING)
    assert {name: match.same for name, match in numbered.items()} == {"001.Orca": True, "002.Laysan_Albatross": False}


def test_accuracies_of_the_groups() -> None:
    recall, kinds = np.array([0.25, 1, 0.75, 0.25, np.nan]), [None, True, None, False, None]
    assert group_accuracies(recall, kinds) == "all 56.2 (4), clean 50.0 (2), related 25.0 (1), same 100.0 (1)"
    assert group_accuracies(recall, [None] * 5).endswith("clean 56.2 (4), related – (0), same – (0)")


def test_lists_of_pretrainings(tmp_path) -> None:
    (tmp_path / "list.txt").write_text("killer whale, orca\nalbatross\n")
    assert pretraining_classes(str(tmp_path / "list.txt")) == [["killer whale", "orca"], ["albatross"]]
    with pytest.raises(InputError, match="imagenet"):
        pretraining_classes("imagenet")
    pytest.importorskip("timm", reason="the extra images is not installed")
    assert len(pretraining_classes("imagenet1k")) == 1000 and pretraining_classes("imagenet1k")[127][0] == "white stork"


def test_kinetics() -> None:
    pytest.importorskip("torchvision", reason="the extra images is not installed")
    names = pretraining_classes("kinetics400")
    assert len(names) == 400 and ["archery"] in names


def counts(names: list[str], pretraining: str) -> tuple[int, int]:
    matches = find_matches(names, pretraining_classes(pretraining)).values()
    return sum(match.same for match in matches), sum(not match.same for match in matches)


@pytest.mark.skipif(not (SHARED_DATA / "UCF101").is_dir(), reason="the real class lists are not here")
def test_counts_of_real_class_lists() -> None:
    pytest.importorskip("timm", reason="the extra images is not installed")
    awa, cub, ucf = (
        [
            line.split()[-1] if folder == "AWA2" else line
            for line in (SHARED_DATA / folder / file).read_text().splitlines()
            if line
        ]
        for folder, file in (("AWA2", "classes.txt"), ("CUB", "testclasses.txt"), ("UCF101", "classes.txt"))
    )
    assert counts(awa, "imagenet1k") == (26, 8)
    assert counts(cub, "imagenet1k") == (0, 0)
    assert counts(ucf, "kinetics400") == (28, 26)


def test_the_command_on_a_list_of_names_and_on_a_run(tmp_path, capsys) -> None:
    (tmp_path / "names.txt").write_text("Orca\nGull\nLaysan_Albatross\n")
    (tmp_path / "list.txt").write_text("\n".join(", ".join(synonyms) for synonyms in [*PRETRAINING, ["class 1"]]))
    run = write_finished_run(tmp_path / "run")
    assert cli.main(["leakage", str(tmp_path / "names.txt"), str(run), "--pretraining", str(tmp_path / "list.txt")]) == 0
    out = capsys.readouterr().out
    assert "of 3 classes" in out and "contains 1 by name and 1 related ones" in out
    assert out.index("Orca") < out.index("Laysan_Albatross") and "related to albatross" in out
    assert "same as class 1" in out and "T1, last: all 76.7 (3), clean 75.0 (2), related – (0), same 80.0 (1)" in out
