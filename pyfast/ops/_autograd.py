"""How an operator of the dispatcher becomes differentiable in every mode of torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch._C import _functorch
from torch.amp.autocast_mode import _cast
from torch.autograd import forward_ad

Formula = Callable[..., Any]
_HAS_TILES = torch.cpu._is_amx_tile_supported()
_DIFFERENTIATES = (_functorch.TransformType.Grad, _functorch.TransformType.Jvp)


def differentiable(
    op: torch._ops.OpOverload,
    setup: Formula,
    backward: Formula,
    jvp: Formula | None = None,
    *,
    autocast: torch.dtype | None = None,
) -> Callable[..., Any]:
    """Gives `op` its derivative and returns the callable that public functions use.

    Formulas attached with `register_autograd` serve eager mode, `torch.compile` and
    `torch.export`, but raise under `torch.func.grad` and silently give zero tangents under
    `torch.func.jvp`. The callable therefore takes the same formulas as an `autograd.Function`
    whenever a transform other than vmap, or a level of forward-mode differentiation, is active.

    A `*_backward` operator needs a formula of its own too: without one, second derivatives are
    silently wrong. Formulas call other operators through the callables returned here.

    Args:
        op: operator with positional arguments only, for example `torch.ops.pyfast.f.default`.
        setup: `setup(ctx, inputs, output)`, as for `torch.library.register_autograd`. Where there
            is a `jvp`, it also calls `ctx.save_for_forward`.
        backward: `backward(ctx, *grads)`, one gradient or None for each argument of `op`.
        jvp: `jvp(ctx, *tangents)`, the tangent of the output. Without it, forward-mode
            differentiation raises `NotImplementedError`.
        autocast: what tensors below float64 are cast to under `torch.autocast`. None: nothing.

    Returns:
        A callable with the arguments of `op`, all of them by position.
    """
    name = op._schema.name

    def no_jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(
            f"{name} has no forward-mode derivative (jvp, jacfwd, hessian, dual tensors); "
            "use reverse mode (grad, vjp, jacrev)"
        )

    @cache  # made when it is first used: 30 of them would be felt in the package's import
    def function() -> Any:
        formulas = {
            "generate_vmap_rule": True,
            "forward": staticmethod(lambda *args: op(*args)),
            "setup_context": staticmethod(setup),
            "backward": staticmethod(backward),
            "jvp": staticmethod(jvp or no_jvp),
        }
        return type(name.replace("::", "_"), (torch.autograd.Function,), formulas)

    @cache
    def recorded() -> Any:
        """What torch makes of the formulas below, in a third of the steps."""

        def forward(ctx: Any, *args: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                output = plain_call(*args)
            setup(ctx, args, output)
            return output

        formulas = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        recorder: Any = type(name.replace("::", "_"), (torch.autograd.Function,), formulas)
        return recorder.apply

    torch.library.register_autograd(op, backward, setup_context=setup)
    if autocast is not None:
        for device_type in ("cpu", "cuda"):
            torch.library.register_autocast(op, device_type, autocast)

    plain_call = op._op
    tensors = [k for k, a in enumerate(op._schema.arguments) if "Tensor" in str(a.type)]

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return op(*args)
        # As `is_in_transform`, without a call more.
        if forward_ad._current_level < 0 and _functorch.peek_interpreter_stack() is None:
            if torch.is_grad_enabled():
                for k in tensors:  # torch's own look at all arguments takes longer
                    if args[k] is not None and args[k].requires_grad:
                        return recorded()(*args) if is_unwatched() else op(*args)
            # Nobody wants a gradient: spares a small call the visit to the formulas in Python.
            with torch._C._AutoDispatchBelowAutograd():
                return plain_call(*args)
        if not is_differentiated():
            return op(*args)
        # The dispatcher casts before it differentiates, so this route does too.
        device_type = next(a.device.type for a in args if isinstance(a, torch.Tensor))
        if autocast is not None and is_autocast_on(device_type):
            args = _cast(args, device_type, autocast)
        return function().apply(*args)

    return call


def is_autocast_on(device_type: str) -> bool:
    """`torch.is_autocast_enabled`, for devices without autocast too, where that raises."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def without_autocast(device_type: str) -> AbstractContextManager[Any]:
    """`torch.autocast` switched off, for devices without autocast too, where that raises."""
    is_known = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if is_known else nullcontext()


def convolves_in_tf32() -> bool:
    """Whether cuDNN's convolutions may round float32 to TF32, as they do by default."""
    return torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]


def multiplies_in_bf16() -> bool:
    """Whether products of matrices on this CPU round float32, as somebody has asked for.

    Other processors than those with matrix tiles stay with float32 whatever the setting.
    """
    precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    return _HAS_TILES and precision in ("bf16", "tf32")


def is_in_transform() -> bool:
    """Whether a transform of `torch.func`, vmap too, or a level of dual tensors is active."""
    return forward_ad._current_level >= 0 or _functorch.peek_interpreter_stack() is not None


def is_unwatched() -> bool:
    """Whether nothing but autograd looks at calls: neither a mode, nor a trace, nor autocast."""
    if torch._C._len_torch_dispatch_stack() > 0 or torch._C._is_any_autocast_enabled():
        return False
    return torch._C._get_tracing_state() is None


def is_readable(tensor: torch.Tensor) -> bool:
    """Whether NumPy may read a tensor: one with memory on the CPU, while nobody traces or
    transforms."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    if is_in_transform() or torch._C._len_torch_dispatch_stack() > 0:
        return False
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type != "cpu":
        return False
    return not (tensor.is_neg() or tensor._is_zerotensor())


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether NumPy may also compute with it, because nobody wants a gradient."""
    return is_readable(tensor) and not (tensor.requires_grad and torch.is_grad_enabled())


def is_in_vmap() -> bool:
    if torch.compiler.is_compiling() or _functorch.peek_interpreter_stack() is None:
        return False
    levels = _functorch.get_interpreter_stack()
    return any(level.key() == _functorch.TransformType.Vmap for level in levels)


def is_differentiated() -> bool:
    """Whether grad, vjp, jvp or a level of dual tensors is active; vmap alone is not."""
    if forward_ad._current_level >= 0:
        return True
    if _functorch.peek_interpreter_stack() is None:
        return False
    return any(level.key() in _DIFFERENTIATES for level in _functorch.get_interpreter_stack())
