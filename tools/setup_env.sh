# Make the environment in .venv at the repository's root, or use it again.
#
# Sourced by quickstart.sh and run_tests.sh with the extras they need:
#     source tools/setup_env.sh dev,ast    # "" for none: without an argument
#                                          # it would see its caller's
# The installation is repeated only when setup.py, the constraints or the
# extras have changed.  PYTHON names another interpreter than python3.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extras="${1:-}"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'; then
    echo "Python 3.10 to 3.13 is needed; $python is $("$python" --version 2>&1)." >&2
    echo "Name another one: PYTHON=python3.11 bash $0" >&2
    exit 1
fi
if [ ! -x "$root/.venv/bin/python" ]; then
    echo "Making a virtual environment in .venv"
    if ! "$python" -m venv "$root/.venv"; then
        echo "The venv module is missing (Debian: apt install python3-venv)." >&2
        exit 1
    fi
fi

# One stamp per set of extras, so that the two commands do not undo each other.
stamp="$root/.venv/installed-${extras:-none}"
wanted="$(cat "$root/setup.py" "$root/constraints.txt" | cksum)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into .venv (a few minutes the first time)"
    "$root/.venv/bin/python" -m pip install --quiet \
        --disable-pip-version-check \
        --constraint "$root/constraints.txt" \
        --editable "$root${extras:+[$extras]}"
    echo "$wanted" > "$stamp"
fi
# shellcheck disable=SC1091
source "$root/.venv/bin/activate"
