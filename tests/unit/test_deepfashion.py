"""DeepFashion's annotation lists: a hand-made miniature with the numbers worked out beside it, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from zslab import cli
from zslab.data.deepfashion import read_annotation, write_xlsa17
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError

# Categories 1 ... 5; Cape (2) has no image, Tee and Kimono are unseen. Real attribute names are several words long.
LISTS = {
    "list_category_cloth": "5\ncategory_name  category_type\nAnorak         1\nCape           3\nTee            1\n"
    "Button-Down    1\nKimono         3\n",
    "list_attr_cloth": "3\nattribute_name  attribute_type\na-line                    3\nabstract chevron print    1\n"
    "zip                       5\n",
    "list_category_img": "8\nimage_name  category_label\nimg/A/1.jpg      1\nimg/A/2.jpg      1\nimg/B/1.jpg      3\n"
    "img/B/2.jpg      3\nimg/C/1.jpg      4\nimg/C/2.jpg      4\nimg/C/3.jpg      4\nimg/D/1.jpg      5\n",
    "list_attr_img": "8\nimage_name  attribute_labels\nimg/A/1.jpg   1 -1  0\nimg/A/2.jpg  -1 -1  1\nimg/B/1.jpg   1  1  1\n"
    "img/B/2.jpg   0  1  1\nimg/C/1.jpg  -1 -1 -1\nimg/C/2.jpg   1 -1 -1\nimg/C/3.jpg   1  0 -1\nimg/D/1.jpg  -1  1 -1\n",
    "list_eval_partition": "8\nimage_name evaluation_status\nimg/A/1.jpg    train\nimg/A/2.jpg    test\nimg/B/1.jpg    train\n"
    "img/B/2.jpg    test\nimg/C/1.jpg    val\nimg/C/2.jpg    test\nimg/C/3.jpg    train\nimg/D/1.jpg    train\n",
}
UNSEEN = [3, 5]


def write_lists(folder: Path, nested: bool = False, **changes: str | None) -> Path:
    for name, text in (LISTS | changes).items():
        place = folder / ("Eval" if "eval" in name else "Anno") if nested else folder
        place.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (place / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("nested", [False, True])
def test_the_lists_are_joined(tmp_path, nested) -> None:
    annotation = read_annotation(write_lists(tmp_path, nested))
    assert annotation.attribute_names == ["a-line", "abstract chevron print", "zip"]
    assert annotation.class_names == ["Anorak", "Cape", "Tee", "Button-Down", "Kimono"]
    assert annotation.labels.tolist() == [1, 1, 3, 3, 4, 4, 4, 5]
    assert annotation.image_files[3] == "img/B/2.jpg" and annotation.statuses[4] == "val"
    expected = [[0, -1, 0.5], [0, 0, 0], [0.5, 1, 1], [1 / 3, -2 / 3, -1], [-1, 1, -1]]
    assert np.allclose(annotation.class_means, expected, atol=1e-12)


def test_order_is_that_of_the_attributes(tmp_path) -> None:
    head, names, *lines = LISTS["list_category_img"].splitlines()
    turned = "\n".join([head, names, *reversed(lines)]) + "\n\n"
    annotation = read_annotation(write_lists(tmp_path, list_category_img=turned))
    assert annotation.labels.tolist() == [1, 1, 3, 3, 4, 4, 4, 5]


def test_the_split_file(tmp_path) -> None:
    counts = write_xlsa17(read_annotation(write_lists(tmp_path / "lists")), tmp_path / "DF", UNSEEN)
    assert counts == {"trainval": 3, "test_seen": 2, "test_unseen": 3, "seen classes": 2, "unseen classes": 2, "left out": 1}
    content = scipy.io.loadmat(tmp_path / "DF" / "att_splits.mat")
    assert content["trainval_loc"].ravel().tolist() == [1, 5, 7] and content["test_seen_loc"].ravel().tolist() == [2, 6]
    assert content["test_unseen_loc"].ravel().tolist() == [3, 4, 8]
    assert np.allclose(content["att"].T, [[0, -1, 0.5], [0.5, 1, 1], [1 / 3, -2 / 3, -1], [-1, 1, -1]])
    assert (tmp_path / "DF" / "image_list.txt").read_text().splitlines()[2:5] == [
        "img/B/1.jpg\t2",
        "img/B/2.jpg\t2",
        "img/C/1.jpg\t3",
    ]
    assert (tmp_path / "DF" / "attributes.txt").read_text().splitlines()[1] == "2 abstract chevron print"

    # What the project's reader makes of it, with any features.
    labels = [int(line.split("\t")[1]) for line in (tmp_path / "DF" / "image_list.txt").read_text().splitlines()]
    features = np.random.default_rng(0).random((4, 8))
    scipy.io.savemat(tmp_path / "DF" / "x.mat", {"features": features, "labels": np.array(labels)[:, None]})
    stage = read_xlsa17(tmp_path, "DF", "x", "att").stage("test")
    assert stage.seen_classes.tolist() == [0, 2] and stage.unseen_classes.tolist() == [1, 3]
    assert np.allclose(stage.attributes[0], np.array([0, -1, 0.5]) / np.sqrt(1.25))


def replaced(name: str, old: str, new: str) -> dict[str, str]:
    assert old in LISTS[name]
    return {name: LISTS[name].replace(old, new, 1)}


@pytest.mark.parametrize(
    "changes,words",
    [
        *(
            (replaced("list_attr_img", "img/B/2.jpg   0  1  1", f"img/B/2.jpg{values}"), r"list_attr_img\.txt, line 6")
            for values in ("  0  1", "  0  1  2", "  0  1  x", "  0  1  999", "")
        ),
        (replaced("list_attr_img", "img/B/2.jpg", "img/B/3.jpg"), "img/B/3.jpg"),
        (replaced("list_attr_img", "img/B/2.jpg", "img/B/1.jpg"), r"line 6: .*img/B/1.jpg"),
        (replaced("list_attr_img", "8\n", "9\n"), "8 entries.*'9'"),
        (replaced("list_attr_img", "8\n", "7\n"), "8 entries.*'7'"),
        (replaced("list_category_img", "8\nimage_name  category_label\n", ""), r"list_category_img\.txt"),
        *(
            (replaced("list_category_img", "img/A/1.jpg      1", f"img/A/1.jpg  {n}"), "img.txt, line 3")
            for n in ("0", "6", "")
        ),
        (replaced("list_category_img", "img/A/2.jpg", "img/A/1.jpg"), "line 4: .*got img/A/1.jpg"),
        (replaced("list_eval_partition", "img/A/2.jpg    test", "img/A/2.jpg    spare"), "line 4: .*spare"),
        (replaced("list_category_cloth", "Anorak         1", "Anorak"), r"list_category_cloth\.txt, line 3"),
        (replaced("list_attr_cloth", "attribute_name", "category_name"), r"list_attr_cloth\.txt"),
        (replaced("list_attr_cloth", "3\nattr", "four\nattr"), r"list_attr_cloth\.txt.*four"),
        ({"list_attr_cloth": ""}, r"list_attr_cloth\.txt"),
        ({"list_eval_partition": None}, "list_eval_partition.txt"),
    ],
)
def test_malformed_lists_are_refused(tmp_path, changes, words) -> None:
    with pytest.raises(InputError, match=words):
        read_annotation(write_lists(tmp_path, **changes))


def test_numbers_of_unseen_categories_count_from_one(tmp_path) -> None:
    annotation = read_annotation(write_lists(tmp_path))
    for unseen, words in (([2], "none of 2"), ([6], "none of 6"), ([0, 3], "none of 0")):
        with pytest.raises(InputError, match=words):
            write_xlsa17(annotation, tmp_path / "DF", unseen)
    annotation.statuses[:2] = "test"
    with pytest.raises(InputError, match="none of Anorak"):
        write_xlsa17(annotation, tmp_path / "DF", UNSEEN)
    assert not (tmp_path / "DF").exists()


def test_the_command(tmp_path, capsys) -> None:
    write_lists(tmp_path / "lists", nested=True)
    flags = ["--lists", str(tmp_path / "lists"), "--dataroot", str(tmp_path)]
    command = ["deepfashion-lists", *flags]
    assert cli.main([*command, "--unseen", "3,5"]) == 0 and (tmp_path / "DeepFashion" / "att_splits.mat").exists()
    assert "Unseen: Tee, Kimono" in capsys.readouterr().out
    assert cli.main(command) == 1 and "unseen" in capsys.readouterr().err
    assert cli.main([*command, "--unseen", "3-"]) == 1 and "--unseen" in capsys.readouterr().err
