"""`check_op` passes a right operator and catches every fault that is planted in it."""

import itertools
from dataclasses import replace

import pytest
import torch

from pyfast._native import _C
from pyfast.ops._autograd import differentiable
from pyfast.ops._vmap import fold_vmap
from pyfast.testing import (
    PROMISES,
    BadCall,
    BrokenPromiseError,
    OpCase,
    check_op,
    checks,
    devices,
    promises,
)

LIBRARY = torch.library.Library("pyfast_testing", "DEF")
NUMBERS = itertools.count()


class Bend:
    """y = x^2 w for x (N, C, H, W) and w (N,): an operator with kernels, put together from parts.

    A faulty operator is a subclass that replaces one part.
    """

    second_order = True

    def __init__(self):
        # An operator cannot be defined twice, so each gets a name of its own.
        self.name = f"bend{next(NUMBERS)}"
        LIBRARY.define(f"{self.name}(Tensor x, Tensor w) -> Tensor")
        LIBRARY.define(f"{self.name}_backward(Tensor grad, Tensor x, Tensor w) -> (Tensor, Tensor)")
        self.op = getattr(torch.ops.pyfast_testing, self.name).default
        self.backward_op = getattr(torch.ops.pyfast_testing, f"{self.name}_backward").default
        # As a compiled kernel, this one is opaque to autograd.
        LIBRARY.impl(self.name, torch.no_grad()(self.kernel), "CPU")
        LIBRARY.impl(f"{self.name}_backward", torch.no_grad()(self.backward_kernel), "CPU")
        torch.library.register_fake(self.op, self.fake, lib=LIBRARY)
        torch.library.register_fake(
            self.backward_op,
            lambda grad, x, w: (torch.empty_like(x), torch.empty_like(w)),
            lib=LIBRARY,
        )
        self.register_vmap()
        self.register_derivatives()

    def kernel(self, x, w):
        return x.square() * w.view(-1, 1, 1, 1)

    def backward_kernel(self, grad, x, w):
        grad_x = torch.empty_like(x).copy_(2 * x * w.view(-1, 1, 1, 1) * grad)
        return grad_x, (x.square() * grad).sum((1, 2, 3))

    def fake(self, x, w):
        return torch.empty_like(x)

    def register_vmap(self):
        fold_vmap(self.op)
        fold_vmap(self.backward_op, like=(1, 2))

    def register_derivatives(self):
        backward = differentiable(self.backward_op, self.save, self.second_derivative)

        def first_derivative(ctx, grad):
            return backward(grad, *ctx.saved_tensors)

        self.call = differentiable(self.op, self.save, first_derivative, autocast=torch.float32)

    @staticmethod
    def save(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    def second_derivative(self, ctx, grad_grad_x, grad_grad_w):
        def first(grad, x, w):
            return 2 * x * w.view(-1, 1, 1, 1) * grad, (x.square() * grad).sum((1, 2, 3))

        return torch.func.vjp(first, *ctx.saved_tensors)[1]((grad_grad_x, grad_grad_w))

    def __call__(self, x, w):
        if x.dim() != 4:
            raise ValueError(f"{self.name}: expected x of shape (N, C, H, W), got {tuple(x.shape)}")
        return self.call(x, w)

    def case(self):
        return OpCase(
            op=self.name,
            name="plain",
            function=self,
            reference=lambda x, w: x.pow(2) * w[:, None, None, None],
            inputs=lambda batch, size: (
                torch.randn(batch, 2, size, size + 1, dtype=torch.float64),
                torch.randn(batch, dtype=torch.float64),
            ),
            differentiable=(0, 1),
            operators=(
                f"pyfast_testing::{self.name}",
                f"pyfast_testing::{self.name}_backward",
            ),
            keeps_channels_last=(0,),
            second_order=self.second_order,
            bad_calls=(
                BadCall(
                    "rank 3",
                    lambda: self(torch.ones(1, 2, 3), torch.ones(1)),
                    ValueError,
                    r"expected x of shape \(N, C, H, W\), got \(1, 2, 3\)",
                ),
            ),
        )


FAULTS = []


def fault(*promises):
    """Lists an operator together with the promises that must each catch it."""

    def add(cls):
        FAULTS.extend(
            pytest.param(cls, promise, id=f"{cls.__name__}-{promise}") for promise in promises
        )
        return cls

    return add


@fault("reference", "sizes")
class WrongResult(Bend):
    def kernel(self, x, w):
        return super().kernel(x, w) + 1e-3


@fault("reference", "gradcheck", "grad", "vmap(grad)", "jacrev")
class WrongGradient(Bend):
    def backward_kernel(self, grad, x, w):
        grad_x, grad_w = super().backward_kernel(grad, x, w)
        return grad_x, grad_w * 1.01


@fault("gradgradcheck", "create_graph", "grad")
class WrongSecondDerivative(Bend):
    def second_derivative(self, ctx, grad_grad_x, grad_grad_w):
        grad, x, w = super().second_derivative(ctx, grad_grad_x, grad_grad_w)
        return grad, x * 1.01, w


@fault("gradgradcheck", "create_graph")
class BackwardWithoutFormula(Bend):
    def register_derivatives(self):
        def first_derivative(ctx, grad):
            return self.backward_op(grad, *ctx.saved_tensors)

        self.call = differentiable(self.op, self.save, first_derivative)


@fault("create_graph")
class SecondDerivativeNotRefused(Bend):
    second_order = False


@fault("create_graph")
class RefusesSecondDerivativeWithoutName(Bend):
    second_order = False

    def second_derivative(self, ctx, *grads):
        raise NotImplementedError("not supported")


@fault("jvp", "grad", "vmap(grad)", "jacrev")
class RegisterAutogradAlone(Bend):
    """Raises under torch.func.grad and gives zero tangents under torch.func.jvp."""

    def register_derivatives(self):
        def first_derivative(ctx, grad):
            return self.backward_op(grad, *ctx.saved_tensors)

        torch.library.register_autograd(
            self.op, first_derivative, setup_context=self.save, lib=LIBRARY
        )
        self.call = self.op


@fault("jvp")
class RefusesForwardModeWithoutName(Bend):
    def register_derivatives(self):
        class Function(torch.autograd.Function):
            generate_vmap_rule = True
            forward = staticmethod(self.op)
            setup_context = staticmethod(self.save)

        self.call = Function.apply


@fault("jvp")
class WrongTangent(Bend):
    def register_derivatives(self):
        def save(ctx, inputs, output):
            self.save(ctx, inputs, output)
            ctx.save_for_forward(*inputs)

        def tangent(ctx, x_tangent, w_tangent):
            x, w = ctx.saved_tensors
            return 2 * x * w.view(-1, 1, 1, 1) * x_tangent

        def first_derivative(ctx, grad):
            return self.backward_op(grad, *ctx.saved_tensors)

        self.call = differentiable(self.op, save, first_derivative, tangent)


@fault("fake", "opcheck", "compile")
class WrongFakeShape(Bend):
    def fake(self, x, w):
        return x.new_empty(x.shape[1:])


@fault("fake", "opcheck")
class WrongFakeDtype(Bend):
    def fake(self, x, w):
        return torch.empty_like(x, dtype=torch.float64)


@fault("fake")
class WrongFakeStrides(Bend):
    def fake(self, x, w):
        return x.new_empty(x.shape)


@fault("opcheck")
class WritesToItsInput(Bend):
    def kernel(self, x, w):
        result = super().kernel(x, w)
        x.zero_()
        return result


@fault("opcheck")
class DoesNotReachItsOperator(Bend):
    def __call__(self, x, w):
        return x.square() * w.view(-1, 1, 1, 1)


@fault("layouts")
class IgnoresStrides(Bend):
    def kernel(self, x, w):
        dense = torch.empty(x.shape).stride()
        fits = x.untyped_storage().nbytes() // x.itemsize - x.storage_offset() >= x.numel()
        return super().kernel(x.as_strided(x.shape, dense) if fits else x * 0, w)


@fault("layouts")
class IgnoresStridesOfIncomingGradient(Bend):
    def backward_kernel(self, grad, x, w):
        return super().backward_kernel(grad * 0 if 0 in grad.stride() else grad, x, w)


@fault("layouts")
class LosesChannelsLast(Bend):
    def kernel(self, x, w):
        return super().kernel(x, w).contiguous()


@fault("sizes")
class WrongBehindATile(Bend):
    def kernel(self, x, w):
        result = super().kernel(x, w)
        result[..., 8:9] += 1
        return result


@fault("empty batch")
class RefusesEmptyBatch(Bend):
    def kernel(self, x, w):
        assert len(x) > 0, "empty"
        return super().kernel(x, w)


@fault("threads")
class DependsOnThreads(Bend):
    def backward_kernel(self, grad, x, w):
        grad_x, grad_w = super().backward_kernel(grad, x, w)
        return grad_x, grad_w * (1 + 2e-7 * torch.get_num_threads())


@fault("repeat", "gradcheck")
class DiffersBetweenRuns(Bend):
    runs = 0

    def backward_kernel(self, grad, x, w):
        self.runs += 1
        grad_x, grad_w = super().backward_kernel(grad, x, w)
        return grad_x, grad_w * (1 + 3e-7 * self.runs)


@fault("capabilities")
class DependsOnInstructionSet(Bend):
    def kernel(self, x, w):
        offset = 1e-2 if _C.cpu_capability() == "baseline" else 0.0
        return super().kernel(x, w) + offset


@fault("vmap")
class HasNoVmap(Bend):
    def register_vmap(self):
        pass


@fault("vmap(grad)", "jacrev")
class MapsItsBackwardWrongly(Bend):
    def register_vmap(self):
        fold_vmap(self.op)

        def rule(info, in_dims, grad, x, w):
            first = (
                a if d is None else a.select(d, 0)
                for a, d in zip((grad, x, w), in_dims, strict=True)
            )
            grad_x, grad_w = self.backward_op(*first)
            size = info.batch_size
            return (grad_x.expand(size, *x.shape[-4:]), grad_w.expand(size, *grad_w.shape)), (0, 0)

        torch.library.register_vmap(self.backward_op, rule, lib=LIBRARY)


@fault("compile", "export")
class LeavesTheGraph(Bend):
    def __call__(self, x, w):
        if x.sum().item() > 1e9:
            return x
        return super().__call__(x, w)


@fault("autocast")
class IgnoresAutocast(Bend):
    def register_derivatives(self):
        def first_derivative(ctx, grad):
            return self.backward_op(grad, *ctx.saved_tensors)

        self.call = differentiable(self.op, self.save, first_derivative)


@fault("bad calls")
class AcceptsWrongRank(Bend):
    def __call__(self, x, w):
        return self.call(x[None] if x.dim() == 3 else x, w)


@fault("bad calls")
class SaysSomethingElse(Bend):
    def __call__(self, x, w):
        if x.dim() != 4:
            raise ValueError("wrong")
        return self.call(x, w)


@fault("bad calls")
class RaisesAnotherError(Bend):
    def __call__(self, x, w):
        try:
            return super().__call__(x, w)
        except ValueError as error:
            raise RuntimeError(str(error)) from error


@pytest.fixture(scope="module")
def right():
    return Bend().case()


@pytest.mark.parametrize("promise", PROMISES)
def test_a_right_operator_keeps(right, promise):
    assert check_op(right, only=[promise]) == {promise: "kept"}


@pytest.mark.parametrize(("operator", "promise"), FAULTS)
@pytest.mark.filterwarnings("ignore")
def test_a_fault_is_caught(operator, promise):
    case = operator().case()
    with pytest.raises(BrokenPromiseError) as caught:
        check_op(case, only=[promise])
    assert str(caught.value).startswith(f"{case.op}[plain]: {promise}: ")


def test_every_promise_catches_a_fault():
    assert {parameters.values[1] for parameters in FAULTS} == set(PROMISES)


def test_what_is_not_promised_is_reported_with_the_reason(right):
    case = replace(right, differentiable=(), native=False, bad_calls=(), autocast=None)
    names = ["reference", "gradcheck", "jvp", "capabilities", "bad calls", "autocast"]
    report = check_op(case, only=names)
    assert report == {
        "reference": "kept",
        "gradcheck": "not promised: nothing is differentiable",
        "jvp": "not promised: nothing is differentiable",
        "autocast": "not promised: torch.autocast is left alone",
        "bad calls": "not promised: the case lists none",
        "capabilities": "not promised: there are no kernels for instruction sets",
    }


def test_the_gpu_is_checked_where_there_are_kernels_and_a_gpu(monkeypatch):
    for kernels, gpu in itertools.product((False, True), repeat=2):
        monkeypatch.setattr(_C, "with_cuda", kernels)
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert devices() == (("cpu", "cuda") if kernels and gpu else ("cpu",))


def test_each_device_has_its_promises(right):
    of_cpu = {"bad calls", "threads", "capabilities"}
    assert set(promises("cpu")) == set(PROMISES)
    assert set(promises("cuda")) == set(promises("cuda:1")) == set(PROMISES) - of_cpu
    listed = list(checks([right, right], on=("cpu", "cuda")))
    assert listed[: len(PROMISES)] == [(right, name, "cpu") for name in PROMISES]
    assert {name for _, name, device in listed if device == "cuda"} == set(promises("cuda"))
    assert len(listed) == 2 * (len(promises("cpu")) + len(promises("cuda")))
    with pytest.raises(ValueError, match="no promise threads on cuda; known: reference, "):
        check_op(right, only=["threads"], device="cuda")


def test_sums_in_no_fixed_order_do_not_promise_the_same_bits():
    case = replace(
        DiffersBetweenRuns().case(), unordered=("cpu",), tolerances={torch.float64: 1e-4}
    )
    assert check_op(case, only=["repeat", "gradcheck"]) == {
        "gradcheck": "kept",
        "repeat": "not promised: on cpu sums are taken in no fixed order",
    }


def test_only_and_skip_select(right):
    assert list(check_op(right, only=["reference", "repeat"], skip=["reference"])) == ["repeat"]
    with pytest.raises(ValueError, match="no promise speed"):
        check_op(right, only=["speed"])
