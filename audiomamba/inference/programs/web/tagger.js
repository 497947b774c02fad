// A model of audiomamba-export in the browser: samples in, probabilities out.
import * as ort from "./ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
ort.env.wasm.wasmPaths = {
  wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href,
};

export async function loadTagger() {
  const [settings, model] = await Promise.all([
    fetch("settings.json").then((answer) => answer.json()),
    fetch("model.onnx").then((answer) => answer.arrayBuffer()),
  ]);
  const session = await ort.InferenceSession.create(model);
  return new Tagger(session, settings);
}

class Tagger {
  constructor(session, settings) {
    Object.assign(this, settings);
    this.session = session;
    this.window = Math.min(this.heard ?? 10, 10); // seconds
  }

  // Decode a file (ArrayBuffer) to mono samples at the model's rate
  async decode(bytes) {
    const context = new OfflineAudioContext(1, 1, this.sample_rate);
    const audio = await context.decodeAudioData(bytes);
    const mono = new Float32Array(audio.length);
    for (let i = 0; i < audio.numberOfChannels; i++) {
      const channel = audio.getChannelData(i);
      for (let n = 0; n < mono.length; n++) {
        mono[n] += channel[n] / audio.numberOfChannels;
      }
    }
    return mono;
  }

  // The part of a clip that the model was trained on
  kept(samples) {
    if (!this.max_duration) return samples;
    const size = Math.round(this.max_duration * this.sample_rate);
    const spare = Math.max(samples.length - size, 0);
    const start = this.keep === "centre" ? Math.floor(spare / 2) : 0;
    return samples.subarray(start, start + size);
  }

  // Probabilities of all classes
  async tag(samples) {
    const { probabilities } = await this.session.run({
      wavs: new ort.Tensor("float32", samples, [1, samples.length]),
      n_samples: new ort.Tensor("int64", [BigInt(samples.length)], [1]),
    });
    return probabilities.data;
  }

  // Start, stop and probabilities of each window; the last one ends with the
  // recording
  async *tagOverTime(samples) {
    const size = Math.round(this.window * this.sample_rate);
    const last = Math.max(samples.length - size, 0);
    const starts = [];
    for (let start = 0; start < last; start += size >> 1) starts.push(start);
    for (const start of [...starts, last]) {
      const part = samples.subarray(start, start + size);
      const [from, to] = [start, start + part.length].map(
        (n) => n / this.sample_rate,
      );
      yield { from, to, probabilities: await this.tag(part) };
    }
  }
}
