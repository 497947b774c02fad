"""A local page that tags a file or the microphone, with gradio."""

from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any

from audiomamba.dataio.codecs.opening import AudioError
from audiomamba.inference.event_files import EventFile
from audiomamba.inference.events import EventRules, find_events
from audiomamba.inference.plot import plot_tags
from audiomamba.inference.tagger import AudioTagger

if TYPE_CHECKING:  # of the extra ``demo``
    import gradio

N_TAGS = 5
_COLUMNS = ["onset", "offset", "label", "score"]


def build_demo(tagger: AudioTagger) -> "gradio.Blocks":
    """Build the page of a model.

    Arguments
    ---------
    tagger : AudioTagger
        The model.

    Returns
    -------
    gradio.Blocks
        ``launch()`` serves it.
    """
    import gradio

    results = TemporaryDirectory(prefix="audiomamba-demo-")

    def answer(path, threshold):
        if path is None:
            return None, None, None, None
        folder = Path(mkdtemp(dir=results.name))
        try:
            return _answer(tagger, path, threshold, folder)
        except AudioError as error:
            # The copy that was uploaded has a long name
            text = str(error).replace(path, Path(path).name)
            raise gradio.Error(text) from error

    with gradio.Blocks(title="Audio Mamba") as demo:
        gradio.Markdown("# What sounds is this?")
        with gradio.Row():
            with gradio.Column():
                sound = gradio.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="A file, or the microphone",
                )
                threshold = gradio.Slider(
                    0.05, 0.95, 0.5, label="An event's least probability"
                )
                tags = gradio.Label(label="Tags")
            with gradio.Column():
                # A label would cover the picture's title
                picture = gradio.Image(show_label=False, type="filepath")
                events = gradio.Dataframe(headers=_COLUMNS, label="Events")
                table = gradio.DownloadButton("Download the events as CSV")
        for changed in (sound.change, threshold.release):
            changed(answer, [sound, threshold], [tags, picture, events, table])
    return demo


def _answer(tagger, path, threshold, folder) -> tuple[Any, ...]:
    """Return tags, picture, events and the file of events of a recording."""
    tags = dict(tagger.tag_file(path, N_TAGS))
    windows = list(tagger.tag_stream(path, top_k=N_TAGS))
    events = find_events(tagger, path, EventRules(threshold))
    name = Path(path).stem
    picture = folder / f"{name}.png"
    plot_tags(path, windows, tagger.labels, picture, N_TAGS, events)
    table = EventFile(folder / f"{name}.csv", "csv")
    table.add(Path(path).name, events)
    rows = [
        [round(e.onset, 3), round(e.offset, 3), e.label, round(e.score, 3)]
        for e in events
    ]
    return tags, str(picture), rows, str(table.path)
