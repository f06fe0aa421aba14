"""Folders of pictures with masks, the chance in training, and colours."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyfast import zoo
from pyfast.data import (
    LABEL_SETS,
    Augmented,
    LabelledPictures,
    SampleIndex,
    ScaleCropFlip,
    colour_labels,
    label_colours,
    overlay_labels,
    read_image,
    segmentation_folder,
    write_labels,
)


def write_pair(folder, name, labels, size=None, masks="masks", images="images", suffix=".jpg"):
    """A picture whose grey says its labels, and its mask."""
    labels = np.asarray(labels, np.uint8)
    for part in (images, masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels * 40).convert("RGB")
    picture.resize(size or picture.size).save(folder / images / f"{name}{suffix}")
    write_labels(folder / masks / f"{name}.png", torch.from_numpy(labels))


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for number in range(10):
        labels = random.integers(0, 3, (20 + number, 31))
        labels[0] = 255
        write_pair(tmp_path, f"p{number}", labels)
    return tmp_path


def test_a_folder_is_split_by_every_fifth(folder):
    train, test = (segmentation_folder(folder, s, classes=3) for s in ("train", "test"))
    assert [picture.stem for picture, _ in test.files] == ["p4", "p9"]
    assert len(train) == 8
    image, labels = test[1]
    assert image.shape == (3, 29, 31)
    assert labels.dtype == torch.int64
    assert sorted(labels.unique().tolist()) == [0, 1, 2, 255]
    assert train.check().sum() == sum((20 + n - 1) * 31 for n in range(10) if n not in (4, 9))


def test_folders_of_their_own_for_splits(tmp_path):
    for split in ("train", "val"):
        write_pair(tmp_path, split, [[0, 1]], images=f"images/{split}", masks=f"masks/{split}")
    for split, stem in (("train", "train"), ("test", "val")):
        (pair,) = segmentation_folder(tmp_path, split, classes=2).files
        assert pair[0].stem == stem


def test_pascal_voc(tmp_path):
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name, [[0, 20, 255]], images="JPEGImages", masks="SegmentationClass")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("c\na\n")
    (lists / "val.txt").write_text("b\n")
    train = segmentation_folder(tmp_path, classes=21)
    assert [picture.name for picture, _ in train.files] == ["c.jpg", "a.jpg"]
    assert train[0][1].tolist() == [[0, 20, 255]]
    write_pair(tmp_path, "a b", [[0, 1]], images="JPEGImages", masks="SegmentationClass")
    (lists / "train.txt").write_text("a b\n\nc \n")
    assert [file.stem for file, _ in segmentation_folder(tmp_path, classes=21).files] == [
        "a b",
        "c",
    ]
    (lists / "train.txt").write_text("c\nd\n")
    with pytest.raises(ValueError, match="no picture or no mask: d"):
        segmentation_folder(tmp_path, classes=21)
    (lists / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no val\.txt"):
        segmentation_folder(tmp_path, "test", classes=21)


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_masks_of_several_modes(tmp_path, mode):
    write_pair(tmp_path, "x", [[0, 1], [1, 1]])
    values = {"1": bool, "I;16": np.uint16}.get(mode, np.uint8)
    mask = Image.fromarray(np.array([[0, 1], [1, 1]], values))
    (mask.convert("P") if mode == "P" else mask).save(tmp_path / "masks" / "x.png")
    data = LabelledPictures([(tmp_path / "images" / "x.jpg", tmp_path / "masks" / "x.png")], 2)
    assert data[0][1].tolist() == [[0, 1], [1, 1]]


def test_pictures_are_read_as_segment_reads_them(tmp_path):
    write_pair(tmp_path, "x", [[0, 1], [1, 1]])
    data = LabelledPictures([(tmp_path / "x.png", tmp_path / "masks" / "x.png")], 2)
    Image.fromarray(np.full((2, 2), 32768, np.uint16)).save(tmp_path / "x.png")
    torch.testing.assert_close(data[0][0], torch.full((3, 2, 2), 32768 / 65535))
    Image.new("RGBA", (2, 2), (200, 100, 50, 0)).save(tmp_path / "x.png")
    assert data[0][0].tolist() == torch.zeros(3, 2, 2).tolist()


def test_two_pictures_of_one_name_are_refused(folder):
    Image.new("RGB", (31, 21)).save(folder / "images" / "p1.png")
    with pytest.raises(ValueError, match=r"images: other pictures have the names of p1\.jpg"):
        segmentation_folder(folder, classes=3)


def test_labels_below_zero(tmp_path):
    write_pair(tmp_path, "x", [[0, 1]])
    mask = tmp_path / "masks" / "x.tif"
    Image.fromarray(np.array([[-1, 1]], np.int32)).save(mask)
    files = [(tmp_path / "images" / "x.jpg", mask)]
    with pytest.raises(ValueError, match="255 to ignore, got -1"):
        LabelledPictures(files, 2)[0]
    assert LabelledPictures(files, 2, ignore_label=-1)[0][1].tolist() == [[-1, 1]]


def test_what_is_wrong_with_files_is_named(folder):
    write_pair(folder, "q0", np.full((9, 9), 7))
    write_pair(folder, "q1", np.zeros((9, 9)), size=(8, 9))
    Image.new("RGB", (31, 21)).save(folder / "masks" / "p1.png")
    (folder / "masks" / "p2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="4 of 10 pictures") as error:
        segmentation_folder(folder, classes=3).check()
    message = str(error.value)
    assert "q0.png: expected labels from 0 to 2, or 255 to ignore, got 7" in message
    assert "q1.png: expected a mask of the picture's size, 8 x 9, got 9 x 9" in message
    assert "p1.png: expected a mask of label numbers" in message
    assert "p2.png: expected a picture" in message
    model = zoo.create_model("deeplabv2_vgg16.tiny", classes=3, data=str(folder))
    with pytest.raises(ValueError, match="4 of 10 pictures"):
        model.dataset("train")


def test_labels_that_never_occur_and_masks_without_any(folder):
    write_pair(folder, "q", np.full((9, 9), 255))
    data = segmentation_folder(folder, classes=5)
    with (
        pytest.warns(UserWarning, match=r"every pixel is ignored in q\.png"),
        pytest.warns(UserWarning, match="no pixel has the label 3, 4"),
    ):
        data.check()


def test_folders_that_are_none(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        segmentation_folder(tmp_path / "nowhere", classes=2)
    with pytest.raises(ValueError, match="train or test"):
        segmentation_folder(folder, "val", classes=2)
    (folder / "masks" / "p0.png").unlink()
    with pytest.raises(ValueError, match="1 names have no picture or no mask: p0"):
        segmentation_folder(folder, classes=3)
    (folder / "masks").rename(folder / "labels")
    with pytest.raises(ValueError, match="got images, labels"):
        segmentation_folder(folder, classes=3)
    with pytest.raises(ValueError, match="got none"):
        LabelledPictures([], 2)
    for name in ("images", "masks"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="empty: no picture with a mask for train"):
        segmentation_folder(tmp_path / "empty", classes=3)


def test_chance_is_of_seed_epoch_and_index(folder):
    data = segmentation_folder(folder, classes=3)
    augmented = Augmented(data, ScaleCropFlip(24, (0.5, 1.0, 1.5)))
    image, labels = augmented[SampleIndex(2, epoch=1, seed=5)]
    assert image.shape == (3, 24, 24)
    assert labels.shape == (24, 24)
    again = augmented[SampleIndex(2, epoch=1, seed=5)]
    assert torch.equal(image, again[0])
    assert torch.equal(labels, again[1])
    others = [SampleIndex(2, 2, 5), SampleIndex(2, 1, 6)]
    assert all(not torch.equal(image, augmented[other][0]) for other in others)


@pytest.mark.parametrize("margin", [0, 6])
def test_labels_stay_on_their_pixels(margin):
    labels = torch.arange(12).repeat_interleave(4).expand(40, 48) % 5
    image = (labels / 8).float().expand(3, 40, 48)
    change = ScaleCropFlip(32, (0.5, 1.0, 2.0), fill=(1.0, 0.5, 0.0), margin=margin)
    seen = set()
    for seed in range(20):
        found, kept = change((image, labels), torch.Generator().manual_seed(seed))
        inside = kept != 255
        # Between two stripes interpolation mixes colours.
        near = (found[0] * 8 - kept).abs() < 0.3
        assert near[inside].float().mean() > 0.7
        if not margin:
            outside = found[:, ~inside]
            expected = torch.tensor([1.0, 0.5, 0.0])[:, None].expand_as(outside)
            torch.testing.assert_close(outside, expected)
        seen.add((bool((~inside).any()), kept[0, 0].item()))
    assert len(seen) > 3


def test_pictures_smaller_than_the_crop_are_filled_up():
    change = ScaleCropFlip(9, flip=False, fill=(0.25, 0.5, 0.75))
    image, labels = change((torch.zeros(3, 4, 5), torch.ones(4, 5).long()), torch.Generator())
    assert (labels == 255).sum() == 81 - 20
    assert (labels[:4, :5] == 1).all()
    assert image[:, 8, 8].tolist() == [0.25, 0.5, 0.75]


def test_colours_are_those_of_voc(tmp_path):
    colours = label_colours()
    assert colours.shape == (256, 3)
    assert colours[[0, 1, 2, 15, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
    ]
    assert len(colours.unique(dim=0)) == 256
    labels = torch.tensor([[0, 1, 255]])
    assert colour_labels(labels)[:, 0, 1].tolist() == [128, 0, 0]
    write_labels(tmp_path / "x.png", labels)
    picture = read_image(tmp_path / "x.png")
    assert picture.mode == "P"
    assert np.array(picture).tolist() == [[0, 1, 255]]
    assert picture.convert("RGB").getpixel((1, 0)) == (128, 0, 0)
    image = torch.full((3, 1, 3), 0.2)
    shown = overlay_labels(image, labels, 0.5)
    assert torch.equal(shown[:, 0, 0], image[:, 0, 0])
    assert shown[0, 0, 1].item() == pytest.approx(0.5 * 0.2 + 0.5 * 128 / 255)


def test_palettes_of_other_data_sets(tmp_path):
    counts = {name: len(labels.names) for name, labels in LABEL_SETS.items()}
    assert counts == {
        "voc": 21,
        "cityscapes": 19,
        "camvid": 11,
        "kitti": 11,
        "coco_stuff": 182,
        "ade20k": 150,
    }
    # Numbers as the lists that come with the data have them, from the beginning to the end.
    coco, ade = LABEL_SETS["coco_stuff"].names, LABEL_SETS["ade20k"].names
    assert [coco[i] for i in (0, 90, 91, 181)] == ["person", "hair brush", "banner", "wood"]
    assert [ade[i] for i in (0, 74, 149)] == ["wall", "computer", "flag"]
    for name, labels in LABEL_SETS.items():
        assert len(set(labels.names)) == len(labels.names)
        own = label_colours(len(labels.names), name)
        assert own.tolist() == label_colours(palette=name)[: len(own)].tolist()
        assert len(own.unique(dim=0)) == len(own)
    car = LABEL_SETS["cityscapes"].names.index("car")
    labels = torch.tensor([[0, car, 255]])
    assert colour_labels(labels, "cityscapes")[:, 0].T.tolist() == [
        [128, 64, 128],
        [0, 0, 142],
        [0, 0, 0],
    ]
    image = torch.full((3, 1, 3), 0.2)
    shown = overlay_labels(image, labels, 1.0, "cityscapes")
    assert shown[:, 0, 0].tolist() == pytest.approx([128 / 255, 64 / 255, 128 / 255])
    assert torch.equal(shown[:, 0, 2], image[:, 0, 2])
    write_labels(tmp_path / "x.png", labels, "cityscapes")
    assert read_image(tmp_path / "x.png").convert("RGB").getpixel((1, 0)) == (0, 0, 142)
    with pytest.raises(ValueError, match=r"one of voc, .*, ade20k, got 'coco'"):
        label_colours(palette="coco")


def test_a_system_learns_from_a_folder_and_is_measured_on_it(folder, tmp_path):
    from pyfast import train

    settings = {"classes": 3, "crop": 32, "steps": 2, "batch_size": 4, "data": str(folder)}
    model = zoo.create_model("deeplabv2_vgg16.tiny", **settings)
    saved = train.train(model, tmp_path / "run", tensorboard=False)
    again = zoo.from_pretrained(saved)
    found = train.evaluate(again)
    assert 0 <= found["miou"] <= 1
    assert found["accuracy"] >= 0
    with pytest.raises(ValueError, match="4 labels, got classes=3"):
        zoo.create_model("deeplabv2_vgg16.tiny", classes=3).dataset()


@pytest.mark.parametrize("label", [-1, 256])
def test_labels_without_room_in_a_palette_are_refused(label, tmp_path):
    with pytest.raises(ValueError, match=f"0 to 255, got {label}"):
        write_labels(tmp_path / "x.png", torch.tensor([[0, label]]))
    assert not list(tmp_path.iterdir())
