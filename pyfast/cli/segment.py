"""`pyfast segment`: labels for the pixels of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pyfast.cli._outputs import expect_apart, outputs


def segment(
    image: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    output: Annotated[Path, typer.Argument(help="A .png file, or a folder for a folder.")],
    model: Annotated[str, typer.Option(help="A folder or file that save_pretrained wrote.")],
    crf: Annotated[
        bool | None, typer.Option(help="Refine by a dense CRF; default: as the model says.")
    ] = None,
    scales: Annotated[str, typer.Option(help="Sizes of copies to average, as 0.5,1,1.5.")] = "1",
    flip: Annotated[bool, typer.Option(help="Average with mirrored copies.")] = False,
    tile: Annotated[int | None, typer.Option(help="Side of tiles for large pictures.")] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that tiles share; default: a quarter of a tile.")
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Also write NAME-overlay.png.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
) -> None:
    """Give every pixel a label: PNG files with the palette of the model.

    What fails in a folder is told at the end, after the others are done.
    """
    jobs = outputs(image, output)
    overlays = {target: target.with_name(f"{target.stem}-overlay.png") for _, target in jobs}
    expect_apart(
        (source for source, _ in jobs), [*overlays, *(overlays.values() if overlay else ())]
    )
    try:
        sizes = [float(scale) for scale in scales.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"expected --scales as 0.5,1,1.5, got {scales}") from error
    from pyfast import zoo
    from pyfast.data import read_image
    from pyfast.zoo.segmentation import Segmenter

    try:
        loaded = zoo.from_pretrained(model, device=device)
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    if not isinstance(loaded, Segmenter):
        raise typer.BadParameter(f"{model} is no model for segmentation")
    options: Any = {"crf": crf, "scales": sizes, "flip": flip, "tile": tile, "overlap": overlap}
    failures = []
    for source, target in jobs:
        try:
            result = zoo.segment(read_image(source), loaded, **options)
            _write(result.labels, target)
            if overlay:
                _write(result.overlay, overlays[target])
        except (ValueError, OSError) as error:
            failures.append(f"{source}: {error}")
        else:
            found = ", ".join(f"{name} {share:.1%}" for name, share in result.found.items())
            typer.echo(f"{target}: {found}")
    if failures:
        raise typer.BadParameter("\n".join(failures))


def _write(picture: Any, path: Path) -> None:
    from pyfast._files import atomic_write

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        picture.save(part, format="PNG")
