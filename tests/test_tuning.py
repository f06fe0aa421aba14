"""Measured routes of dilated convolutions: made, in force, saved, loaded."""

import pytest
import torch

import pyfast
from pyfast.ops._conv_routes import ALGORITHMS, in_force, put_in_force


@pytest.fixture(autouse=True)
def no_routes():
    before = dict(in_force)
    put_in_force({})
    yield
    put_in_force(before)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        pyfast.nn.DilatedConv2d(4, 6, 3, padding=2, dilation=2),
        pyfast.nn.DilatedConv2d(6, 6, 3, padding=1, groups=6),
        pyfast.nn.DilatedConv2d(6, 6, 3, padding=1, groups=6),
    )


@pytest.mark.parametrize("learns", [False, True])
def test_every_distinct_call_gets_the_algorithm_that_was_fastest(learns, monkeypatch):
    net, picture = network(), torch.rand(2, 4, 12, 12)
    seen = []
    monkeypatch.setattr(
        "pyfast.tuning.medians",
        lambda calls, seconds: {n: seen.append((n, call())) or len(n) for n, call in calls.items()},
    )
    with torch.set_grad_enabled(learns):
        wanted = net(picture)
        routes = pyfast.autotune(net, picture)
        assert len(routes) == 2
        assert set(routes.values()) == {"torch"}  # the shortest name, called the fastest here
        assert {n for n, _ in seen} == {"torch", "other_layout", "depthwise", "direct", "winograd2"}
        torch.testing.assert_close(net(picture), wanted)


def test_routes_in_force_decide(monkeypatch):
    layer, picture = pyfast.nn.DilatedConv2d(4, 4, 3, padding=1), torch.rand(1, 4, 9, 9)
    called = []
    slow = ALGORITHMS["winograd4"]._replace(convolve=lambda c: called.append(c) or c.input)
    monkeypatch.setitem(ALGORITHMS, "winograd4", slow)
    with torch.no_grad():
        routes = pyfast.autotune(layer, picture, seconds=0)
        assert "winograd4" not in routes.values()
        pyfast.Routes(dict.fromkeys(routes, "winograd4")).install()
        layer(picture)
        assert len(called) == 1
        layer(torch.rand(1, 4, 9, 10))  # of another size
    layer(picture)  # for another use
    assert len(called) == 1


@pytest.mark.parametrize("algorithm", ["winograd2", "depthwise", "float32"])
def test_a_route_to_what_cannot_do_the_call_is_not_taken(algorithm):
    layer, picture = pyfast.nn.DilatedConv2d(4, 4, 3, stride=2), torch.rand(1, 4, 9, 9)
    with torch.no_grad():
        wanted = layer(picture)
        routes = pyfast.autotune(layer, picture, seconds=0)
        pyfast.Routes(dict.fromkeys(routes, algorithm)).install()
        torch.testing.assert_close(layer(picture), wanted)


def test_routes_come_back_from_a_file(tmp_path):
    layer = pyfast.nn.DilatedConv1d(2, 2, 3, padding=1)
    routes = pyfast.autotune(layer, torch.rand(1, 2, 30), less_exact=True, seconds=0)
    routes.save(tmp_path / "routes.json")
    assert pyfast.Routes.load(tmp_path / "routes.json") == routes


@pytest.mark.parametrize("text", ["no", "[1]", '{"a call": "fast"}', '{"a call": ["torch"]}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "routes.json").write_text(text)
    with pytest.raises(ValueError, match=r"Routes.load: expected"):
        pyfast.Routes.load(tmp_path / "routes.json")


def test_models_compile_while_routes_are_in_force():
    layer, compilations = pyfast.nn.DilatedConv2d(4, 4, 3, padding=1), []
    with torch.no_grad():
        pyfast.autotune(layer, torch.rand(1, 4, 9, 9), seconds=0)
        compiled = torch.compile(
            layer, backend=lambda g, _: compilations.append(g) or g, fullgraph=True, dynamic=True
        )
        for size in (9, 10, 12):
            picture = torch.rand(1, 4, size, size)
            torch.testing.assert_close(compiled(picture), layer(picture))
    assert len(compilations) == 1


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_model_that_wants_no_gradient_is_timed_without(context, monkeypatch):
    net, timed = network(), []
    monkeypatch.setattr(
        "pyfast.tuning.timed_call", lambda c, name: timed.append(c.learns) or (lambda: None)
    )
    pyfast.autotune(context()(net.forward), torch.rand(2, 4, 12, 12), seconds=0)
    assert timed
    assert not any(timed)


def test_calls_under_vmap_are_left_out():
    layer, picture = pyfast.nn.DilatedConv2d(4, 4, 3, padding=1), torch.rand(2, 1, 4, 9, 9)
    routes = pyfast.autotune(lambda x: (layer(x[0]), torch.vmap(layer)(x)), picture, seconds=0)
    assert len(routes) == 1


def test_a_model_without_dilated_convolutions_is_refused():
    with pytest.raises(ValueError, match="autotune: expected a model that calls"):
        pyfast.autotune(torch.nn.Conv2d(1, 1, 1), torch.rand(1, 1, 2, 2))
