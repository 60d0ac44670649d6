"""Image classifiers of transformers, and folders of pictures."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
import transformers as t
from doors import train_one

from idim import models, tasks
from idim.config import Config
from idim.errors import IdimError
from idim.export import export
from idim.pixels import Pixels
from idim.values.options import Options


@pytest.fixture(scope="session")
def vit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    config = t.ViTConfig(
        image_size=16,
        patch_size=4,
        num_channels=3,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # whichever tests ran before
        t.ViTForImageClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Bright and dark pictures of many sizes, some grey: train/<class>/*.png."""
    from PIL import Image

    draw = torch.Generator().manual_seed(0)
    for name, low in (("bright", 128), ("dark", 0)):
        (tmp_path / "pictures/train" / name).mkdir(parents=True)
        for i in range(40):
            size = 10 + i % 5
            mode, shape = ("L", (size, size)) if i % 4 == 0 else ("RGB", (size, size + 2, 3))
            pixels = low + torch.randint(0, 128, shape, generator=draw)
            Image.fromarray(pixels.byte().numpy(), mode).save(
                tmp_path / "pictures/train" / name / f"{i}.png"
            )
    return tmp_path / "pictures"


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_an_image_classifier_on_a_folder_of_pictures(kind, vit, pictures, tmp_path):
    model = str(vit)
    if kind == "convnext":
        model = str(tmp_path / "convnext")
        t.ConvNextForImageClassification(
            t.ConvNextConfig(
                num_channels=3,
                image_size=16,
                patch_size=2,
                hidden_sizes=[8, 16],
                depths=[1, 1],
                num_stages=2,
            )
        ).save_pretrained(model)
    record = train_one(
        Config(
            model,
            str(pictures),
            arm="said",
            d=400,
            max_steps=40,
            batch_size=16,
            subspace_learning_rate=0.1,
            out=str(tmp_path / "out"),
            save=str(tmp_path / "saved"),
        )
    )
    record = record.to_json()
    info = record["train_info"]
    assert record["status"] == "ok" and info["splits"]["measure"] == 16 and info["score"] > 0.8
    assert (
        export(str(tmp_path / "saved"), None, str(tmp_path / "merged"), None, 0, 1.0, None, {})[
            "scores"
        ]
        == {}
    )
    done = export(
        str(tmp_path / "saved"), None, str(tmp_path / "merged"), None, 0, 1.0, str(pictures), {}
    )
    assert models.reader(str(tmp_path / "merged")) == models.reader(model)
    assert done["scores"] == {"subspace": info["score"], "merged": info["score"]}
    assert (
        t.AutoModelForImageClassification.from_pretrained(tmp_path / "merged").config.num_labels
        == 2
    )


def test_lora_adapts_every_linear_layer_where_peft_names_none(vit, pictures, tmp_path):
    record = train_one(
        Config(
            str(vit),
            str(pictures),
            arm="lora",
            rank=2,
            max_steps=3,
            batch_size=16,
            out=str(tmp_path / "out"),
        )
    )
    record = record.to_json()
    targets = record["train_info"]["adaptation"]["targets"]
    assert (
        record["status"] == "ok"
        and len(targets) == 12
        and not any("classifier" in name for name in targets)
    )


def test_pixels_are_resized_and_scaled_as_the_model_asks(vit, tmp_path):
    plain = models.reader(str(vit))
    assert plain == Pixels(3, (16, 16), (0.5,) * 3, (0.5,) * 3)
    out = plain(torch.full((2, 1, 8, 8), 0.75))
    assert out.shape == (2, 3, 16, 16) and torch.allclose(out, torch.tensor(0.5))
    asked = {
        "size": {"height": 12, "width": 10},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [1, 2, 4],
    }
    (tmp_path / "vit").mkdir()
    for file in vit.iterdir():
        (tmp_path / "vit" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(asked))
    assert models.reader(str(tmp_path / "vit")) == Pixels(3, (12, 10), (0.1, 0.2, 0.3), (1, 2, 4))
    digits = tasks.load("digits", plain, Options())
    assert digits.inputs("train", torch.arange(5), torch.device("cpu")).shape == (5, 3, 16, 16)
    for more, want in (
        (
            {"do_center_crop": True, "crop_size": 14},
            Pixels(3, (14, 14), (0.1, 0.2, 0.3), (1, 2, 4)),
        ),
        (
            {"crop_size": 14, "size": {"shortest_edge": 18}, "image_mean": 0.4},
            Pixels(3, (18, 18), (0.4,) * 3, (1, 2, 4)),
        ),
        ({"do_normalize": False}, Pixels(3, (12, 10), (0.0,) * 3, (1.0,) * 3)),
    ):
        (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(asked | more))
        assert models.reader(str(tmp_path / "vit")) == want
    want.save_pretrained(tmp_path / "vit")
    assert models.reader(str(tmp_path / "vit")) == want
    for more, message in (
        ({"do_flip_channel_order": True}, "^model: expected an image model that reads red"),
        ({"size": {"longest_edge": 9}}, "^model: expected an image model with a height"),
    ):
        (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(asked | more))
        with pytest.raises(IdimError, match=message):
            models.reader(str(tmp_path / "vit"))


