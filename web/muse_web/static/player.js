// Plays sound in parts of a second: each is scheduled at its time, and missing ones are waited for.

import { Problem, call, unpack } from "./api.js";

const PART = 1; // seconds
const AHEAD = 3; // parts fetched in advance
const BEFORE = 3; // earlier parts whose notes may still ring at the start

export class Player {
  /** `changed` is called when playback starts, waits or ends. */
  constructor(changed) {
    this.changed = changed;
    this.context = null;
    this.playing = false;
    this.waiting = false;
    this.position = 0;
    this.firstHeard = null; // performance.now() at which the first sound was scheduled
  }

  /** Browsers start sound only after a click: call this in its handler. */
  wake(rate) {
    if (this.context && this.context.sampleRate !== rate) {
      this.stop();
      this.context.close();
      this.context = null;
    }
    if (!this.context) {
      // At the rate of the sound: parts that are resampled separately would click at their borders.
      this.context = new AudioContext({ sampleRate: rate });
      this.output = limiter(this.context, this.context.destination);
    }
    this.context.resume();
  }

  /**
   * Play from a place. `of` is the reference (`{run, candidate}` or `{source}`), `end()` its end (Infinity during
   * generation), `ready()` the time up to which sound is available.
   */
  play({ of, from, end, ready, overlapping }) {
    this.stop();
    const turn = {};
    this.turn = turn;
    this.playing = true;
    this.position = from;
    this.sources = new Set();
    this.began = null;
    this.early = [];
    this.from = from;
    this.scheduled = from;
    this.firstHeard = null;
    this.end = end;
    this.changed();
    this.run(turn, of, ready, overlapping).catch((problem) => {
      if (this.turn === turn) this.stop();
      if (!(problem instanceof Problem)) throw problem;
    });
  }

  async run(turn, of, ready, overlapping) {
    const first = Math.floor(this.from / PART);
    for (let part = Math.max(0, first - (overlapping ? BEFORE : 0)); this.turn === turn; part++) {
      const start = part * PART;
      if (start >= this.end()) break;
      const stop = Math.min(start + PART, this.end());
      while (this.turn === turn && ready() < stop && this.end() > stop) await this.wait();
      while (this.turn === turn && this.began !== null && part > this.now() / PART + AHEAD) await sleep(100);
      if (this.turn !== turn) return;
      const got = await call("sound", { ...of, start, end: Math.max(stop, start + 0.01) });
      if (this.turn !== turn) return;
      this.put(got, start, part >= first);
    }
    while (this.turn === turn && this.now() < this.end()) await sleep(50);
    if (this.turn === turn) this.stop();
  }

  /** Wait silently for more sound. */
  async wait() {
    if (this.began !== null && this.scheduled - this.now() < 0.05) {
      this.waiting = true;
      this.context.suspend();
    }
    await sleep(40);
  }

  put({ samples, rate, full_scale: fullScale }, start, begins) {
    const data = unpack(samples);
    const [length, channels] = data.shape;
    if (this.waiting) {
      this.waiting = false;
      this.context.resume();
    }
    if (this.began === null && begins) {
      this.began = this.context.currentTime + 0.05;
      for (const put of this.early) put();
      this.early = [];
    }
    const schedule = () => this.schedule(data, length, channels, rate, fullScale, start);
    if (this.began === null) this.early.push(schedule);
    else schedule();
    if (begins) this.scheduled = start + PART;
  }

  schedule(data, length, channels, rate, fullScale, start) {
    const late = Math.max(0, this.from - start, this.now() - start);
    if (!length || late * rate >= length) return;
    const buffer = new AudioBuffer({ length, numberOfChannels: channels, sampleRate: rate });
    for (let channel = 0; channel < channels; channel++) {
      const put = buffer.getChannelData(channel);
      for (let i = 0; i < length; i++) put[i] = (data[i * channels + channel] / 32767) * fullScale;
    }
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.output);
    source.start(this.began + start + late - this.from, late);
    source.onended = () => this.sources.delete(source);
    this.sources.add(source);
    this.firstHeard ??= performance.now();
  }

  /** The place that is playing now. */
  now() {
    if (this.began === null) return this.from ?? 0;
    return this.from + Math.max(0, this.context.currentTime - this.began);
  }

  stop() {
    if (!this.turn) return;
    this.position = this.now();
    for (const source of this.sources) source.stop();
    this.turn = null;
    this.early = [];
    this.playing = false;
    if (this.waiting) this.context.resume();
    this.waiting = false;
    this.changed();
  }
}

const KNEE = 0.89; // -1 dBFS; lower samples are unchanged
const MOST = 4; // largest sample that is distinguished: the server sends no larger ones, but parts add up

/**
 * A node that passes samples up to -1 dBFS as they are and rounds off larger ones, before `destination`.
 * Parts of a score sound together, and may pass full scale. A DynamicsCompressorNode would raise everything by 2 dB.
 */
export function limiter(context, destination) {
  const half = 4096;
  const curve = Float32Array.from({ length: 2 * half + 1 }, (_, i) => {
    const x = (MOST * (i - half)) / half;
    const over = Math.max(0, Math.abs(x) - KNEE);
    return Math.sign(x) * (Math.min(Math.abs(x), KNEE) + (1 - KNEE) * Math.tanh(over / (1 - KNEE)));
  });
  const input = new GainNode(context, { gain: 1 / MOST });
  input.connect(new WaveShaperNode(context, { curve })).connect(destination);
  return input;
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
