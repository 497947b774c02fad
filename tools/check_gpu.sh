#!/usr/bin/env bash
# Check everything on a GPU in one command, and write what there is to report
# to results/gpu_check.json. It takes about 15 minutes.
#
#     bash tools/check_gpu.sh
#     bash tools/check_gpu.sh --only operators   # arguments go to check_gpu.py
#
# With mamba-ssm in .venv (README.md, Installation) it is compared as well.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/setup_env.sh ast,dev

python tools/check_gpu.py "$@"
