"""Backbones: the published recipe, padding, normalization, weights; on untrained networks of torchvision and timm."""

import argparse
import json
import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from zslab.errors import InputError
from zslab.features import backbones, descriptor, networks
from zslab.features.backbones import BackboneSpec, load_backbone

pytestmark = pytest.mark.slow

GENERATOR = np.random.default_rng(0)
IMAGE = Image.fromarray(GENERATOR.integers(0, 256, (61, 90, 3), dtype=np.uint8))
SMALL = dict(resize=64, crop=64)

torchvision = pytest.importorskip("torchvision", reason="the extra `images` is not installed: no torchvision")
timm = pytest.importorskip("timm", reason="the extra `images` is not installed: no timm")


def untrained(name: str, **spec) -> backbones.Backbone:
    return load_backbone(BackboneSpec(name, **SMALL | spec), "none", random_weights=True)


def batch_of(n: int, size: int = 64) -> torch.Tensor:
    return torch.from_numpy(GENERATOR.integers(0, 256, (n, 3, size, size), dtype=np.uint8))


def test_the_descriptor_is_a_backbone_without_weights() -> None:
    backbone = load_backbone(BackboneSpec("descriptor"))
    pooled, regions = backbone.features(torch.stack([backbone.prepare(IMAGE), backbone.prepare(IMAGE.rotate(9))]))
    images = np.stack([image.resize((112, 112), Image.Resampling.BICUBIC) for image in (IMAGE, IMAGE.rotate(9))])
    np.testing.assert_array_equal(pooled, descriptor.pooled_descriptor(images))
    np.testing.assert_array_equal(regions.permute(0, 2, 3, 1), descriptor.region_descriptors(images))
    assert regions.shape == (2, backbone.feature_dim, *backbone.grid) and pooled.shape == (2, backbone.pooled_dim)
    assert backbone.state_dict() == {} and load_backbone(backbone.spec, {}).digest == ""
    with pytest.raises(InputError, match="descriptor must have no weights"):
        load_backbone(BackboneSpec("descriptor"), "none", random_weights=True)


def test_specs_survive_json_and_have_sensible_defaults() -> None:
    spec = BackboneSpec("mobilenet_v2", "tensorflow", "half", resize=256)
    assert BackboneSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert BackboneSpec("resnet101") == BackboneSpec("resnet101", "torch", "imagenet", None, None, "bilinear")
    assert BackboneSpec("timm:resnet18").normalization == "timm"
    assert "white" not in spec.to_json()  # as in files of before
    for white in (4095, 1.0):  # a float is that of floating-point images
        again = BackboneSpec.from_json(json.loads(json.dumps(BackboneSpec("resnet18", white=white).to_json())))
        assert again.white == white and type(again.white) is type(white)
    for content in ({"name": 3}, {"nom": "resnet18"}, {"name": "resnet18", "crop": "x"}, {"name": "resnet18", "crop": 0}, []):
        with pytest.raises(InputError, match="the backbone: the content must be"):
            BackboneSpec.from_json(content)
    for wrong in (dict(normalization="timm"), dict(resize=224, crop=225)):
        with pytest.raises(InputError, match=f"--.*{next(iter(wrong))}"):
            BackboneSpec("resnet18", **wrong)


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (64, 64), (40, 33)])
def test_images_are_resized_and_cropped(size: tuple[int, int]) -> None:
    transforms, image = torchvision.transforms, IMAGE.resize(size)
    expected = transforms.Compose([transforms.Resize(75), transforms.CenterCrop(64), transforms.PILToTensor()])(image)
    torch.testing.assert_close(untrained("squeezenet1_1", resize=75).prepare(image), expected, rtol=0, atol=0)


def test_regions_are_those_before_the_last_two_layers() -> None:
    backbone, batch = untrained("resnet18"), batch_of(3)
    reference = torchvision.models.resnet18(weights=None).eval()
    reference.load_state_dict(backbone.state_dict(), strict=False)
    normalize = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        inputs = normalize(batch / 255)
        expected = nn.Sequential(*list(reference.children())[:-2])(inputs)
        reference.fc = nn.Identity()
        expected_pooled = reference(inputs)
    pooled, regions = backbone.features(batch)
    assert regions.shape == (3, 512, 2, 2) and regions.is_contiguous() and regions.dtype == pooled.dtype == torch.float32
    torch.testing.assert_close(regions, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled, expected_pooled, rtol=1e-4, atol=1e-5)
    assert regions.std() > 0


