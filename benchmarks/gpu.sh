#!/usr/bin/env bash
# Builds, tests and benchmarks on a machine with an NVIDIA GPU, in under ten minutes.
#
#   bash benchmarks/gpu.sh
#
# Asks no registry for anything: what is missing, it names, and stops where nothing can be built
# without it. OUT names the folder for the log and the JSON (default: build/gpu), PYTHON the
# interpreter, COMMIT what to record where git is not at hand. Every step has a time limit, and all
# of them together, so that one that hangs or fails leaves the others their turn. A table and a line
# for each step come last; the exit status is 0 where nothing failed, 2 where nothing could start.
set -u
cd "$(dirname "$0")/.." || exit
out=${OUT:-build/gpu}
python=${PYTHON:-python3}
mkdir -p "$out"
total=570
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
: >"$out/gpu.log"
export PATH="$PATH:/usr/local/cuda/bin" PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYFAST_CUDA=1
steps=()
failed=0

has() {
  "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"
}

# What is not there and has to be.
missing() {
  local name
  for name in "$python" nvcc cmake ninja "${CXX:-c++}"; do
    command -v "${name%% *}" >/dev/null || echo "$name"
  done
  command -v "$python" >/dev/null || return
  for name in torch numpy setuptools pybind11; do
    has "$name" || echo "$name for $python"
  done
}

absent=$(missing | paste -sd, | sed 's/,/, /g')
if [[ -n $absent ]]; then
  echo "gpu.sh: needs what is not here: $absent"
  exit 2
fi
if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
  echo "gpu.sh: needs a GPU, and the torch of $python sees none"
  exit 2
fi

# step NAME SECONDS COMMAND...
step() {
  local name=$1 limit=$2 begin=$SECONDS outcome=ok status
  shift 2
  ((limit > total - begin)) && limit=$((total - begin))
  if ((limit <= 0)); then
    leave_out "$name" "no time is left"
    failed=1
    return
  fi
  echo "== $name" | tee -a "$out/gpu.log"
  timeout -k 5 "$limit" "$@" >"$logs/$name" 2>&1
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

# leave_out NAME REASON
leave_out() {
  steps+=("$(printf '%-12s   left out: %s' "$1" "$2")")
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
for c, h, w in [(3, 17, 23), (1, 9, 40)]:
    image = torch.rand(c, h, w, device="cuda", dtype=torch.float64, requires_grad=True)
    v = torch.rand(2, h, w, device="cuda", dtype=torch.float64, requires_grad=True)
    pyfast.matting_energy(v, image).backward()
    laplacian = pyfast.MattingLaplacian(image.detach())
    pyfast.matting_laplacian(image.detach())
    laplacian.matvec(v.detach()[0].flatten())
    laplacian.diagonal()
for n, labels, h, w in [(1, 1, 1, 1), (2, 2, 9, 33), (1, 21, 17, 31), (1, 150, 5, 7)]:
    unary = torch.randn(n, labels, h, w, device="cuda", requires_grad=True)
    image = torch.rand(n, 3, h, w, device="cuda") * 255
    for method in ("lattice", "closed", "exact"):
        pyfast.dense_crf(unary, image, method=method, iterations=5).square().sum().backward()
        pyfast.dense_crf(unary.detach(), image, method=method, iterations=5)
torch.cuda.synchronize()
PYTHON
}

sanitize() {
  # torch's allocator hands out pieces of larger blocks, which would hide an overrun.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$1" 60 \
    compute-sanitizer --tool "$1" --error-exitcode 1 "$python" -c "$(small_cases)"
}

step machine 40 sh -c "nvidia-smi; nvcc --version; '$python' -c 'import torch; print(torch.__version__)'"
step build 150 "$python" setup.py build_ext --inplace
step environment 20 "$python" -m pyfast.env
step smoke 40 "$python" -c "$(small_cases)"
if has pytest && has pytest_benchmark; then
  step benchmarks 130 "$python" -m benchmarks --device cuda --results "$out" \
    ${COMMIT:+--commit "$COMMIT"}
else
  leave_out benchmarks "they need pytest and pytest-benchmark"
fi
if has pytest; then
  # What is about the GPU has "cuda" in its name: tests, classes, and every case of every operator.
  options=()
  has xdist && options+=(-n 4)
  if ! has hypothesis; then
    for file in $(grep -l "^from hypothesis" tests/ops/*.py); do options+=("--ignore=$file"); done
  fi
  step tests 180 "$python" -m pytest --tb=short -m "not slow" -k "cuda or stream_of_torch" \
    ${options[@]+"${options[@]}"} tests/ops tests/test_arrays.py tests/test_layering.py
else
  leave_out tests "they need pytest"
fi
if ! command -v compute-sanitizer >/dev/null; then
  leave_out sanitizers "compute-sanitizer is not here"
elif timeout 60 compute-sanitizer "$python" -c "import torch; torch.ones(1, device='cuda')" 2>&1 |
  grep "Device not supported" >>"$out/gpu.log"; then
  leave_out sanitizers "compute-sanitizer does not support this device"
else
  sanitize memcheck
  sanitize racecheck
fi

echo
if [[ -e $logs/benchmarks ]]; then
  sed -n '/^machine: /,$p' "$logs/benchmarks" | tee "$out/table.txt"
fi
printf '%s\n' "" "${steps[@]}"
exit "$failed"
