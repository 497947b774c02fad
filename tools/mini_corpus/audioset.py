"""AudioSet in miniature: segment lists, label list, clips as people have them.

Clips are wav or flac, named ``<id>``, ``Y<id>`` or ``<id>_<start>``, flat or in
shard folders, because users' downloads differ in the same way.
"""

from mini_corpus.files import (
    FAULTS,
    stream,
    video_id,
    write_audio,
    write_faults,
    write_lines,
)
from mini_corpus.textures import make_texture, normalise

OPTIONS = {
    "n_balanced": (4, "clips of each class in the balanced training list"),
    "n_eval": (3, "clips of each class in the evaluation list"),
    "n_unbalanced": (12, "unbalanced clips of the commonest class"),
    "seconds": (10.0, "length of a clip"),
    "header_line": (False, "lists with one header line, no comment lines"),
}

RATE = 16000
# sound -> its labels: (index, mid, name) from the owners' list, the most
# specific first
CLASSES = {
    "speech": [(0, "/m/09x0r", "Speech")],
    "dog": [(75, "/m/05tny_", "Bark"), (74, "/m/0bt9lr", "Dog")],
    "bird": [(113, "/m/07pggtn", "Chirp, tweet"), (111, "/m/015p6", "Bird")],
    "piano": [(153, "/m/05r5c", "Piano"), (137, "/m/04rlf", "Music")],
    "rain": [(289, "/m/06mb1", "Rain")],
    "helicopter": [(339, "/m/09ct_", "Helicopter")],
    "typing": [
        (386, "/m/01m2v", "Computer keyboard"),
        (384, "/m/0316dw", "Typing"),
    ],
    "siren": [(396, "/m/03kmc9", "Siren")],
}
_LISTS = ("balanced_train", "unbalanced_train", "eval")


def make(
    folder, seed, broken, n_balanced, n_eval, n_unbalanced, seconds, header_line
):
    """Write the corpus."""
    complaints = []
    for part in _LISTS:
        rows = []
        for rank, sound in enumerate(CLASSES):
            count = {
                "balanced_train": n_balanced,
                "unbalanced_train": -(-n_unbalanced // (1 + rank)),
                "eval": n_eval,
            }[part]
            rows += [
                _clip(folder, part, sound, index, seconds, seed)
                for index in range(count)
            ]
        if broken:
            bad_rows, bad = _add_broken(folder, part, seconds, seed)
            rows += bad_rows
            complaints += bad
        _write_list(folder / f"{part}_segments.csv", sorted(rows), header_line)
    _write_classes(folder / "class_labels_indices.csv")
    return complaints


def _clip(folder, part, sound, index, seconds, seed):
    """Write a clip, every third with a second sound; return its list row."""
    rng = stream(seed, part, sound, index)
    name = video_id(rng)
    samples = make_texture(sound, seconds, RATE, rng)
    labels = {mid for _, mid, _ in CLASSES[sound]}
    if index % 3 == 2:
        second = str(rng.choice([other for other in CLASSES if other != sound]))
        labels |= {mid for _, mid, _ in CLASSES[second]}
        samples = samples + 0.7 * make_texture(second, seconds, RATE, rng)
        samples = normalise(samples, rng)
    start = 10 * int(rng.integers(0, 12))
    write_audio(_place(folder, part, name, start, index), samples, RATE)
    return name, start, start + seconds, ",".join(sorted(labels))


def _place(folder, part, name, start, index):
    """Return a clip's path: three naming habits, with and without shards."""
    shard = f"{part}_part{index % 2:02d}" if part == "unbalanced_train" else ""
    forms = (f"{name}.wav", f"Y{name}.wav", f"{name}_{start}.flac")
    return folder / "audio" / part / shard / forms[index % 3]


def _add_broken(folder, part, seconds, seed):
    """Add rows of a list that cannot be used."""
    speech = CLASSES["speech"][0][1]
    rng = stream(seed, part, "broken")
    rows = [(video_id(rng), 30, 30 + seconds, speech) for _ in range(3)]
    complaints = [
        f"{part}_segments.csv: {row[0]}: listed, but there is no audio"
        for row in rows
    ]
    samples = make_texture("speech", seconds, RATE, rng)
    names = [video_id(rng) for _ in FAULTS]
    rows += [(name, 0, seconds, speech) for name in names]
    paths = [f"audio/{part}/{name}.wav" for name in names]
    complaints += write_faults(folder, paths, samples, RATE)
    name = video_id(rng)
    write_audio(folder / "audio" / part / f"{name}.wav", samples, RATE)
    rows.append((name, 0, seconds, "/m/none"))
    complaints.append(f"{part}_segments.csv: {name}: /m/none is no class")
    return rows, complaints


def _write_list(path, rows, header_line):
    labels = [label for row in rows for label in row[-1].split(",")]
    counts = (
        f"# num_ytids={len(rows)}, num_segs={len(rows)}, "
        f"num_unique_labels={len(set(labels))}, "
        f"num_positive_labels={len(labels)}"
    )
    lines = [
        "# Segments csv of a miniature corpus",
        counts,
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    gap = ", "
    if header_line:
        lines, gap = ["YTID,start_seconds,end_seconds,positive_labels"], ","
    for name, start, stop, text in rows:
        fields = (name, f"{start:.3f}", f"{stop:.3f}", f'"{text}"')
        lines.append(gap.join(fields))
    write_lines(path, lines)


def _write_classes(path):
    """Write the rows of the owners' list that this miniature uses."""
    classes = sorted({label for labels in CLASSES.values() for label in labels})
    lines = [f'{index},{mid},"{name}"' for index, mid, name in classes]
    write_lines(path, ["index,mid,display_name", *lines])
