"""Convolution by implicit products: what the operators promise, on the CPU, where they are torch's.

The kernels of CUDA are in tests/simt, and on a GPU in test_dilated_conv_cuda.py.
"""

import promises
import torch
import torch.nn.functional as F

from pyfast.ops._implicit_conv import implicit_conv2d
from pyfast.testing import OpCase, checks


def inputs(batch, size):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    weight = normal(6, 2, 3, 2)
    return normal(batch, 4, size + 3, size + 1), weight, normal(6), [2, 1], [2, 1], [2, 3], 2


CASES = [
    OpCase(
        op="dilated_conv2d",
        name="implicit",
        function=implicit_conv2d,
        reference=F.conv2d,
        inputs=inputs,
        operators=(
            "pyfast::implicit_conv2d",
            "pyfast::implicit_conv2d_input",
            "pyfast::implicit_conv2d_weight",
        ),
        differentiable=(0, 1, 2),
        keeps_channels_last=(0,),
        autocast=None,
        native=False,
    )
]
# torch's convolutions give other bits on two threads.
KEPT = [check for check in checks(CASES, on=["cpu"]) if check[1] != "threads"]


@promises.every(KEPT)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)
