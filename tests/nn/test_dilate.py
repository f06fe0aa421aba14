"""Strides turned into dilations, in backbones of the forms that torchvision and timm have."""

import copy

import pytest
import torch
from torch import nn

from pyfast.nn import dilate_


class Bottleneck(nn.Module):
    """The residual block of ResNet-50 and larger, its stride in the 3 x 3 or, as in the first
    paper, in the 1 x 1."""

    def __init__(self, inputs, width, stride, stride_in_first):
        super().__init__()
        first, second = (stride, 1) if stride_in_first else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, width=2, stride_in_first=False, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage in range(4):
            blocks = []
            for i in range(2):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(Bottleneck(inputs, width << stage, stride, stride_in_first))
                inputs = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def features(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.fc(self.avgpool(self.features(x)).flatten(1))


class InvertedResidual(nn.Module):
    """MobileNet v3's: depthwise, with squeeze and excitation."""

    def __init__(self, channels, stride):
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, 5, stride, 2, groups=channels, padding_mode="reflect"
        )
        self.squeeze = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        y = self.depthwise(x).relu()
        y = y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.project(y)


@pytest.mark.parametrize("stride_in_first", [False, True])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_resnet_keeps_its_features_where_they_were(output_stride, stride_in_first):
    torch.manual_seed(0)
    model = ResNet(stride_in_first=stride_in_first).double().eval()
    picture = torch.randn(1, 3, 96, 64, dtype=torch.float64)
    expected = model.features(picture)
    state = copy.deepcopy(model.state_dict())
    assert dilate_(model, output_stride) is model
    dense = model.features(picture)
    assert dense.shape[2:] == (96 // output_stride, 64 // output_stride)
    step = 32 // output_stride
    torch.testing.assert_close(dense[..., ::step, ::step], expected)
    assert model.state_dict().keys() == state.keys()
    torch.testing.assert_close(model.state_dict(), state)


def test_dilations_are_those_of_deeplab():
    model = dilate_(ResNet(), 8)
    rates = [[block.conv2.dilation[0] for block in getattr(model, f"layer{i}")] for i in (2, 3, 4)]
    assert rates == [[1, 1], [1, 2], [2, 4]]
    assert model.training
    assert model.layer3[0].conv2.stride == model.layer3[0].downsample[0].stride == (1, 1)
    assert model.bn1.num_batches_tracked == 0


def test_a_plain_net_of_convolutions_and_poolings():
    """VGG's form, whose poolings have an even window that fits less often once it is wider."""
    layers, inputs = [], 3
    for width in (2, 3, 4, 4, 4):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        inputs = width
    model = nn.Sequential(*layers).double()
    picture = torch.randn(1, 3, 128, 96, dtype=torch.float64)
    expected = model(picture)
    dense = dilate_(model, 8)(picture)[..., ::4, ::4]
    # What the missing row and column do at the lower and right edge, three convolutions later.
    torch.testing.assert_close(dense[..., :2, :1], expected[..., :2, :1])
    assert [layer.stride for layer in model if isinstance(layer, nn.MaxPool2d)][3:] == [(1, 1)] * 2


def test_a_mobile_net_with_squeeze_and_reflected_edges():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), *(InvertedResidual(4, s) for s in (2, 1, 2, 1))
    ).double()
    dilate_(model, 4)
    assert [m.depthwise.dilation[0] for m in list(model)[1:]] == [1, 1, 1, 2]
    dense = model(torch.randn(1, 3, 64, 64, dtype=torch.float64))
    assert dense.shape == (1, 4, 16, 16)


def test_string_padding_and_other_channels():
    model = nn.Sequential(nn.Conv2d(1, 2, 4, 4), nn.Conv2d(2, 2, 3, padding="same"))
    dilate_(model, 2, example=torch.zeros(1, 1, 64, 64))
    assert model[0].stride == (2, 2)
    assert model[1].dilation == (2, 2)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: dilate_("resnet50"), TypeError, "model to be a torch.nn.Module"),
        (lambda: dilate_(ResNet(), 12), ValueError, "output_stride a power of two, got 12"),
        (lambda: dilate_(nn.Linear(1, 1)), ValueError, "a model with an nn.Conv2d"),
        (lambda: dilate_(ResNet(), 8, example=torch.zeros(3, 8)), ValueError, "example of shape"),
        (
            lambda: dilate_(
                nn.Sequential(nn.Conv2d(3, 3, 4, 4), nn.Conv2d(3, 3, 2, 2), nn.AvgPool2d(2)), 2
            ),
            ValueError,
            "no average pooling where layers are dilated, found 2",
        ),
    ],
)
def test_wrong_calls(call, error, match):
    with pytest.raises(error, match=f"^dilate_: expected {match}"):
        call()


def test_a_refused_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 3, 4, 4), nn.Conv2d(3, 3, 2, 2), nn.AvgPool2d(2))
    with pytest.raises(ValueError, match="average pooling"):
        dilate_(model, 2)
    assert model[0].stride == (4, 4)


class MeanShortcut(nn.Module):
    """A block whose shortcut takes the mean of 2 x 2, as in ResNet-D: of stride 1, that is a pixel
    less than the other way gives."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 3, 3, 2, 1), nn.AvgPool2d(2)

    def forward(self, x):
        return self.conv(x) + self.pool(x)


def test_a_model_that_would_not_run_is_left_as_it_was():
    model = nn.Sequential(MeanShortcut(), MeanShortcut()).train()
    with pytest.raises(ValueError, match=r"^dilate_: expected a model that runs without"):
        dilate_(model, 2)
    assert [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)] == [(2, 2), (2, 2)]
    assert model.training
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 8, 8)
