"""PyTorch's own samples of its functions, from its tests."""

from functools import cache
from unittest.mock import patch

import pytest
import torch


@cache
def info_of(name):
    """The `OpInfo` of a function, such as "nn.functional.conv2d"."""
    pytest.importorskip("expecttest")  # which torch's samples are imported with
    # The import would forbid everybody to set flags of torch.backends from then on.
    with patch.object(torch.backends, "disable_global_flags"):
        from torch.testing._internal.common_methods_invocations import op_db
    (found,) = [info for info in op_db if info.name == name]
    return found
