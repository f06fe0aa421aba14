"""From a file in the layout of another repository to a model of the zoo."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from pyfast.zoo.checkpoints.layouts import COUNTER, LAYOUTS, Layout
from pyfast.zoo.checkpoints.reading import read_state
from pyfast.zoo.registry import create_model, find, name_of, nearest
from pyfast.zoo.system import Model

SHOWN = 8
ENOUGH = 0.5


def load_checkpoint(
    file: str | PathLike[str],
    *,
    model: Model | None = None,
    layout: str = "auto",
    strict: bool = True,
) -> Any:
    """The network of a public checkpoint, in evaluation mode.

    Called with what the reference model is called with, it gives what that model gives;
    `network.preprocess` makes such inputs of pictures where the layout says how. `network.origin`
    says where the weights are from and under which licence, and is saved with them.

    Args:
        file: safetensors, `.caffemodel`, `.npy` made of one, or what `torch.save` wrote. No code in
            it is run.
        model: where to put the weights; None builds what the layout describes.
        layout: a name in `LAYOUTS`; "pyfast" for our own names (with `model`); "auto" finds it.
        strict: refuse weights that are missing, left over or of another shape. False warns instead.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged; foreign code; an unknown layout; weights of another model, with what is
            missing, left over and of another shape, and the nearest names.

    Example:
        >>> load_checkpoint("vgg19-dcbb9e9d.pth").config.depth  # doctest: +SKIP
        19
    """
    file = Path(file)
    state = read_state(file, {name for each in LAYOUTS.values() for name in each.classes})
    chosen = _layout(layout, state, model, file)
    if model is None:
        model = create_model(chosen.model, chosen.config(state))
    state = chosen.rename(state)
    problems = _compare(state, model.state_dict())
    if problems:
        message = f"{file.name} as {chosen.name} does not fit {type(model).__name__}:\n{problems}"
        if strict:
            raise ValueError(message)
        warnings.warn(message, stacklevel=2)
    if "preprocess" in chosen.settings:
        model.config = replace(model.config, preprocess=chosen.settings["preprocess"])
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    model.origin = {
        "source": chosen.source,
        "licence": chosen.licence,
        "layout": chosen.name,
        "file": file.name,
    }
    return model.eval()


def _layout(name: str, state: Mapping[str, Tensor], model: Model | None, file: Path) -> Layout:
    if name == "pyfast" and model is not None:
        return _own(model)
    if name != "auto":
        if name not in LAYOUTS:
            raise ValueError(
                f"no layout is called {name!r}{nearest(name, LAYOUTS)}; there are "
                f"auto, pyfast (with a model), {', '.join(LAYOUTS)}"
            )
        return LAYOUTS[name]
    if model is None:
        choices = list(LAYOUTS.values())
    else:
        choices = [_own(model)]
        choices += [each for each in LAYOUTS.values() if type(model) is find(each.model).model]
    likeness = {each.name: _likeness(each, state, model) for each in choices}
    best = max(choices, key=lambda each: likeness[each.name])
    if likeness[best.name] < ENOUGH:
        hint = "; what pyfast wrote is read by from_pretrained" if model is None else ""
        whose = "" if model is None else f" of {name_of(model)}"
        raise ValueError(
            f"{file} is in none of the layouts{whose} ({', '.join(likeness)}); the nearest, "
            f"{best.name}, shares {likeness[best.name]:.0%} of its keys: "
            f"{', '.join(list(state)[:3])}, ...{hint}"
        )
    return best


def _own(model: Model) -> Layout:
    return Layout("pyfast", model=name_of(model), source="pyfast", licence="")


def _likeness(layout: Layout, state: Mapping[str, Tensor], model: Model | None) -> float:
    if model is None:
        model = create_model(layout.model, layout.config(state), device="meta")
    return layout.likeness(state, model.state_dict())


def _compare(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What is wrong, a paragraph for every kind; empty if nothing is."""
    missing = [key for key in own if key not in state and not key.endswith(COUNTER)]
    unexpected = [key for key in state if key not in own and not key.endswith(COUNTER)]
    shapes = [
        f"{key}: expected {tuple(own[key].shape)}, got {tuple(value.shape)}"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    kinds = {
        "missing": [key + nearest(key, unexpected) for key in missing[:SHOWN]],
        "unexpected": [key + nearest(key, missing) for key in unexpected[:SHOWN]],
        "of another shape": shapes[:SHOWN],
    }
    counts = (len(missing), len(unexpected), len(shapes))
    return "\n".join(
        f"  {count} {kind}: {', '.join(shown)}{', ...' if count > len(shown) else ''}"
        for (kind, shown), count in zip(kinds.items(), counts, strict=True)
        if count
    )
