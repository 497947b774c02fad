#!/usr/bin/env bash
# Run every check: style, types, a silent import, tests and doctests.
#
#     bash tools/run_tests.sh            # everything
#     bash tools/run_tests.sh -k scan    # arguments go to pytest
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/setup_env.sh ast,av,dev,onnx,parquet,plots

ruff check .
ruff format --check .
yamllint --strict .
mypy
python -W error -c "import audiomamba"
# A process per core; the tests of a file share what they train.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
parallel=(-n logical --maxprocesses 8 --dist loadfile)
python -m pytest "${parallel[@]}" tests "$@"
python -m pytest "${parallel[@]}" --doctest-modules audiomamba "$@"
