#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: the tests with cupy required, every network after training, then times. Writes what it
# saw to a transcript, by default bench/gpu-DATE.txt. Run it by `make gpu`, after installing the extra that goes with
# the driver: .venv/bin/pip install '.[cuda12]' (or cuda13).
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
transcript=${1:-bench/gpu-$(date -u +%Y-%m-%d).txt}
python=.venv/bin/python
reason=$("$python" -c 'import backprop_ref as br; print({s.name: s.reason for s in br.backends()}["cupy"])') || exit 2
if [ -n "$reason" ]; then
    echo "gpu: backend cupy: $reason" >&2
    exit 2
fi
if [ -e "$transcript" ]; then
    echo "gpu: $transcript is there already; name another: make gpu ARGS=FILE" >&2
    exit 2
fi

status=0
run() {
    echo "\$ $*"
    "$@" 2>&1 || { status=1; echo "exit status is not 0"; }
}
surroundings() {
    date -u
    git log -1 --format='commit %H' && git status --short
    nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv
    "$python" - <<'END'
import cupy, numpy, platform
import backprop_ref as br
runtime = cupy.cuda.runtime
print(f"backprop_ref {br.__version__}, python {platform.python_version()}, numpy {numpy.__version__}, cupy {cupy.__version__}")
print(f"CUDA driver {runtime.driverGetVersion()}, runtime {runtime.runtimeGetVersion()}, NVRTC {cupy.cuda.nvrtc.getVersion()}")
END
}
everything() {
    surroundings
    run .venv/bin/backprop-ref backends
    run "$python" -m pytest -q --require-backend cupy -k 'cupy and not host_cupy'
    run "$python" -m pytest -q -rA --require-backend cupy -k '[cupy' tests/test_cuda_device.py
    run "$python" -m pytest -q --require-backend cupy -m long tests/test_identical.py -k cupy
    run .venv/bin/backprop-ref compare digits --backends numpy,cupy
    run "$python" bench/ladder.py 64-128-10 784-2048-2048-10 --backends numpy,cupy
    return $status
}

set -o pipefail
everything | tee "$transcript"
status=${PIPESTATUS[0]}
[ "$status" = 0 ] && echo "all of it passed; the transcript is $transcript" || echo "something failed: see $transcript" >&2
exit "$status"
