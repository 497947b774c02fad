# Create .venv at the repository's root, or reuse it, and activate it.
#
# quickstart.sh, run_tests.sh and check_gpu.sh source this file with the extras
# they need:
#     source tools/setup_env.sh dev,ast    # "" for none: without an argument
#                                          # it would see its caller's
# With form=small, a new environment on a machine without an NVIDIA GPU gets
# PyTorch without the CUDA libraries, if its index of such wheels answers.
# Packages are installed again only if setup.py, the constraints or the extras
# have changed. PYTHON names an interpreter other than python3.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extras="${1:-}"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1)." >&2
    echo "Name another one: PYTHON=python3.12 bash $0" >&2
    exit 1
fi
if [ ! -x "$root/.venv/bin/python" ]; then
    echo "Creating a virtual environment in .venv"
    if ! "$python" -m venv "$root/.venv"; then
        echo "The venv module is missing (Debian: apt install python3-venv)." >&2
        exit 1
    fi
fi

# One stamp per set of extras: each command installs its own only once.
stamp="$root/.venv/installed-${extras:-none}"
wanted="$(cat "$root/setup.py" "$root/constraints.txt" | cksum)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into .venv (a few minutes the first time)"
    if [ "${form:-}" = small ] && ! command -v nvidia-smi > /dev/null &&
        ! "$root/.venv/bin/python" -c 'import torch' 2> /dev/null; then
        "$root/.venv/bin/python" -m pip install --quiet --retries 1 \
            --disable-pip-version-check --timeout 15 \
            --constraint "$root/constraints.txt" torch torchaudio \
            --index-url https://download.pytorch.org/whl/cpu \
            2> "$root/.venv/small.log" ||
            echo "No answer from PyTorch's CPU-only index (.venv/small.log):" \
                "installing its usual form, with CUDA."
    fi
    "$root/.venv/bin/python" -m pip install --quiet \
        --disable-pip-version-check \
        --constraint "$root/constraints.txt" \
        --editable "$root${extras:+[$extras]}"
    echo "$wanted" > "$stamp"
fi
# shellcheck disable=SC1091
source "$root/.venv/bin/activate"
