"""`pyfast matte` and `pyfast cutout`: files in, files out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("typer")
from typer.testing import CliRunner

import pyfast
from pyfast.cli import _matting
from pyfast.cli.app import app


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with image.png, trimap.png, drawn.png, and folders of two pictures and trimaps."""
    y, x = np.mgrid[:30, :36]
    radius = np.hypot(y - 15, x - 18)
    alpha = np.clip((8 - radius) / 4 + 0.5, 0, 1)[..., None]
    image = (255 * (alpha * [0.1, 0.8, 0.2] + (1 - alpha) * [0.9, 0.2, 0.3])).astype(np.uint8)
    trimap = np.where(radius < 5, 255, np.where(radius > 11, 0, 128)).astype(np.uint8)
    drawn = image.copy()
    drawn[trimap == 255], drawn[trimap == 0] = 255, 0
    for folder in ("images", "trimaps"):
        (tmp_path / folder).mkdir()
    for name, pixels in (("image", image), ("trimap", trimap), ("drawn", drawn)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    for name in "ab":
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(trimap).save(tmp_path / "trimaps" / f"{name}.png")
    return tmp_path


def no_background(path: Path) -> None:
    """A trimap of foreground and unknown pixels alone."""
    Image.fromarray(np.where(np.eye(30, 36) > 0, 128, 255).astype(np.uint8)).save(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_matte(files: Path, bits: int) -> None:
    image, trimap = files / "image.png", files / "trimap.png"
    code, output = call("matte", image, files / "out.png", "--trimap", trimap, "--bits", bits)
    assert code == 0, output
    assert "out.png" in output
    found = np.array(Image.open(files / "out.png")) / (2**bits - 1)
    pixels, marks = (np.array(Image.open(path)) / 255 for path in (image, trimap))
    np.testing.assert_allclose(found, pyfast.estimate_alpha(pixels, marks), atol=1.1 / 2**bits)
    call("matte", image, files / "drawn-out.png", "-s", files / "drawn.png", "--bits", bits)
    again = np.array(Image.open(files / "drawn-out.png")) / (2**bits - 1)
    np.testing.assert_allclose(again, found, atol=1.1 / 2**bits)


def test_cutout(files: Path) -> None:
    arguments = "cutout", files / "image.png", files / "out.png", "-t", files / "trimap.png"
    assert call(*arguments)[0] == 0
    with Image.open(files / "out.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (36, 30))
        found = np.array(picture)
    wanted = pyfast.cutout(files / "image.png", files / "trimap.png")
    np.testing.assert_allclose(found, np.array(wanted), atol=1)
    assert call(*arguments, "--bits", 16)[0] == 0
    assert (files / "out.png").read_bytes()[24:26] == b"\x10\x06"  # 16 bits of RGBA


def test_folders(files: Path) -> None:
    code, output = call("cutout", files / "images", files / "new" / "out", "-t", files / "trimaps")
    assert code == 0, output
    assert sorted(path.name for path in (files / "new" / "out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["image.png", "out.png"], "expected one of --trimap and --scribbles"),
        (["image.png", "out.png", "-t", "trimap.png", "-s", "drawn.png"], "one of --trimap and"),
        (["none.png", "out.png", "-t", "trimap.png"], "none.png: there is no such file"),
        (["image.png", "out.png", "-t", "none.png"], "none.png: there is no such file"),
        (["image.png", "out.jpg", "-t", "trimap.png"], "the output to be a .png file"),
        (["image.png", "no/out.png", "-t", "trimap.png"], "no: there is no such folder"),
        (["image.png", "out.png", "-t", "trimap.png", "--bits", "12"], "--bits to be 8 or 16"),
        (["images", "out", "-t", "trimap.png"], "a folder of marks for a folder of pictures"),
        (["images", "out", "-t", "empty"], "there are no marks for a.jpg, b.jpg"),
        (["empty", "out", "-t", "trimaps"], "there is no picture in it"),
        (["image.png", "out.png", "-s", "image.png"], "expected white strokes in drawn"),
        (["image.png", "out.png", "-t", "text.png"], "expected a picture, got a file that Pillow"),
        (["image.png", "out.png", "-t", "white.png"], "expected trimap to mark some pixels as"),
        (["image.png", "out.png", "-t", "trimap.png", "--epsilon", "0"], "epsilon"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    (files / "empty").mkdir()
    (files / "text.png").write_text("no picture")
    no_background(files / "white.png")
    monkeypatch.chdir(files)
    code, output = call("matte", *arguments)
    assert code == 2
    assert sentence in " ".join(output.replace("│", " ").split())
    assert not (files / "out.png").exists()


def test_pictures_of_one_name_do_not_overwrite_each_other(files: Path) -> None:
    (files / "images" / "a.png").write_bytes((files / "images" / "a.jpg").read_bytes())
    code, output = call("matte", files / "images", files / "out", "-t", files / "trimaps")
    assert code == 2
    assert "a.jpg, a.png would be written" in output
    assert not (files / "out").exists()


def test_a_failure_in_a_folder_does_not_stop_the_others(files: Path) -> None:
    no_background(files / "trimaps" / "a.png")
    code, output = call("matte", files / "images", files / "out", "-t", files / "trimaps")
    assert code == 2
    assert "a.jpg" in output
    assert [path.name for path in (files / "out").iterdir()] == ["b.png"]


def test_progress_reaches_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with _matting._progress(console, "small", 10) as report:
        assert report is None
    with _matting._progress(console, "large", _matting.LARGE) as report:
        assert report is not None
        for iteration, residual in enumerate((1.0, 1e-3, 1e-8)):
            report(iteration, residual, 1e-7)


def test_pictures_and_marks_are_not_written_over(files: Path) -> None:
    image, trimap, folder = files / "image.png", files / "trimap.png", files / "trimaps"
    before = trimap.read_bytes(), (folder / "a.png").read_bytes()
    for output in (image, trimap):
        assert "is read too" in call("matte", image, output, "--trimap", trimap)[1]
    code, output = call("matte", files / "images", folder, "--trimap", folder)
    assert (code, "is read too" in output) == (2, True)
    assert (trimap.read_bytes(), (folder / "a.png").read_bytes()) == before
