// Records the microphone as a WAV file. Browsers allow this only on localhost and over https.

import { Problem } from "./api.js";

const WORKLET = `registerProcessor("muse-recorder", class extends AudioWorkletProcessor {
  process([input]) { if (input.length) this.port.postMessage(input[0].slice()); return true; }
});`;

export class Microphone {
  /** Start recording; `heard` is called with the seconds so far. */
  async start(heard) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Problem("the microphone works only on localhost or over https; choose a recorded file instead");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
    } catch {
      throw new Problem("the browser has no access to a microphone");
    }
    this.context = new AudioContext();
    this.parts = [];
    this.length = 0;
    const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await this.context.audioWorklet.addModule(module);
    URL.revokeObjectURL(module);
    const recorder = new AudioWorkletNode(this.context, "muse-recorder");
    recorder.port.onmessage = ({ data }) => {
      this.parts.push(data);
      this.length += data.length;
      heard(this.length / this.context.sampleRate);
    };
    this.context.createMediaStreamSource(this.stream).connect(recorder).connect(this.context.destination);
  }

  /** Stop recording and return a file. */
  async stop() {
    for (const track of this.stream.getTracks()) track.stop();
    const rate = this.context.sampleRate;
    await this.context.close();
    if (!this.length) throw new Problem("nothing was recorded");
    return new File([wave(this.parts, this.length, rate)], "recording.wav", { type: "audio/wav" });
  }
}

function wave(parts, length, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const words = (place, text) => [...text].forEach((one, i) => view.setUint8(place + i, one.charCodeAt(0)));
  words(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  words(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  words(36, "data");
  view.setUint32(40, 2 * length, true);
  let place = 44;
  for (const part of parts) {
    for (const sample of part) {
      view.setInt16(place, Math.max(-1, Math.min(1, sample)) * 32767, true);
      place += 2;
    }
  }
  return view;
}
