"""The user's own pictures: what a folder gives, and what is said of one that is wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pyfast.data import (
    AlignedPairs,
    ClassificationFolder,
    ImageFolder,
    SampleIndex,
    UnalignedPairs,
    class_names,
    write_png,
)


def picture(path, height=6, width=8, value=None, channels=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (
        torch.rand(channels, height, width)
        if value is None
        else torch.full((channels, height, width), value)
    )
    write_png(path, image)
    return image


@pytest.fixture
def animals(tmp_path):
    for name in ("dog/a.png", "cat/b.png", "cat/deeper/a.png", ".hidden/x.png"):
        picture(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


def test_folders_are_classes(animals):
    data = ImageFolder(animals)
    assert data.classes == ("cat", "dog")
    assert [(f.name, label) for f, label in data.files] == [
        ("b.png", 0),
        ("a.png", 0),
        ("a.png", 1),
    ]
    images, labels = next(iter(DataLoader(data, batch_size=3)))
    assert images.shape == (3, 3, 6, 8)
    assert labels.tolist() == [0, 0, 1]
    data.check()


def test_pictures_are_what_was_written(tmp_path):
    written = picture(tmp_path / "a" / "x.png")
    (image, _) = ImageFolder(tmp_path)[0]
    torch.testing.assert_close(image, written, atol=0.5 / 255 + 1e-6, rtol=0)
    assert ImageFolder(tmp_path, size=5, channels=1)[0][0].shape == (1, 5, 5)
    assert ImageFolder(tmp_path, size=(4, 7), channels=4)[0][0].shape == (4, 4, 7)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_grey_and_not_white(channels, tmp_path):
    grey = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    (tmp_path / "a").mkdir()
    Image.fromarray(grey).save(tmp_path / "a" / "x.png")
    image, _ = ImageFolder(tmp_path, channels=channels)[0]
    expected = torch.from_numpy(grey.astype(np.float32) / 65535).expand(min(channels, 3), 6, 8)
    torch.testing.assert_close(image[:3], expected)
    assert image.shape[0] == channels
    assert bool((image[3:] == 1).all())


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="a folder of pictures for each class, got no folder"):
        ImageFolder(tmp_path)
    picture(tmp_path / "cat" / "x.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"no picture in dog \(.jpg"):
        ImageFolder(tmp_path)
    with pytest.raises(ValueError, match="channels 1, 3 or 4"):
        ImageFolder(tmp_path, channels=2)


def test_damaged_and_mismatched_files_are_all_named(animals):
    whole = (animals / "cat" / "b.png").read_bytes()
    (animals / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (animals / "dog" / "text.png").write_text("no picture")
    picture(animals / "dog" / "wide.png", 6, 9)
    with pytest.raises(ValueError, match="3 of 6 samples") as caught:
        ImageFolder(animals).check()
    said = str(caught.value)
    assert "cut.png: expected a picture" in said
    assert "text.png: expected a picture" in said
    assert "wide.png: expected the size of b.png, 8 x 6, got 9 x 6; give a size" in said
    with pytest.raises(ValueError, match="2 of 6 samples"):
        ImageFolder(animals, size=6).check()


def test_aligned_pairs_have_one_name(tmp_path):
    for name in ("1", "2"):
        picture(tmp_path / "edges" / f"{name}.png", value=0.0)
        picture(tmp_path / "photos" / f"{name}.png", value=1.0)
    data = AlignedPairs(tmp_path / "edges", tmp_path / "photos")
    assert [(a.name, b.name) for a, b in data.files] == [("1.png", "1.png"), ("2.png", "2.png")]
    for first, second in data:
        assert first.max() == 0
        assert second.min() == 1
    picture(tmp_path / "photos" / "2.png", 6, 9)
    with pytest.raises(ValueError, match=r"photos/2.png: expected the size of its .* 9 x 6"):
        data.check()
    picture(tmp_path / "photos" / "3.png")
    (tmp_path / "photos" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"no partner for 1\.png, 3\.png"):
        AlignedPairs(tmp_path / "edges", tmp_path / "photos")


@pytest.mark.parametrize("size", [None, (6, 4), 3])
def test_aligned_pairs_in_one_picture(size, tmp_path):
    write_png(tmp_path / "x.png", torch.cat([torch.zeros(3, 6, 4), torch.ones(3, 6, 4)], dim=2))
    ((first, second),) = AlignedPairs(tmp_path, size=size)
    assert first.shape == second.shape == (3, *((3, 3) if size == 3 else (6, 4)))
    assert (first.max(), second.min()) == (0, 1)
    picture(tmp_path / "y.png", 6, 9)
    with pytest.raises(ValueError, match="two halves of one width, got 9 x 6"):
        AlignedPairs(tmp_path, size=size).check()


def test_unaligned_pairs_are_drawn_by_seed_and_epoch(tmp_path):
    for number in range(3):
        picture(tmp_path / "horses" / f"{number}.png", value=number / 255)
    for number in range(20):
        picture(tmp_path / "zebras" / f"{number:02}.png", value=number / 255)

    def drawn(index):
        return [round(255 * image.max().item()) for image in data[index]]

    data = UnalignedPairs(tmp_path / "zebras", tmp_path / "horses")
    assert len(data) == 20
    data = UnalignedPairs(tmp_path / "horses", tmp_path / "zebras")
    assert len(data) == 20
    assert [drawn(index)[0] for index in range(6)] == [0, 1, 2, 0, 1, 2]
    epochs = [[drawn(SampleIndex(index, epoch))[1] for index in range(20)] for epoch in (0, 0, 1)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert len(set(epochs[0])) > 8
    with pytest.raises(IndexError):
        data[20]
    (tmp_path / "zebras" / "03.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"03\.png"):
        data.check()
    picture(tmp_path / "zebras" / "03.jpg.png")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        UnalignedPairs(tmp_path / "nowhere", tmp_path / "zebras")


def test_two_pictures_of_one_name_are_refused(tmp_path):
    picture(tmp_path / "x.png")
    (tmp_path / "x.webp").write_bytes((tmp_path / "x.png").read_bytes())
    with pytest.raises(ValueError, match="other pictures have the names of x"):
        AlignedPairs(tmp_path)


@pytest.fixture
def pets(tmp_path):
    """Ten cats, five dogs and one hare."""
    for name, count in (("cat", 10), ("dog", 5), ("hare", 1)):
        for number in range(count):
            picture(tmp_path / name / f"{number}.png")
    return tmp_path


def test_every_fifth_of_a_class_is_for_tests(pets):
    assert class_names(pets) == ("cat", "dog", "hare")
    train, test = (ClassificationFolder(pets, split, size=8) for split in ("train", "test"))
    assert [str(f.relative_to(pets)) for f, _ in test.files] == [
        "cat/4.png",
        "cat/9.png",
        "dog/4.png",
    ]
    assert {f for f, _ in train.files}.isdisjoint(f for f, _ in test.files)
    assert len(train) + len(test) == 16
    assert [label for _, label in test.files] == [0, 0, 1]
    assert train[0][0].shape == (3, 8, 8)


def test_folders_of_their_own_for_tests(tmp_path):
    for name in ("train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "val/dog/d.png"):
        picture(tmp_path / name)
    assert class_names(tmp_path) == ("cat", "dog")
    data = ClassificationFolder(tmp_path, "test", classes=("dog", "cat"))
    assert [(f.name, label) for f, label in data.files] == [("c.png", 1), ("d.png", 0)]
    assert [f.name for f, _ in ClassificationFolder(tmp_path, "train").files] == ["a.png", "b.png"]
    (tmp_path / "val" / "dog" / "d.png").unlink()
    with pytest.raises(ValueError, match=r"val: no picture in dog"):
        ClassificationFolder(tmp_path, "test")


def test_classes_that_are_missing_or_unknown(pets):
    with pytest.raises(ValueError, match="each of cat, dog, hare, owl, got no owl"):
        ClassificationFolder(pets, classes=("cat", "dog", "hare", "owl"))
    with pytest.raises(ValueError, match="each of cat, dog, got also hare"):
        ClassificationFolder(pets, classes=("cat", "dog"))
    with pytest.raises(ValueError, match="split train or test"):
        ClassificationFolder(pets, "validation")


def test_too_few_for_a_test(tmp_path):
    picture(tmp_path / "cat" / "x.png")
    ClassificationFolder(tmp_path)
    with pytest.raises(ValueError, match="at least 5 pictures of a class"):
        ClassificationFolder(tmp_path, "test")


def test_a_model_of_grey_pictures_refuses_colours(tmp_path):
    picture(tmp_path / "cat" / "colours.png")
    grey = torch.rand(1, 6, 8)
    write_png(tmp_path / "cat" / "grey.png", grey.expand(3, -1, -1))
    write_png(tmp_path / "cat" / "half.png", torch.cat([grey, torch.full_like(grey, 0.5)]))
    data = ClassificationFolder(tmp_path, size=8, channels=1)
    with pytest.raises(ValueError, match=r"1 of 3 samples:\n.*colours\.png: expected a grey"):
        data.check()
    torch.testing.assert_close(data[2][0], data[1][0] / 2, atol=0.01, rtol=0)
    ClassificationFolder(tmp_path, size=8, channels=3).check()
