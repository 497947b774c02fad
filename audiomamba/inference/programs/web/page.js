// What the page does: a file or the microphone in, bars and a picture out.
import { record } from "./microphone.js";
import { draw } from "./picture.js";
import { loadTagger } from "./tagger.js";

const N_TAGS = 5;
const get = (id) => document.getElementById(id);
const say = (text) => (get("status").textContent = text);
let tagger;
let recording = null;

// Indices of the greatest values
function best(values) {
  return [...values.keys()]
    .sort((a, b) => values[b] - values[a])
    .slice(0, N_TAGS);
}

function showTags(probabilities) {
  get("tags").replaceChildren(
    ...best(probabilities).map((index) => {
      const item = document.createElement("li");
      const [text, label, share, bar, filled] = ["span", "em", "em", "i", "b"]
        .map((name) => document.createElement(name));
      label.textContent = tagger.labels[index];
      share.textContent = `${(100 * probabilities[index]).toFixed(1)} %`;
      filled.style.width = `${100 * probabilities[index]}%`;
      text.append(label, share);
      bar.append(filled);
      item.append(text, bar);
      return item;
    }),
  );
}

async function answer(name, samples) {
  if (!samples.length) throw new Error("there is no sound in it");
  say("Listening…");
  const kept = tagger.kept(samples);
  const seconds = (kept.length / tagger.sample_rate).toFixed(1);
  const part = { start: "first", centre: "central" }[tagger.keep];
  get("name").textContent =
    kept.length < samples.length ? `${name}: the ${part} ${seconds} s` : name;
  get("result").hidden = false;
  showTags(await tagger.tag(kept));
  const parts = [];
  const highest = new Float32Array(tagger.labels.length);
  for await (const part of tagger.tagOverTime(samples)) {
    parts.push(part);
    part.probabilities.forEach((value, i) => {
      highest[i] = Math.max(highest[i], value);
    });
    const classes = best(highest).map((index) => [index, tagger.labels[index]]);
    draw(get("picture"), parts, classes, samples.length / tagger.sample_rate);
  }
  say("Ready.");
}

const enable = (yes) => {
  for (const id of ["file", "record"]) get(id).disabled = !yes;
};

async function guarded(name, work) {
  enable(false);
  try {
    await work();
  } catch (error) {
    say(`${name}: ${error.message}`);
  }
  enable(true);
}

async function openFile(file) {
  const bytes = await file.arrayBuffer();
  get("player").src = URL.createObjectURL(file);
  get("player").hidden = false;
  let samples;
  try {
    samples = await tagger.decode(bytes);
  } catch {
    throw new Error("the browser cannot decode it; try WAV, MP3 or FLAC");
  }
  await answer(file.name, samples);
}

async function toggleRecording() {
  if (recording) {
    get("record").textContent = "Record";
    const samples = await recording.stop();
    recording = null;
    get("player").hidden = true;
    await guarded("microphone", () => answer("Recording", samples));
    return;
  }
  try {
    recording = await record(tagger.sample_rate);
    get("record").textContent = "Stop";
    say("Recording…");
  } catch (error) {
    say(`There is no microphone to use: ${error.message}`);
  }
}

get("file").addEventListener("change", ({ target }) => {
  const file = target.files[0];
  if (file) guarded(file.name, () => openFile(file));
  target.value = ""; // so that the same file can be opened again
});
get("record").addEventListener("click", toggleRecording);

try {
  tagger = await loadTagger();
  get("window").textContent = Number(tagger.window.toFixed(1));
  // Absent where the page is served neither over https nor from this machine
  await navigator.serviceWorker?.register("offline.js");
  say("Ready.");
  enable(true);
} catch (error) {
  say(`The model could not be loaded: ${error.message}`);
}
