// Record mono samples at a given rate, until stopped.
export async function record(sampleRate) {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: {
      // Made for speech, these take away other sounds
      echoCancellation: false,
      noiseSuppression: false,
      autoGainControl: false,
    },
  });
  const context = new AudioContext({ sampleRate });
  await context.audioWorklet.addModule("collector.js");
  const collector = new AudioWorkletNode(context, "collector");
  const blocks = [];
  collector.port.onmessage = ({ data }) => blocks.push(data);
  context.createMediaStreamSource(stream).connect(collector);
  return {
    async stop() {
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
      const samples = new Float32Array(blocks.length * (blocks[0]?.length ?? 0));
      blocks.forEach((block, i) => samples.set(block, i * block.length));
      return samples;
    },
  };
}