GRIDS = {
    **dict.fromkeys(("resnet101", "wide_resnet50_2"), (2048, 7, 7)),
    **dict.fromkeys(("densenet121", "googlenet"), (1024, 7, 7)),
    **dict.fromkeys(("mobilenet_v2", "mnasnet0_5", "efficientnet_b0"), (1280, 7, 7)),
    **dict.fromkeys(("convnext_tiny", "swin_t"), (768, 7, 7)),
    **dict.fromkeys(("vgg11_bn", "maxvit_t"), (512, 7, 7)),
    **{"alexnet": (256, 6, 6), "squeezenet1_1": (512, 13, 13), "mobilenet_v3_small": (576, 7, 7)},
    **{"shufflenet_v2_x0_5": (1024, 7, 7), "regnet_y_400mf": (440, 7, 7)},
    **{"swin_v2_t": (768, 8, 8), "inception_v3": (2048, 8, 8)},  # made for images of 256 and 299 pixels
}


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name", GRIDS)
def test_every_family_of_torchvision_gives_its_last_grid(name: str) -> None:
    # Shapes alone, so that all networks take no time; RegNet's initial weights want to be computed.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        network = networks.build_torchvision(name, "none")
        assert network.grid(torch.empty(2, 3, network.size, network.size)).shape == (2, *GRIDS[name])


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_the_grid_of_googlenet_is_that_of_its_own_forward() -> None:
    backbone, batch = untrained("googlenet", resize=224, crop=224), batch_of(1, 224)
    reference = torchvision.models.googlenet(weights=None, aux_logits=False, transform_input=True).eval()
    reference.load_state_dict(backbone.state_dict(), strict=False)
    reference.fc = nn.Identity()
    normalize = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        expected = reference(normalize(batch / 255))
    torch.testing.assert_close(backbone.features(batch)[0], expected, rtol=1e-3, atol=1e-5)


def test_densenet_ends_with_its_activation() -> None:
    assert untrained("densenet121").features(batch_of(1))[1].min() == 0


def test_half_is_the_distance_from_the_middle_grey() -> None:
    half, imagenet = untrained("mobilenet_v2", normalization="half"), untrained("mobilenet_v2")
    seen = []
    half.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    batch = torch.tensor([0, 64, 128, 255], dtype=torch.uint8).repeat_interleave(3 * 64 * 64).view(4, 3, 64, 64)
    assert not torch.allclose(half.features(batch)[0], imagenet.features(batch)[0], atol=0)
    assert seen[0][:, 1, 3, 3].tolist() == [-1.0, -0.5, 0.0, 127 / 128]


