"""The section on digits: networks trained before the reader's eyes, and what came out."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor

from pyfast._threads import one_thread
from pyfast.data import Distortion, digits
from pyfast.demo.page import Block, Chart, Charts, Fact, Line, Picture, Section, Table, Text
from pyfast.demo.pictures import save, save_animation
from pyfast.demo.sampling.absorption import absorption
from pyfast.demo.sampling.digits import (
    CANVAS,
    DIGIT,
    EVERYTHING,
    NONE,
    Backend,
    Split,
    alone,
    amount,
    draw,
    maps,
)
from pyfast.demo.sampling.film import Film
from pyfast.demo.sampling.networks import Classifier, TransformerCNN, cnn, parameters, pooling_cnn
from pyfast.demo.sampling.training import Training, accuracy, deviation
from pyfast.demo.timing import compare, duration
from pyfast.nn import SpatialTransformer

PLAIN, POOLING, TRANSFORMER = "CNN", "CNN, global max pooling", "CNN with spatial transformer"
NETWORKS: Mapping[str, Callable[[], Classifier | TransformerCNN]] = {
    PLAIN: cnn,
    POOLING: pooling_cnn,
    TRANSFORMER: TransformerCNN,
}
EPOCHS = 50  # with fewer a transformer reads digits before it has learnt to turn them
RENDERINGS = 4  # of every test digit, for the accuracies in the table

Trainings = Mapping[str, Training]


def section(
    folder: Path, console: Console, epochs: int = EPOCHS, upright_epochs: int = 10
) -> tuple[Section, list[Fact], Picture]:
    """Trains, compares and times; returns the section, its facts and a picture of the digits."""
    split = Split.of(digits())
    console.print(
        f"\n[bold]Digits[/]: rotated, scaled and shifted; {len(split.train.labels)} to learn from, "
        f"{len(split.test.labels)} others to test"
    )
    film = Film.of(split)
    trained = _train_all(NETWORKS, split, epochs, EVERYTHING, console, film)
    console.print("  the same networks on upright digits, to see what max pooling absorbs")
    upright = _train_all((PLAIN, POOLING), split, upright_epochs, NONE, console)
    console.print("  the same training on plain torch, for its time")
    times = _training_times(split)
    results, final = _accuracies(trained, split)
    gain = 100 * (final[TRANSFORMER] - final[PLAIN])
    console.print(
        f"  accuracy {final[TRANSFORMER]:.3f} with a spatial transformer, "
        f"{final[PLAIN]:.3f} with the larger CNN"
    )

    size = {name: parameters(training.network) for name, training in trained.items()}
    before, after = deviation(trained[TRANSFORMER].network.get_submodule("transformer"), split.test)
    intro = Text(
        "A spatial transformer looks at the image, predicts how to shift, scale and turn it, and "
        "resamples it. Nobody tells it what upright is: it learns from the labels alone, helped by "
        "a linear classifier that can tell digits apart only if those of a class look alike. Test "
        f"digits are {before:.0f} degrees off the usual angle of their class, in the median, and "
        f"{after:.0f} behind the transformer. The CNN there sees {DIGIT} x {DIGIT} pixels instead "
        f"of {CANVAS} x {CANVAS} and can stay small: {size[TRANSFORMER]:,} parameters in all, "
        f"against {size[PLAIN]:,} of the plain CNN."
    )
    still = save(folder, "digits.png", film.frames[-1], "Input digits above, straightened below.")
    moving = save_animation(
        folder,
        "digits.webp",
        film.frames,
        "Test digits, one frame an epoch. The frame in the input is the region that the "
        "transformer cuts out; below it what the CNN gets to see.",
        rows=("input", "straightened"),
    )
    facts = [
        Fact(f"{final[TRANSFORMER]:.1%}", "of disturbed digits read with a spatial transformer"),
        Fact(
            f"+{gain:.0f} points",
            f"over a CNN with {size[PLAIN] / size[TRANSFORMER]:.1f} times as many parameters",
        ),
    ]
    pooling = absorption(upright[PLAIN].network, upright[POOLING].network, split.test)
    blocks: list[Block] = [intro, moving, _learning_curves(trained), results, *pooling, times]
    return Section("Digits, straightened", blocks), facts, still


def _train_all(
    names: Iterable[str],
    split: Split,
    epochs: int,
    disturbance: Distortion,
    console: Console,
    film: Film | None = None,
) -> Trainings:
    """Trains networks, two at a time, each on one thread and with a progress bar."""
    with torch.random.fork_rng(devices=[]):
        trainings = {}
        for name in names:
            torch.manual_seed(0)
            trainings[name] = Training(NETWORKS[name](), split, epochs, disturbance)
    columns = (
        TextColumn("  {task.description:28}"),
        BarColumn(),
        TextColumn("test accuracy {task.fields[accuracy]:.3f}"),
        TimeElapsedColumn(),
    )
    interrupted = threading.Event()

    def train(training: Training, task: TaskID) -> None:
        torch.set_num_threads(1)  # networks this small gain little from a second one
        for test_accuracy in training.run():
            progress.update(task, advance=1, accuracy=test_accuracy)
            if film and isinstance(training.network, TransformerCNN):
                film.shoot(training.network.transformer)
            if interrupted.is_set():
                return

    with (
        Progress(*columns, console=console) as progress,
        one_thread(),
        ThreadPoolExecutor(2) as workers,
    ):
        tasks = {name: progress.add_task(name, total=epochs, accuracy=0.0) for name in trainings}
        # The transformer's takes longest: it begins first.
        for done in [
            workers.submit(train, trainings[name], tasks[name]) for name in reversed(trainings)
        ]:
            try:
                done.result()
            except BaseException:
                interrupted.set()
                raise
    return trainings


def _learning_curves(trained: Trainings) -> Charts:
    epochs = trained[PLAIN].epochs
    lines = [Line(name, list(enumerate(run.history, start=1))) for name, run in trained.items()]
    ticks = [(epoch, str(epoch)) for epoch in (1, epochs // 2, epochs)]
    return Charts(
        [Chart("Accuracy on test digits during training", "epochs", lines, ticks)],
        "All networks see the same digits, equally disturbed, equally often.",
    )


def _accuracies(trained: Trainings, split: Split) -> tuple[Table, dict[str, float]]:
    """The table of accuracies, and those under everything by network."""
    disturbances = {
        "upright": NONE,
        "shifted": alone("shift"),
        "scaled": alone("scale"),
        "rotated": alone("rotation"),
        "all three": EVERYTHING,
    }
    rows, final = [], {}
    for name, run in trained.items():
        values = [
            accuracy(run.network, split.test, disturbance, RENDERINGS)
            for disturbance in disturbances.values()
        ]
        final[name] = values[-1]
        cells = [f"{value:.3f}" for value in values]
        rows.append([name, f"{parameters(run.network):,}", duration(run.seconds), *cells])
    header = ["trained on all three", "parameters", "training", *disturbances]
    caption = (
        f"Accuracy on test digits, shifted by up to {amount('shift'):.0f} pixels, scaled by up to "
        f"{amount('scale')} either way, rotated by up to {amount('rotation'):.0f} degrees."
    )
    return Table(header, rows, caption, strong=[len(header) - 1]), final


def _training_times(split: Split) -> Table:
    """The same training with pyfast and with plain torch, in turns, on one thread."""
    images = split.train.images
    drawn_by = maps(EVERYTHING, len(images), seed=0)
    backends: tuple[Backend, Backend] = ("pyfast", "torch")
    networks, runs = [], []
    for backend in backends:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks.append(TransformerCNN(backend))
        runs.append(Training(networks[-1], split, epochs=100, backend=backend))
    ours, theirs = runs
    batch = draw(images[:64], drawn_by[:64])
    with one_thread():
        measured = {
            f"drawing {len(images)} disturbed digits": compare(
                lambda: draw(images, drawn_by, "pyfast"),
                lambda: draw(images, drawn_by, "torch"),
                0.5,
            ),
            "spatial transformer and its localisation network, 64 digits": compare(
                _pass_through(networks[0].transformer, batch),
                _pass_through(networks[1].transformer, batch),
                0.5,
            ),
            "a whole epoch, convolutions and optimiser included": compare(
                lambda: ours.epoch(0), lambda: theirs.epoch(0), 5.0
            ),
        }
    return Table(
        ("part of the training", "torch", "pyfast", "ratio"),
        [
            (what, duration(time.theirs), duration(time.ours), f"{time.ratio:.2f}x")
            for what, time in measured.items()
        ],
        "The same network, weights and digits with the operators of pyfast and of plain torch; "
        "one thread, medians of neighbouring runs in turns.",
        strong=[3],
    )


def _pass_through(transformer: SpatialTransformer, batch: Tensor) -> Callable[[], None]:
    return lambda: transformer(batch).sum().backward()
