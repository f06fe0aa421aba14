"""Memory of one training step, measured in the process that makes it: prints JSON.

python -m benchmarks.zoo.step_memory MODEL pyfast|torch
"""

import ctypes
import json
import sys

import torch

import pyfast
from benchmarks.memory import peak_of
from benchmarks.zoo.bench_models import MODELS, batch, step
from pyfast import zoo


def main() -> None:
    name, backend = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    form = MODELS[name]
    model = zoo.create_model(f"{name}.tiny", backend=backend, **form.settings)
    data = batch(model, form.shape[0], torch.device("cpu"))
    call = step(model, data)
    call()  # what is loaded on a first call is no matter of the step
    pyfast.clear_scratch()
    ctypes.CDLL(None).malloc_trim(0)
    print(json.dumps({"peak": peak_of(call)}))


if __name__ == "__main__":
    main()
