"""Every operator of the library is in a case table, and so is checked by `check_op`."""

import importlib.util
import sys
from pathlib import Path

import torch

import pyfast

TESTS = Path(__file__).parent
# These take pictures of any kind and decide by their values, which torch's transforms do not show,
# or give matrices. Their tests are in tests/ops under the names of their files.
OF_PICTURES = {
    "cutout",
    "MattingLaplacian",
    "estimate_alpha",
    "local_affine_smooth",
    "matting_laplacian",
    "photorealistic_smooth",
    "trimap_from_mask",
    "trimap_from_scribbles",
}
# These build lattices, whose size depends on data, so that not every transform goes through them.
OF_LATTICES = {
    "GaussianFilter",
    "bilateral_features",
    "crf_free_energy",
    "mean_field",
    "spatial_features",
}
OPERATORS = sorted(set(pyfast.ops.__all__) - OF_PICTURES - OF_LATTICES)


def registered_operators():
    schemas = torch._C._jit_get_all_schemas()
    return {schema.name for schema in schemas if schema.name.startswith("pyfast::")}


def case_tables():
    sys.path.insert(0, str(TESTS / "ops"))  # for what the tables share
    for path in sorted((TESTS / "ops").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"cases_of_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from getattr(module, "CASES", ())
    sys.path.remove(str(TESTS / "ops"))


def test_every_operator_is_in_a_case_table():
    checked = {operator for case in case_tables() for operator in case.operators}
    assert pyfast.ops.__all__
    assert registered_operators() - checked == set(), "operators without a case"
    assert checked - registered_operators() == set(), "cases without an operator"


def test_every_public_operator_has_a_case():
    functions = {getattr(case.function, "func", case.function) for case in case_tables()}
    public = {getattr(pyfast.ops, name) for name in OPERATORS}
    assert public - functions == set()


def test_one_case_of_each_function_lists_wrong_calls_and_runs_inductor():
    for name in OPERATORS:
        cases = [case for case in case_tables() if case.op == name]
        assert any(case.bad_calls for case in cases), name
        assert any(case.inductor for case in cases), name