@pytest.mark.parametrize(
    ("size", "kernel", "first", "outputs"),
    # the first output's window begins at `first` of the input; TensorFlow pads the odd cell right and bottom
    [(8, 3, 0, 4), (7, 3, -1, 4), (8, 5, -1, 4), (7, 5, -2, 4), (8, 7, -2, 4), (9, 7, -3, 5)],
)
def test_tensorflow_pads_right_and_bottom_first(size: int, kernel: int, first: int, outputs: int) -> None:
    layer = nn.Conv2d(1, 1, kernel, stride=2, padding=kernel // 2, bias=False)
    nn.init.zeros_(layer.weight).data[0, 0, 0, 0] = 1  # the output is the top left cell of its window
    assert networks.pad_as_tensorflow(nn.Sequential(layer)) == 1
    inputs = torch.arange(1.0, size * size + 1).view(1, 1, size, size)
    expected = torch.zeros(outputs, outputs)
    for row in range(outputs):
        for column in range(outputs):
            y, x = first + 2 * row, first + 2 * column
            if y >= 0 and x >= 0:
                expected[row, column] = inputs[0, 0, y, x]
    torch.testing.assert_close(layer(inputs)[0, 0], expected, rtol=0, atol=0)


def test_five_convolutions_of_mobilenet_are_padded_as_tensorflow_does() -> None:
    spec = dict(padding="tensorflow", normalization="half")
    backbone, batch = untrained("mobilenet_v2", **spec), batch_of(2)
    reference = torchvision.models.mobilenet_v2(weights=None).eval()
    reference.load_state_dict(backbone.state_dict(), strict=False)
    strided = [layer for layer in reference.modules() if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
    assert len(strided) == 5
    with torch.inference_mode():
        inputs = (batch.float() - 128) / 128
        plain = reference.features(inputs)
        for layer in strided:
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(lambda layer, inputs: F.pad(inputs[0], (0, 1, 0, 1)))
        expected = reference.features(inputs)
    found = backbone.features(batch)[1]
    scale = expected.abs().max()  # untrained, the network shrinks its input
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-4, atol=1e-5)
    assert (found - plain).abs().max() > 0.1 * scale


def test_weights_come_back_from_tensors_and_files(tmp_path) -> None:
    backbone, batch = untrained("mobilenet_v2"), batch_of(1)
    state = backbone.state_dict()
    with_head = state | {"classifier.1.weight": torch.zeros(7, 1280), "classifier.1.bias": torch.zeros(7)}
    save_file(with_head, tmp_path / "a.safetensors")
    torch.save(with_head, tmp_path / "a.pth")
    without_counters = {name: value for name, value in state.items() if "num_batches" not in name}
    for weights in (state, without_counters, tmp_path / "a.safetensors", str(tmp_path / "a.pth")):
        again = load_backbone(backbone.spec, weights)
        assert again.digest == backbone.digest
        torch.testing.assert_close(again.features(batch)[0], backbone.features(batch)[0], rtol=0, atol=0)
    assert json.loads(again.describe()) == {"spec": backbone.spec.to_json(), "weights": "a.pth", "digest": backbone.digest}
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    close, exact = load_backbone(backbone.spec, halved).features(batch)[0], backbone.features(batch)[0]
    assert 0 < (close - exact).abs().max() < 0.05 * exact.abs().max()


def test_densenet_files_of_old_names_load() -> None:
    backbone = untrained("densenet121")
    state = backbone.state_dict().items()
    old = {re.sub(r"(denselayer\d+\.)(norm|conv)(\d)", r"\1\2.\3", name): value for name, value in state}
    assert set(old) != set(backbone.state_dict())
    assert load_backbone(backbone.spec, old).digest == backbone.digest


def test_weights_of_no_network_are_refused() -> None:
    for weights, random_weights in (("none", False), ("default", True)):
        with pytest.raises(InputError, match="weights none --random_weights"):
            load_backbone(BackboneSpec("mobilenet_v2"), weights, random_weights=random_weights)
    for name, words in (("resnet1001", "resnet1001"), ("vit_b_16", "vit_b_16.*timm:vit")):  # the latter without a grid
        with pytest.raises(InputError, match=f"--backbone.*{words}"):
            load_backbone(BackboneSpec(name))


def test_the_published_weights_are_the_default(monkeypatch) -> None:
    asked = []

    def fetch(chosen: object) -> dict:
        asked.append(chosen)
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models.ResNet101_Weights, "get_state_dict", lambda chosen, **options: fetch(chosen))
    for weights in ("default", "IMAGENET1K_V2"):
        with pytest.raises(InputError, match="pth: the weights must be fetched.*no network.*--weights FILE.*descriptor"):
            load_backbone(BackboneSpec("resnet101"), weights)
    assert [chosen.name for chosen in asked] == ["IMAGENET1K_V1", "IMAGENET1K_V2"]


def test_a_missing_package_is_named(monkeypatch) -> None:
    def missing(name: str):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    for name in ("resnet101", "timm:resnet18"):
        with pytest.raises(InputError, match=r"\.\[images\]"):
            load_backbone(BackboneSpec(name))
    load_backbone(BackboneSpec("descriptor"))


def test_timm_tokens_become_a_grid_without_the_prefix() -> None:
    spec = dict(resize=224, crop=224)
    backbone, batch = untrained("timm:vit_tiny_patch16_224", **spec), batch_of(2, 224)
    reference = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    reference.load_state_dict(backbone.state_dict())
    with torch.inference_mode():
        tokens = reference.forward_features((batch / 255 - 0.5) / 0.5)  # this network's own mean and deviation
    pooled, regions = backbone.features(batch)
    assert tokens.shape == (2, 1 + 14 * 14, 192) and backbone.grid == (14, 14)
    for row, column in ((0, 0), (0, 13), (5, 9), (13, 13)):
        torch.testing.assert_close(regions[:, :, row, column], tokens[:, 1 + 14 * row + column], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pooled, tokens[:, 1:].mean(1), rtol=1e-3, atol=1e-4)


def test_timm_grids_have_their_channels_first() -> None:
    plain = untrained("timm:resnet18")
    assert (plain.feature_dim, plain.grid) == (512, (2, 2))
    last = untrained("timm:swin_tiny_patch4_window7_224", resize=224, crop=224)
    assert (last.feature_dim, last.grid, last.pooled_dim) == (768, (7, 7), 768)
    again = load_backbone(plain.spec, plain.state_dict())
    assert again.digest == plain.digest


