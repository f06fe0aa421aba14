"""A fully connected CRF as the last layer of a network.

References: Krähenbühl, Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials, 2011. Zheng et al.: Conditional Random Fields as Recurrent Neural Networks, 2015.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import HALVES, expect_choice, expect_count, expect_tensor, shape_error
from pyfast.ops._dense_crf_reference import dense_crf_reference
from pyfast.ops.dense_crf import METHODS, NORMALIZATIONS, dense_crf


class Preset(NamedTuple):
    """Numbers of somebody's CRF."""

    bilateral_sigma_xy: float
    bilateral_sigma_rgb: float
    gaussian_sigma: float
    bilateral_weight: float
    gaussian_weight: float
    iterations: int
    normalization: str


PRESETS = {
    "deeplab_v2_resnet101": Preset(67, 3, 1, 4, 3, 10, "after"),
    "deeplab_v2_vgg16": Preset(65, 3, 2, 4, 2, 10, "after"),
    "pydensecrf": Preset(80, 13, 3, 10, 3, 5, "symmetric"),
    "crf_rnn": Preset(160, 3, 3, 5, 3, 5, "after"),
}
LEARNABLE = ("weights", "compatibility", "sigmas")


class DenseCRF(nn.Module):
    """Mean field in a fully connected CRF over pixels, with what it needs to be learned.

    Two kernels connect every pixel with every other: of places and colours, and of places alone.
    The module starts as its preset. Parameters, which are there as buffers of the same name where
    they are not to be learned:

    - `weights`, (2,): of the bilateral and of the Gaussian kernel;
    - `log_sigmas`, (3,): logarithms of the bilateral sigma of places and of colours and of the
      Gaussian sigma, so that they stay positive. Weight decay would draw the sigmas to 1;
    - `compatibility`, (L, L): costs of labels that meet; the mean with its transpose is taken. It
      starts as minus the identity, Potts. Where it is neither learned nor given there is none,
      which is Potts and faster.

    Args:
        num_labels: number of labels, L.
        learn: any of "weights", "compatibility", "sigmas".
        preset: whose numbers (sigma of places, of colours, Gaussian sigma; weights; iterations;
            normalisation):
            "deeplab_v2_resnet101": 67, 3, 1; 4, 3; 10; after. The paper's post-processing;
            "deeplab_v2_vgg16": 65, 3, 2; 4, 2; 10; after. The same for the smaller network;
            "pydensecrf": 80, 13, 3; 10, 3; 5; symmetric. Its example;
            "crf_rnn": 160, 3, 3; 5, 3; 5; after. Where training of CRF-as-RNN starts, which
            learns a matrix for each kernel's weight and tests with 10 iterations.
        iterations: of mean field; None for the preset's. The attribute may be changed, for
            instance to more when training is over.
        normalization: "none", "before", "after" or "symmetric", see `pyfast.GaussianFilter`; None
            for the preset's.
        method: "lattice", "closed" or "exact", see `pyfast.dense_crf`.
        compatibility: where `compatibility` starts, or stays: costs (L, L).
        backend: "pyfast", or "torch" for plain PyTorch operators: for comparisons, and with the
            method "exact" for export. It is slow.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a name is unknown, a number is not positive or a shape does not fit.

    References: Chen et al., DeepLab, 2016, section 3.3; Zheng et al., 2015, section 4.

    Example:
        >>> crf = DenseCRF(3, learn=["weights"], preset="pydensecrf")
        >>> logits, image = torch.randn(1, 3, 20, 30), torch.rand(1, 3, 20, 30) * 255
        >>> crf(-logits, image).shape
        torch.Size([1, 3, 20, 30])
        >>> sum(parameter.numel() for parameter in crf.parameters())
        2
    """

    weights: Tensor
    log_sigmas: Tensor
    compatibility: Tensor | None

    def __init__(
        self,
        num_labels: int,
        learn: Sequence[str] = LEARNABLE,
        preset: Literal[
            "deeplab_v2_resnet101", "deeplab_v2_vgg16", "pydensecrf", "crf_rnn"
        ] = "deeplab_v2_resnet101",
        *,
        iterations: int | None = None,
        normalization: Literal["none", "before", "after", "symmetric"] | None = None,
        method: Literal["lattice", "closed", "exact"] = "lattice",
        compatibility: Tensor | None = None,
        backend: Literal["pyfast", "torch"] = "pyfast",
    ) -> None:
        super().__init__()
        expect_choice("DenseCRF", "backend", backend, ("pyfast", "torch"))
        expect_count("DenseCRF", "num_labels", num_labels)
        if not isinstance(learn, Iterable):
            raise TypeError(f"DenseCRF: expected learn to be a sequence of names, got {learn!r}")
        learn = (learn,) if isinstance(learn, str) else tuple(learn)
        for name in learn:
            expect_choice("DenseCRF", "learn", name, LEARNABLE)
        expect_choice("DenseCRF", "preset", preset, tuple(PRESETS))
        numbers = PRESETS[preset]
        self.num_labels = num_labels
        self.preset = preset
        self.iterations = numbers.iterations if iterations is None else iterations
        self.normalization = numbers.normalization if normalization is None else normalization
        self.method = method
        self.backend = backend
        expect_count("DenseCRF", "iterations", self.iterations)
        expect_choice("DenseCRF", "normalization", self.normalization, NORMALIZATIONS)
        expect_choice("DenseCRF", "method", method, METHODS)
        start = None
        if compatibility is not None:
            expect_tensor("DenseCRF", "compatibility", compatibility)
            if tuple(compatibility.shape) != (num_labels, num_labels):
                shape = f"({num_labels}, {num_labels})"
                raise shape_error("DenseCRF", "compatibility", shape, compatibility)
            if not compatibility.is_floating_point():
                raise TypeError(
                    f"DenseCRF: expected compatibility of floats, got {compatibility.dtype}"
                )
            start = compatibility.detach().clone()
        elif "compatibility" in learn:
            start = -torch.eye(num_labels)
        floats = torch.tensor(numbers[:5], dtype=torch.get_default_dtype())
        self._hold("weights", floats[3:].clone(), "weights" in learn)
        self._hold("log_sigmas", floats[:3].log(), "sigmas" in learn)
        self._hold("compatibility", start, "compatibility" in learn)

    def _hold(self, name: str, value: Tensor | None, learned: bool) -> None:
        if learned and value is not None:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @property
    def sigmas(self) -> Tensor:
        """Sigma of places and of colours of the bilateral kernel, and the Gaussian's, (3,)."""
        logarithms = self.log_sigmas
        return (logarithms.float() if logarithms.dtype in HALVES else logarithms).exp()

    def forward(self, unary: Tensor, image: Tensor) -> Tensor:
        """Marginals, (B, L, H, W).

        Args:
            unary: energies, (B, L, H, W): -log p, or the logits of a network with their sign
                turned, which differ from it by a number for each pixel. float32 or float64; halves
                are widened under autocast, and in a module of halves.
            image: (B, C, H, W), uint8 or float in the units of the sigma of colours: the presets'
                mean values of 0 to 255.
        """
        expect_tensor("DenseCRF", "unary", unary)
        if unary.dim() != 4 or unary.shape[1] != self.num_labels:
            raise shape_error("DenseCRF", "unary", f"(B, {self.num_labels}, H, W)", unary)
        # A mean field takes float32, in a model of halves too.
        is_half = self.weights.dtype in HALVES or is_autocast_on(unary.device.type)
        if is_half and unary.dtype in HALVES:
            unary = unary.float()
        if is_half and isinstance(image, Tensor) and image.dtype in HALVES:
            image = image.float()
        places, colours, gaussian = self.sigmas.to(unary.dtype).unbind()
        bilateral_weight, gaussian_weight = self.weights.to(unary.dtype).unbind()
        matrix = self.compatibility
        function = dense_crf if self.backend == "pyfast" else dense_crf_reference
        return function(
            unary,
            image,
            bilateral_sigma_xy=places,
            bilateral_sigma_rgb=colours,
            bilateral_weight=bilateral_weight,
            gaussian_sigma=gaussian,
            gaussian_weight=gaussian_weight,
            compatibility=None if matrix is None else matrix.to(unary.dtype),
            iterations=self.iterations,
            normalization=self.normalization,
            method=self.method,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_labels}, preset={self.preset!r}, iterations={self.iterations}, "
            f"normalization={self.normalization!r}, method={self.method!r}"
        )
