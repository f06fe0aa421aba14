"""Trains the small models whose weights ship with the package, and writes them there."""

import sys
from tempfile import TemporaryDirectory

import torch

from pyfast import zoo
from pyfast._threads import one_thread
from pyfast.train import evaluate, train
from pyfast.zoo.hub import SHIPPED

NAMES = ("stn_cnn.tiny",)
LARGEST = 5 * 2**20  # bytes of all together


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        with one_thread(), TemporaryDirectory() as folder:
            torch.manual_seed(0)
            model = zoo.create_model(name)
            train(model, folder, device="cpu", tensorboard=False)
            model.origin = {
                "source": f"pyfast's recipe for {name}, seed 0",
                "licence": "Apache-2.0",
                **{key: f"{value:.3f} on test data" for key, value in evaluate(model).items()},
            }
        file = zoo.save_pretrained(model.eval(), SHIPPED / f"{name}.safetensors")
        print(f"{file.name}: {file.stat().st_size / 1024:.0f} KiB, {model.origin}", flush=True)
    size = sum(file.stat().st_size for file in SHIPPED.iterdir())
    if size > LARGEST:
        sys.exit(f"weights: {size} bytes in all, more than {LARGEST}")


if __name__ == "__main__":
    main()
