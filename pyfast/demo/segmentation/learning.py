"""The section on learning: a DeepLab from scratch, measured with and without the CRF."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from pyfast._threads import one_thread
from pyfast.data import Scenes, colour_labels
from pyfast.demo.page import Block, Chart, Charts, Fact, Line, Picture, Section, Table, Text
from pyfast.demo.pictures import enlarge, mosaic, save
from pyfast.demo.timing import duration
from pyfast.train.batches import Batches, batches_from
from pyfast.zoo import create_model

MODEL = "deeplabv2_vgg16.tiny"
STEPS, EVERY = 300, 30
SHOWN = (8, 13, 22, 34, 43, 50)  # of the test scenes
PIXELS = 128  # side of a scene on the page


class Measurement(NamedTuple):
    """After some steps, what `evaluate` says of the test scenes."""

    step: int
    plain: dict[str, float]
    refined: dict[str, float]  # with the CRF


def section(
    folder: Path, console: Console, steps: int = STEPS, every: int = EVERY
) -> tuple[Section, list[Fact], Picture]:
    """Trains and measures; returns the section, its facts and a picture for the front page."""
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(0)
        model = create_model(MODEL, steps=steps)
        test = _test_scenes(model)
        size = f"{model.config.crop} x {model.config.crop}"
        console.print(
            f"\n[bold]Scenes[/]: {size} pixels, new ones in every step; {len(test[0])} others to "
            "test"
        )
        history, seconds = _train(model, test, every, console)
        tiles = _tiles(model, test)
    plain, refined = history[-1].plain["miou"], history[-1].refined["miou"]
    console.print(f"  mean IoU {plain:.3f} before the CRF, {refined:.3f} after it")
    caption = (
        "Test scenes, their labels, what the network says, and what becomes of that in ten "
        "iterations of the CRF. The network gives scores at every eighth pixel; what it misses "
        "altogether the CRF does not find."
    )
    rows = ("scene", "labels", "network", "with the CRF")
    shown = save(folder, "scenes.png", mosaic(tiles, gap=6), caption, rows=rows)
    preview = save(
        folder,
        "preview.png",
        mosaic(tiles[[0, 2, 3], 2:5], gap=6),
        "Scenes, what a small DeepLab says of them, and what the CRF makes of it.",
    )
    intro = Text(
        "VGG-16, with an eighth of its channels and dilations in the place of its last two "
        f"poolings, learns from {steps * model.config.batch_size} generated scenes: noise hides "
        "the colours from a network that looks at a few pixels. Its head looks at the features at "
        "four rates and adds up what it finds. The CRF has nothing to learn here: pixels that are "
        "near and of like colour are to have the same label."
    )
    facts = [
        Fact(f"{refined:.2f}", f"mean IoU of a DeepLab trained in {seconds:.0f} s, with the CRF"),
        Fact(f"+{100 * (refined - plain):.0f} points", "of mean IoU by the CRF"),
    ]
    blocks: list[Block] = [intro, _curves(history), shown, _by_label(history[-1], seconds, steps)]
    return Section("From scenes to labels", blocks), facts, preview


def _test_scenes(model: Any) -> tuple[Tensor, Tensor]:
    scenes = model.dataset("test")
    pairs = [scenes[index] for index in range(len(scenes))]
    image, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
    return image, labels


def _train(
    model: Any, test: tuple[Tensor, Tensor], every: int, console: Console
) -> tuple[list[Measurement], float]:
    """Trains with a progress bar; the measurements, and the seconds of the training alone."""
    columns = (
        TextColumn("  {task.description:28}"),
        BarColumn(),
        TextColumn("mean IoU {task.fields[miou]:.3f}"),
        TimeElapsedColumn(),
    )
    history: list[Measurement] = []
    seconds, start = 0.0, time.perf_counter()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(MODEL, total=model.config.steps, miou=0.0)
        for step in run(model):
            if step % every == 0 or step == model.config.steps:
                seconds += time.perf_counter() - start
                plain, refined = (model.evaluate([test], crf=crf) for crf in (False, True))
                history.append(Measurement(step, plain, refined))
                progress.update(task, completed=step, miou=plain["miou"])
                start = time.perf_counter()
    return history, seconds


def run(model: Any, seed: int = 0) -> Iterator[int]:
    """Trains by the system's own update; yields how many steps are done."""
    (update,) = model.updates()
    optimiser = update.make_optimizer(model.named_parameters())
    schedule = update.schedule(optimiser)
    data = model.dataset()
    batches = batches_from(data, Batches(len(data), model.config.batch_size, seed), start=0)
    model.train()
    for step, batch in enumerate(islice(batches, model.config.steps), start=1):
        optimiser.zero_grad()
        update.loss(batch).backward()
        optimiser.step()
        schedule.step()
        yield step


def _tiles(model: Any, test: tuple[Tensor, Tensor]) -> Tensor:
    """Scenes, labels, network, network with CRF: (4, scenes, 3, PIXELS, PIXELS)."""
    image, labels = (part[list(SHOWN)] for part in test)
    found = [labels, *(model.segment(image, crf=crf) for crf in (False, True))]
    colours = [colour_labels(each).float() / 255 for each in found]
    return enlarge(torch.stack([image, *colours]), PIXELS)


def _curves(history: list[Measurement]) -> Charts:
    steps = [each.step for each in history]
    lines = [
        Line("network", [(each.step, each.plain["miou"]) for each in history]),
        Line("with the CRF", [(each.step, each.refined["miou"]) for each in history]),
    ]
    ticks = [(step, str(step)) for step in (steps[0], steps[len(steps) // 2], steps[-1])]
    return Charts(
        [Chart("Mean IoU of test scenes during training", "steps", lines, ticks)],
        "The mean over the labels of intersection over union, of the same network in every step.",
    )


def _by_label(last: Measurement, seconds: float, steps: int) -> Table:
    rows = [
        (name, f"{last.plain[key]:.3f}", f"{last.refined[key]:.3f}")
        for name, key in (
            *((str(label), f"iou {number}") for number, label in enumerate(Scenes.labels)),
            ("mean", "miou"),
            ("pixels that are right", "accuracy"),
        )
    ]
    return Table(
        ("label", "network", "with the CRF"),
        rows,
        f"Intersection over union on the test scenes after {steps} steps, {duration(seconds)} of "
        "training on one thread.",
        strong=[2],
    )
