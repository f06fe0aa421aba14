"""Code of a user that `mypy --strict` has to accept, as `make check` asks: it is never run."""

import numpy as np
import torch

import pyfast
from pyfast import _C

image, theta = torch.rand(1, 3, 8, 9), torch.eye(2, 3)[None]
warped: torch.Tensor = pyfast.affine_grid_sample(image, theta, size=(6, 7))
module = pyfast.nn.SpatialTransformer(torch.nn.Flatten(), size=28, transform="similarity")
straightened, found = module(image, return_theta=True)

array = np.zeros((1, 3, 8, 9))
matrix = np.zeros((1, 2, 3))
of_arrays: np.ndarray = _C.matrix_sample(array, matrix, (6, 7), padding_mode="border")
same: torch.Tensor = _C.matrix_sample(image, theta, (6, 7), out=warped)
