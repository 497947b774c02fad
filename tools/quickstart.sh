#!/usr/bin/env bash
# Install, make a small corpus, train on it, and identify a speaker.
#
# Everything is written to .venv and results/quickstart. A second call reuses
# both; --fresh starts over.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"

here="$root/results/quickstart"
case "${1:-}" in
    "") ;;
    --fresh) rm -rf "$here" ;;
    *)
        echo "usage: bash tools/quickstart.sh [--fresh]" >&2
        exit 2
        ;;
esac
# PyTorch without CUDA where there is no GPU; the plots draw the pictures
form=small
source tools/setup_env.sh plots

printf '\n== 1. Synthetic speakers in the layout of VoxCeleb1\n'
python tools/make_mini_corpus.py VoxCeleb "$here/VoxCeleb" --n_utterances 40

printf '\n== 2. Training a small Audio Mamba\n'
cd recipes/VoxCeleb
python train.py hparams/aum_tiny.yaml \
    --data_folder "$here/VoxCeleb" --output_folder "$here/run"

printf '\n== 3. Results\n'
python - "$here/run/results.json" <<'PYTHON'
import json
import sys

record = json.load(open(sys.argv[1]))
metric = record["metric"]
print(f"test {metric['name']}: {100 * metric['value']:.2f} %")
PYTHON
rm -rf "$here/pretrained"
python "$root/tools/export_pretrained.py" "$here/run" "$here/pretrained"
file="$(awk '$1 == 3 { print $2; exit }' "$here/VoxCeleb/iden_split.txt")"
printf '\nWho is speaking in %s?\n' "$file"
audiomamba-tag "$here/VoxCeleb/wav/$file" --model "$here/pretrained" --top 3
audiomamba-tag "$here/VoxCeleb/wav/$file" --model "$here/pretrained" \
    --window 1 --hop 0.25 --top 4 --plot "$here/tags.png" > "$here/tags.txt"

printf '\nLearning curve: %s\n' "$here/run/train_log.txt"
printf 'Pictures: %s, %s\n' "$here/run/confusion.png" "$here/tags.png"
printf 'Next: README.md, and recipes/VoxCeleb/README.md for the real corpus.\n'