@pytest.mark.parametrize(
    ("name", "flags", "sizes", "grid"),
    [
        ("timm:test_vit", {"resize": 200}, (200, 160), (10, 10)),
        ("timm:vit_small_patch14_dinov2", {}, (518, 518), (37, 37)),
        ("timm:swinv2_tiny_window8_256", {}, (256, 256), (8, 8)),
        ("timm:test_resnet", {"crop": 96}, (160, 96), (3, 3)),
        ("timm:test_resnet", {"resize": 64}, (64, 64), (2, 2)),
    ],
)
def test_a_network_gets_images_of_the_size_that_it_was_made_for(name: str, flags: dict, sizes: tuple, grid: tuple) -> None:
    backbone = load_backbone(BackboneSpec(name, **flags), "none", random_weights=True)
    assert (backbone.spec.resize, backbone.spec.crop) == sizes and backbone.grid == grid
    assert backbone.prepare(IMAGE).shape == (3, sizes[1], sizes[1])
    assert BackboneSpec.from_json(json.loads(backbone.describe())["spec"]) == backbone.spec


def test_timm_networks_that_cannot_be_used_are_named(monkeypatch) -> None:
    with pytest.raises(InputError, match="--backbone.*timm:resnet1001"):
        load_backbone(BackboneSpec("timm:resnet1001"))
    with pytest.raises(InputError, match="--resize 224 --crop 224"):
        untrained("timm:vit_tiny_patch16_224")

    def fail(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match="https:.*model.safetensors: .*no network.*--weights FILE.*descriptor"):
        load_backbone(BackboneSpec("timm:resnet18"))


def test_checkpoints_of_trainers_give_their_weights(tmp_path) -> None:
    backbone = untrained("squeezenet1_1")
    state = backbone.state_dict()
    trainer = {"model": state, "args": argparse.Namespace(lr=0.1), "best": 3.0, "optimizer": {"state": {}}}
    prefixes = ("module", "_orig_mod", "module.encoder_q", "backbone")
    wrapped = [{"state_dict": {f"{prefix}.{name}": value for name, value in state.items()}} for prefix in prefixes]
    wrapped[3]["state_dict"]["head.weight"] = torch.ones(2)
    for content in (trainer, {"ema": state}, *wrapped, {name: value.double() for name, value in state.items()}):
        torch.save(content, tmp_path / "a.pth")
        assert load_backbone(backbone.spec, tmp_path / "a.pth").digest == backbone.digest


class Code:
    """A pickle that would make a file where it is run."""

    def __reduce__(self):
        return (open, ("ran", "w"))


def test_weights_that_are_not_one_network_of_numbers_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = untrained("squeezenet1_1")
    state = backbone.state_dict()
    first = next(iter(state))
    other = {f"encoder_{part}.{name}": value for part in "qk" for name, value in state.items()}
    np.savez(tmp_path / "arrays", a=np.ones(2))
    save_file(state, tmp_path / "whole.safetensors")
    for content, words in (
        (other, "encoder_q.*encoder_k"),
        ({"first": state, "second": state}, "2 state dicts"),
        ({name: (100 * value).to(torch.int8) for name, value in state.items()}, "int8"),
        ({name: value.to_sparse() for name, value in state.items()}, "[Ss]parse"),
        ({name: value.to("meta") for name, value in state.items()}, "meta"),
        (state | {first: torch.ones(3)}, rf"size mismatch for {first}.*\[3\]"),
        ({name: value for name, value in state.items() if name != first}, f"Missing key.*{first}"),
        (state | {"more": torch.ones(3)}, "Unexpected key.*more"),
        ({"model": state, "best": np.float64(3)}, ""),
        ({"model": torch.nn.Linear(2, 2)}, ""),
        ({"weights": Code()}, ""),
        (pickle.dumps({"a": Code()}), ""),
        ((tmp_path / "arrays.npz").read_bytes(), ""),
        (b"<!DOCTYPE html><html>Sign in</html>", "got a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "got a Git LFS pointer"),
        (b'{"error":"Invalid password"}', ""),
        (b"", "got an empty file"),
    ):
        if isinstance(content, bytes):
            (tmp_path / "a.pth").write_bytes(content)
        else:
            torch.save(content, tmp_path / "a.pth")
        with pytest.raises(InputError, match=rf"a.pth: .*must .*{words}"):
            load_backbone(backbone.spec, tmp_path / "a.pth")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-9])
    for name, got in (("cut.safetensors", ""), ("none.pth", "no such file"), ("", "a folder")):
        with pytest.raises(InputError, match=f"the weights must .*{got}"):
            load_backbone(backbone.spec, tmp_path / name)
    assert not (tmp_path / "ran").exists()