def test_sixteen_bits_a_pixel_keep_their_order(tmp_path):
    from PIL import Image

    for name in ("a", "b", ".hidden"):
        (tmp_path / "deep/train" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(
                torch.arange(0, 65536, 257, dtype=torch.int32).view(16, 16).numpy().astype("uint16")
            ).save(tmp_path / f"deep/train/{name}/{i}.png")
    task = tasks.load(str(tmp_path / "deep"), None, Options())
    assert task.classes == 2 and task.images["train"][0].flatten().tolist() == list(range(256))
    (tmp_path / "deep/train/c").mkdir()
    with pytest.raises(IdimError, match="train/c: expected a picture"):
        tasks.load(str(tmp_path / "deep"), None, Options())


def test_pictures_that_cannot_be_used(vit, pictures, tiny_bert):
    reader = models.reader(str(vit))
    with pytest.raises(IdimError, match="the shape of the first picture"):
        tasks.load(str(pictures), None, Options())
    with pytest.raises(IdimError, match="one that reads images"):
        tasks.load(str(pictures), models.reader(str(tiny_bert)), Options())
    with pytest.raises(IdimError, match="one that reads text"):
        tasks.load("movie-reviews", reader, Options())
    (pictures / "train/dark/3.png").write_bytes(b"no picture")
    with pytest.raises(IdimError, match=r"3\.png: expected a readable picture"):
        tasks.load(str(pictures), reader, Options())
    (pictures / "train/dark/3.png").unlink()
    (pictures / "validation/odd").mkdir(parents=True)
    with pytest.raises(
        IdimError, match="the classes of the training part: bright, dark; got 'odd'"
    ):
        tasks.load(str(pictures), reader, Options())


@pytest.mark.parametrize("where", ["cat", ".", "training/cat"])
def test_pictures_without_a_folder_train_are_called_that(where, tmp_path, vit, tiny_bert):
    folder = tmp_path / "pictures" / where
    folder.mkdir(parents=True)
    (folder / "1.PNG").write_bytes(b"")
    first = (Path(where) / "1.PNG").as_posix()
    for reader in (models.reader(str(vit)), models.reader(str(tiny_bert)), None):
        says = f"pictures: expected pictures in train/<class>/; got '{first}'"
        with pytest.raises(IdimError, match=says):
            tasks.load(str(tmp_path / "pictures"), reader, Options())


def test_classes_of_pictures_are_numbered_as_the_model_numbers_them(pictures, vit):
    reader = models.reader(str(vit))
    plain, turned, third = (
        tasks.load(str(pictures), reader, Options(), known)
        for known in ({}, {"dark": 0, "Bright": 1}, {"bright": 2, "grey": 1, "dark": 0})
    )
    assert (plain.names, turned.names, third.names) == (
        ("bright", "dark"),
        ("dark", "Bright"),
        ("dark", "grey", "bright"),
    )
    bright = plain.images["train"].double().mean((1, 2, 3)) > 128
    for task, number in ((plain, 0), (turned, 1), (third, 2)):
        shown = task.images["train"].double().mean((1, 2, 3)) > 128
        assert shown.sum() == bright.sum() and torch.equal(task.labels["train"] == number, shown)
    assert tasks.load("digits", None, Options(), {str(9 - i): i for i in range(10)}).names == tuple(
        "9876543210"
    )


def test_pictures_in_folders_of_a_class_are_read_too(pictures, vit):
    before = tasks.load(str(pictures), models.reader(str(vit)), Options()).sizes()
    (pictures / "train/dark/more").mkdir()
    for i in range(10):
        (pictures / f"train/dark/{i}.png").rename(pictures / f"train/dark/more/{i}.png")
    assert tasks.load(str(pictures), models.reader(str(vit)), Options()).sizes() == before


def idx(shape: tuple[int, ...], body: bytes, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + body


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (idx((2**32 - 1,) * 3, b""), "bytes whose header asks for"),
        (idx((2**22, 2**21, 2**21), b"\0"), "bytes whose header asks for"),
        (idx((20, 2, 2), bytes(79)), "bytes whose header asks for|as its header says"),
        (idx((20, 2, 2), bytes(81)), "as its header says"),
        (idx((20, 2), bytes(40)), "an IDX file of bytes in 3 dimensions"),
        (idx((20, 2, 2), bytes(80), kind=9), "an IDX file of bytes"),
        (b"", "an IDX file of bytes"),
        (b"\0\0\x08", "IDX file"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_of_impossible_size_is_refused_before_memory_is_asked_for(
    content, says, packed, tmp_path
):
    (tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed)).write_bytes(
        gzip.compress(content) if packed else content
    )
    with pytest.raises(IdimError, match=says) as told:
        tasks.load("idx", None, Options(data_dir=str(tmp_path)))
    assert len(str(told.value).splitlines()) == 1


def test_a_gzip_file_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path):
    """A kilobyte for a megabyte: of what its header does not ask for a single byte is read."""
    packed = gzip.compress(idx((4, 2, 2), bytes(1 << 28)), 9)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(packed)
    (tmp_path / "short").mkdir()
    (tmp_path / "short/train-images-idx3-ubyte.gz").write_bytes(packed[:200])
    tracemalloc.start()
    with pytest.raises(IdimError, match="as its header says"):
        tasks.load("idx", None, Options(data_dir=str(tmp_path)))
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    for broken in (packed[:200], b"\x1f\x8b", b"no gzip"):
        (tmp_path / "short/train-images-idx3-ubyte.gz").write_bytes(broken)
        with pytest.raises(IdimError):
            tasks.load("idx", None, Options(data_dir=str(tmp_path / "short")))


#: Image classifiers, of which the checkpoint is the backbone alone.
IMAGES = {
    "hgnet_v2": {
        "hidden_sizes": [8, 8],
        "depths": [1, 1],
        "embedding_size": 8,
        "num_channels": 3,
        "stem_channels": [3, 4, 8],
        "stage_in_channels": [8, 8],
        "stage_mid_channels": [4, 4],
        "stage_out_channels": [8, 8],
        "stage_num_blocks": [1, 1],
        "stage_downsample": [False, True],
        "stage_light_block": [False, False],
        "stage_kernel_size": [3, 3],
        "stage_numb_of_layers": [1, 1],
    },
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "resnet": {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
    "vit": {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    },
    "poolformer": {
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "num_encoder_blocks": 2,
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "padding": [2, 1],
    },
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
}


@pytest.mark.parametrize("kind", IMAGES)
def test_what_an_image_models_checkpoint_lacks_is_saved_with_an_adapter(kind, tmp_path):
    from peft import PeftModel, get_peft_model

    import idim

    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = t.AutoModelForImageClassification.from_config(
            t.AutoConfig.for_model(kind, **IMAGES[kind])
        )
        whole.base_model.save_pretrained(tmp_path / "base")

        def load(seed: int):
            torch.manual_seed(seed)
            return t.AutoModelForImageClassification.from_pretrained(
                tmp_path / "base",
                num_labels=3,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )

        (model, report), (other, _) = load(1), load(2)
        own = {name for name, _ in model.named_parameters()}
        assert (
            models.fresh(model)
            == own & {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
            and models.head(model) <= models.fresh(model) != set()
        )
        x = torch.rand(2, 3, 32, 32)
    wrapped = get_peft_model(model, idim.SubspaceConfig(d=40)).eval()
    with torch.no_grad():
        wrapped.base_model.held.sub.theta.normal_(generator=torch.Generator().manual_seed(0))
        wanted = wrapped(pixel_values=x).logits
        wrapped.save_pretrained(tmp_path / "adapter")
        again = PeftModel.from_pretrained(other, tmp_path / "adapter").eval()
        assert torch.allclose(again(pixel_values=x).logits, wanted, atol=1e-6) and wanted.std() > 0
