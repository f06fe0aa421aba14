"""The section on learning: the weights of both kernels, found again from labels alone."""

from time import perf_counter

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from pyfast._threads import one_thread
from pyfast.data import PHOTOGRAPHS, photograph
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.timing import duration
from pyfast.nn import DenseCRF

TRUTH = (4.0, 3.0)  # bilateral, Gaussian
START = (1.0, 1.0)
LABELS = 4
SIDE = 64
STEPS = 50
SHOWN = (0, 5, 10, 20, 30, 50)


def pictures() -> Tensor:
    """A square amid every photograph, at half its size, (5, 3, SIDE, SIDE)."""
    found = []
    for name in PHOTOGRAPHS:
        image = photograph(name)
        top, left = ((side - 2 * SIDE) // 2 for side in image.shape[1:])
        square = image[None, :, top : top + 2 * SIDE, left : left + 2 * SIDE]
        found.append(F.avg_pool2d(square.float(), 2))
    return torch.cat(found)


def guesses(images: Tensor, generator: torch.Generator) -> Tensor:
    """Energies by brightness, with noise."""
    level = images.mean(1, keepdim=True) / 256 * LABELS - 0.5
    distance = (level - torch.arange(LABELS).view(1, -1, 1, 1)).square()
    return distance + torch.randn(distance.shape, generator=generator)


def crf(weights: tuple[float, float]) -> DenseCRF:
    module = DenseCRF(LABELS, learn=["weights"], preset="pydensecrf")
    with torch.no_grad():
        module.weights.copy_(torch.tensor(weights))
    return module


def learn(steps: int = STEPS) -> tuple[list[tuple[float, float, float]], float]:
    """Weights and loss before each step and after the last, and the seconds it took."""
    generator = torch.Generator().manual_seed(0)
    images = pictures()
    unary = guesses(images, generator)
    with torch.no_grad():
        true = crf(TRUTH)(unary, images).permute(0, 2, 3, 1).reshape(-1, LABELS)
    # Labels are drawn as probable as the true CRF has them: nothing else of it is seen.
    labels = torch.multinomial(true.clamp_min(0), 1, generator=generator)
    labels = labels.view(len(images), SIDE, SIDE)
    model = crf(START)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.2, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    history = []
    start = perf_counter()
    for _ in range(steps):
        loss = F.nll_loss(model(unary, images).clamp_min(1e-8).log(), labels)
        history.append((*model.weights.tolist(), loss.item()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = perf_counter() - start
    with torch.no_grad():
        loss = F.nll_loss(model(unary, images).clamp_min(1e-8).log(), labels)
    return [*history, (*model.weights.tolist(), loss.item())], seconds


def section(console: Console) -> tuple[Section, Fact]:
    """Learns, and tells how near it came."""
    console.print(f"\n[bold]Learning[/]: two weights, from labels of {len(PHOTOGRAPHS)} pictures")
    with one_thread():  # pictures so small gain nothing from a second one
        history, seconds = learn()
    rows = [
        (str(step), *(f"{value:.2f}" for value in history[step][:2]), f"{history[step][2]:.4f}")
        for step in SHOWN
    ]
    bilateral, gaussian = history[-1][:2]
    console.print(f"  {bilateral:.2f} and {gaussian:.2f} after {duration(seconds)}")
    table = Table(
        ("step", "bilateral weight", "Gaussian weight", "loss"),
        [*rows, ("truth", *(f"{value:.2f}" for value in TRUTH), "")],
        f"Adam on the labels' negative log likelihood, {STEPS} steps in {duration(seconds)}.",
        strong=[1, 2],
    )
    text = Text(
        "Five iterations of mean field are a layer: gradients go through them to energies, "
        "weights, sigmas and costs. Here a CRF with weights 4 and 3 drew labels at random, as "
        "probable as its marginals. Another one, which starts with weights 1 and 1, sees the same "
        "pictures, energies and those labels, and finds the weights again."
    )
    worst = max(abs(a / b - 1) for a, b in zip(history[-1][:2], TRUTH, strict=True))
    fact = Fact(f"{worst:.1%}", f"off at most: two weights found from labels in {seconds:.0f} s")
    return Section("Weights learned from labels", [text, table]), fact
