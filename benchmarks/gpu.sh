#!/usr/bin/env bash
# Builds, tests and benchmarks on a machine with an NVIDIA GPU, in under ten minutes.
#
#   bash benchmarks/gpu.sh
#
# Needs torch for CUDA, nvcc, cmake, ninja, pybind11, pytest, hypothesis and pytest-benchmark; asks
# no registry for anything. OUT names the folder for the log and the JSON (default: build/gpu),
# COMMIT what to record where git is not at hand. Every step has a time limit, so that one that
# hangs or fails leaves the others their turn. A table and a line for each step come last.
set -u
cd "$(dirname "$0")/.." || exit
out=${OUT:-build/gpu}
python=${PYTHON:-python3}
mkdir -p "$out"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
: >"$out/gpu.log"
export PATH="$PATH:/usr/local/cuda/bin" PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYFAST_CUDA=1
steps=()
failed=0

# step NAME SECONDS COMMAND...
step() {
  local name=$1 limit=$2 begin=$SECONDS outcome=ok status
  shift 2
  echo "== $name" | tee -a "$out/gpu.log"
  timeout "$limit" "$@" >"$logs/$name" 2>&1
  status=$?
  cat "$logs/$name" >>"$out/gpu.log"
  if ((status != 0)); then
    failed=1
    outcome="failed ($status)"
    ((status == 124)) && outcome="stopped after $limit s"
    tail -n 40 "$logs/$name"
  fi
  steps+=("$(printf '%-12s %4d s  %s' "$name" $((SECONDS - begin)) "$outcome")")
}

# Every CUDA kernel once, on sizes that leave rests in every tile, in both layouts.
small_cases() {
  cat <<'PYTHON'
import torch
import pyfast

torch.manual_seed(0)
for n, c, h, w in [(2, 1, 28, 28), (3, 3, 17, 33), (2, 19, 31, 7), (1, 5, 1, 1)]:
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(n, c, h, w, device="cuda").contiguous(memory_format=layout)
        theta = torch.eye(2, 3, device="cuda") + torch.randn(n, 2, 3, device="cuda") / 5
        x.requires_grad_()
        theta.requires_grad_()
        pyfast.affine_grid_sample(x, theta, (h + 3, w + 1)).square().sum().backward()
        grid = pyfast.affine_grid(theta, (n, c, h + 3, w + 1), align_corners=False)
        pyfast.grid_sample(x, grid, align_corners=False).square().sum().backward()
torch.cuda.synchronize()
PYTHON
}

sanitize() {
  # torch's allocator hands out pieces of larger blocks, which would hide an overrun.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$1" 50 \
    compute-sanitizer --tool "$1" --error-exitcode 1 "$python" -c "$(small_cases)"
}

step machine 20 sh -c "nvidia-smi; nvcc --version; '$python' -c 'import torch; print(torch.__version__)'"
step build 150 "$python" setup.py build_ext --inplace
step environment 20 "$python" -m pyfast.env
step smoke 40 "$python" -c "$(small_cases)"
step benchmarks 150 "$python" -m benchmarks --device cuda --results "$out" \
  ${COMMIT:+--commit "$COMMIT"}
step tests 100 "$python" -m pytest --tb=short -m "not slow" tests/ops tests/nn
if command -v compute-sanitizer >/dev/null; then
  sanitize memcheck
  sanitize racecheck
fi

echo
sed -n '/^machine: /,$p' "$logs/benchmarks" | tee "$out/table.txt"
printf '%s\n' "" "${steps[@]}"
exit "$failed"
