#!/usr/bin/env bash
# gpu.sh [SECONDS] [--dry-run]: all that is to be known of a GPU while one is lent; see benchmarks/gpu.py.
#
#     python benchmarks/gpu.py pack --stores stores     once, where the stores are: fills benchmarks/gpu_data (ignored by git)
#     OUT=results benchmarks/gpu.sh 480                 where the GPU is
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD:$PWD/tokenizers:$PWD/web${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
exec "${PYTHON:-python3}" benchmarks/gpu.py run --out "${OUT:-gpu_results}" "$@"
