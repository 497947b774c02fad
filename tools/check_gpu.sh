#!/usr/bin/env bash
# Check everything on a GPU in one command, and write what there is to report
# to results/gpu_check.json. By estimate it takes 15 minutes with eight cores,
# most of them for Triton's compiler; --minutes, 30, is when it gives up.
#
#     bash tools/check_gpu.sh
#     bash tools/check_gpu.sh --only operators   # arguments go to check_gpu.py
#
# With mamba-ssm in .venv (README.md, "Two commands") it is compared as well.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/setup_env.sh ast,dev

python tools/check_gpu.py "$@"
