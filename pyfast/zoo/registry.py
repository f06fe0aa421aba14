"""Models by name: register, list, describe, build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch

from pyfast.zoo.system import Config, Model

if TYPE_CHECKING:
    from pyfast.zoo.claims import Claim

M = TypeVar("M", bound=type[Model])
PRESETS = ("tiny", "paper")


@dataclass(frozen=True)
class Entry:
    """What `register` was told about a name."""

    name: str
    model: type[Model]
    summary: str
    task: str
    paper: str
    ops: tuple[str, ...]
    licence: str
    defaults: Mapping[str, Any]
    claims: list[Claim] = field(default_factory=list)

    @property
    def layouts(self) -> tuple[str, ...]:
        """Public checkpoints that it loads."""
        from pyfast.zoo.checkpoints import LAYOUTS

        return tuple(layout.name for layout in LAYOUTS.values() if layout.model == self.name)

    def config(self, preset: str = "") -> Any:
        """The config of this name, or of its tiny or paper form."""
        kind = self.model.Config
        return replace(getattr(kind, preset)() if preset else kind(), **self.defaults)


@dataclass(frozen=True)
class ModelCard:
    """A model in a few lines.

    Attributes:
        name, summary, task, paper: what it is.
        ops: pyfast's operators that it runs on.
        parameters: how many numbers it learns, for each of its forms.
        layouts: public checkpoints that it loads.
        licence: that of the source of its settings.
        claims: what `verify` measures.
        settings: fields of its config with their defaults.
    """

    name: str
    summary: str
    task: str
    paper: str
    ops: tuple[str, ...]
    parameters: Mapping[str, int]
    layouts: tuple[str, ...]
    licence: str
    claims: tuple[str, ...]
    settings: Mapping[str, Any]


_entries: dict[str, Entry] = {}


def register(
    name: str,
    *,
    summary: str,
    task: str,
    paper: str = "",
    ops: tuple[str, ...] = (),
    licence: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[M], M]:
    """Gives a model class a name; a class may have several.

    Args:
        name: without a dot, as `create_model` takes it.
        summary: one line.
        task: what it is for, such as "classification".
        paper: authors, year, arXiv number.
        ops: pyfast's operators that it runs on.
        licence: that of the source of the settings.
        defaults: fields of the config that this name fixes, in every form.

    Raises:
        ValueError: the name has a dot or belongs to another class.
    """

    def add(model: M) -> M:
        known = _entries.get(name)
        if "." in name or (known and known.model.__qualname__ != model.__qualname__):
            raise ValueError(f"register: {name!r} has a dot or names {known and known.model}")
        _entries[name] = Entry(
            name, model, summary, task, paper, ops, licence, dict(defaults or {})
        )
        return model

    return add


def find(name: str) -> Entry:
    """The entry of a name without a form.

    Raises:
        ValueError: no such model; with the nearest names.
    """
    if name not in _entries:
        raise ValueError(f"no model is called {name!r}{nearest(name, _entries)}")
    return _entries[name]


def list_models(
    filter: str = "*", *, task: str | None = None, op: str | None = None, loads: str | None = None
) -> list[str]:
    """Names of models, sorted.

    Args:
        filter: a name with wildcards, such as "stn*".
        task: only models for this task.
        op: only models that run on this operator of pyfast.
        loads: only models that load this checkpoint layout; wildcards too.
    """
    return sorted(
        entry.name
        for entry in _entries.values()
        if fnmatchcase(entry.name, filter)
        and task in (None, entry.task)
        and (op is None or op in entry.ops)
        and (loads is None or any(fnmatchcase(layout, loads) for layout in entry.layouts))
    )


def info(name: str) -> ModelCard:
    """The card of a model: what it is, what it runs on, what it loads, what it claims."""
    entry = find(name.partition(".")[0])
    return ModelCard(
        name=entry.name,
        summary=entry.summary,
        task=entry.task,
        paper=entry.paper,
        ops=entry.ops,
        parameters={preset: count_parameters(entry.name, preset) for preset in PRESETS},
        layouts=entry.layouts,
        licence=entry.licence,
        claims=tuple(claim.text for claim in entry.claims),
        settings=entry.config().to_json(),
    )


def count_parameters(name: str, preset: str) -> int:
    """How many numbers a form of a model learns; no memory is taken for them."""
    entry = find(name)
    with torch.device("meta"):
        model = entry.model(entry.config(preset))
    return sum(parameter.numel() for parameter in model.parameters())


def configure(name: str, **overrides: Any) -> Config:
    """The config of `name`, `name.tiny` or `name.paper` with some fields replaced.

    Raises:
        ValueError: an unknown name, form or field, with what there is.
        TypeError: a value of another type than the field's default.
    """
    base, _, preset = name.partition(".")
    if preset not in ("", *PRESETS):
        raise ValueError(f"{base} has the forms {', '.join(PRESETS)}, not {preset!r}")
    config: Config = find(base).config(preset)
    check_fields(base, config, overrides)
    return replace(config, **overrides)


def check_names(name: str, config: Config, keys: Iterable[str]) -> None:
    """Raises for fields that the config lacks."""
    known = [entry.name for entry in fields(config)]
    for key in keys:
        if key not in known:
            raise ValueError(
                f"{name} has no setting {key!r}{nearest(key, known)}; it has {', '.join(known)}"
            )


def check_fields(name: str, config: Config, values: Mapping[str, Any]) -> None:
    """Raises for fields that the config lacks and for values of another type."""
    check_names(name, config, values)
    kinds = get_type_hints(type(config))
    for key, value in values.items():
        kind = kinds[key]
        if not _fits(value, kind):
            word = kind if get_args(kind) else kind.__name__
            raise TypeError(
                f"{name}: expected {key} of type {word} like {getattr(config, key)!r}, got "
                f"{value!r}"
            )


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, one of those that a config may have."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:  # configs say themselves which there are
        return isinstance(value, str)
    if origin is tuple:
        each = inner[:1] * len(value) if isinstance(value, tuple) and ... in inner else inner
        return type(value) is tuple and len(value) == len(each) and all(map(_fits, value, each))
    if inner:
        return any(_fits(value, one) for one in inner)
    return type(value) is kind or (kind is float and type(value) is int)


def create_model(
    name: str,
    config: Config | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **overrides: Any,
) -> Any:
    """A model with fresh weights.

    Args:
        name: as `list_models` has it, or with the form: `"stn_cnn.tiny"`, `"stn_cnn.paper"`.
        config: its whole config; None takes the one that the name stands for.
        device: where to put it, default: the CPU.
        dtype: of the weights, default: torch's default.
        overrides: fields of the config to replace.

    Raises:
        ValueError: an unknown name or field, with the nearest names.
        TypeError: a config of another model, or a value of another type than the field's default.

    Example:
        >>> from pyfast import zoo
        >>> zoo.create_model("vgg16.tiny", classes=4).config.classes
        4
    """
    entry = find(name.partition(".")[0])
    if config is None:
        config = configure(name, **overrides)
    else:
        if type(config) is not entry.model.Config:
            expected = entry.model.Config.__name__
            raise TypeError(f"{name}: expected config of type {expected}, got {config!r}")
        check_fields(name, config, overrides)
        config = replace(config, **overrides)
    # Straight on its device: the large ones would not fit twice, and "meta" takes no memory at all.
    with torch.device(device or "cpu"):
        return entry.model(config).to(dtype=dtype)


def name_of(model: Model, default: str | None = None) -> str:
    """The registered name that comes nearest to a model's class and config.

    Args:
        model: of a registered class.
        default: the name of a class that is not registered.

    Raises:
        ValueError: the class has no name, and there is no default.
    """
    names = [entry for entry in _entries.values() if entry.model is type(model)]
    if not names:
        if default is not None:
            return default
        raise ValueError(f"{type(model).__name__} has no name: register the class first")
    settings = model.config.to_json()

    def nearness(entry: Entry) -> int:
        return sum(1 if settings[key] == value else -1 for key, value in entry.defaults.items())

    return max(names, key=nearness).name


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error: the nearest known words, if any are near."""
    near = get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else ""
