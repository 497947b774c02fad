// Sends what the microphone hears, as the mean of its channels.
class Collector extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = channels[0].map(
        (_, n) =>
          channels.reduce((sum, channel) => sum + channel[n], 0) /
          channels.length,
      );
      this.port.postMessage(mono);
    }
    return true;
  }
}

registerProcessor("collector", Collector);
