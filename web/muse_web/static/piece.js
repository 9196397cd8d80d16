// The data on the stage: a prompt, its continuations while they are generated, and the attention of their tokens.

import { call, unpack } from "./api.js";

const HELD_ROWS = 600;

/** A typed array that can be appended to. */
class GrowableArray {
  constructor(kind) {
    this.array = new kind(1024);
    this.length = 0;
  }

  push(values) {
    while (this.length + values.length > this.array.length) {
      const larger = new this.array.constructor(2 * this.array.length);
      larger.set(this.array);
      this.array = larger;
    }
    this.array.set(values, this.length);
    this.length += values.length;
  }

  get values() {
    return this.array.subarray(0, this.length);
  }
}

/** Places of tokens during generation: tokens with the same start divide the time up to the next start. */
function shared(starts) {
  const places = new Float32Array(starts.length);
  for (let first = 0; first < starts.length; ) {
    let stop = first + 1;
    while (stop < starts.length && starts[stop] - starts[first] < 1e-5) stop += 1;
    const next = stop < starts.length ? starts[stop] : starts[first] + 0.25;
    for (let i = first; i < stop; i++) places[i] = starts[first] + ((i - first) * (next - starts[first])) / (stop - first);
    first = stop;
  }
  return places;
}

function notesOf(view) {
  const array = unpack(view);
  const notes = [];
  for (let i = 0; i < array.length; i += 5) {
    const [start, end, pitch, first, drum] = array.subarray(i, i + 5);
    notes.push({ start, end, pitch, first, drum: drum > 0 });
  }
  return notes;
}

function sheetOf(view) {
  const columns = unpack(view.columns);
  return { columns, bands: columns.shape[1], count: columns.shape[0], peaks: unpack(view.peaks), first: view.first, perSecond: view.per_second, top: view.top };
}

/** A prompt: `of` is its reference on the server, `view` one of VIEWS. */
export class Base {
  constructor({ of, name, length, drawn, domain, view, soundRate }) {
    Object.assign(this, { of, name, length, domain, view, soundRate });
    this.notes = drawn?.notes ? notesOf(drawn.notes) : [];
    this.bars = drawn?.bars ?? [];
    this.sheets = drawn?.columns ? [sheetOf(drawn)] : [];
    this.text = drawn?.text ?? "";
    this.hidden = drawn?.hidden ?? 0;
  }

  /** A finished candidate as the next prompt. */
  static ofCandidate(piece) {
    const { candidate } = piece;
    const base = new Base({ of: candidate.reference, name: piece.base.name, length: candidate.end, domain: piece.domain, view: piece.view, soundRate: piece.soundRate });
    base.notes = candidate.notes;
    base.sheets = candidate.sheets;
    base.text = candidate.text;
    base.hidden = piece.view.hidden(base);
    return base;
  }
}

/** One continuation. */
export class Candidate {
  constructor(piece, number) {
    this.piece = piece;
    this.number = number; // index within its run
    this.steps = 0;
    this.ready = piece.splitPoint;
    this.newNotes = [];
    this.starts = new GrowableArray(Float32Array);
    this.shareBytes = new GrowableArray(Uint8Array);
    this.characters = new GrowableArray(Int32Array);
    this.newText = "";
    this.newSheets = [];
    this.rows = new Map();
    this.inspections = new Map();
    this.done = false;
  }

  progress(part) {
    this.steps = part.steps;
    this.ready = part.ready;
    this.shareBytes.push(unpack(part.shares));
    if (part.notes) this.newNotes.push(...notesOf(part.notes));
    if (part.starts) {
      this.starts.push(unpack(part.starts));
      this.places = shared(this.starts.values);
    }
    if (part.characters) {
      this.newText = this.newText.slice(0, part.from) + part.text;
      this.characters.push(unpack(part.characters));
    }
    if (part.sound && part.sound.peaks.shape[0]) this.newSheets.push(sheetOf(part.sound));
  }

  finish(view) {
    this.done = true;
    this.steps = view.steps;
    this.base = view.base;
    this.promptSteps = view.prompt_steps;
    this.end = view.end;
    this.natsPerToken = view.nats_per_token;
    this.ready = Infinity;
    this.edges = unpack(view.edges);
    this.spans = unpack(view.spans);
    this.labels = view.labels;
    this.spanAt = new Map();
    for (let i = 0; i < this.spans.length / 2; i++) this.spanAt.set(this.spans[2 * i], i);
    this.shareBytes = new GrowableArray(Uint8Array);
    this.shareBytes.push(unpack(view.shares));
    if (view.notes) this.finalNotes = notesOf(view.notes);
    if (view.sound) this.finalSheets = [sheetOf(view.sound)];
    if (view.text !== undefined) {
      this.finalText = view.text;
      this.finalCharacters = unpack(view.characters);
    }
  }

  /** Notes of prompt and continuation, sorted by start. */
  get notes() {
    if (this.finalNotes) return this.finalNotes;
    const { base, splitPoint } = this.piece;
    this.before ??= base.notes.filter((note) => note.start < splitPoint - 1e-4).map((note) => ({ ...note, first: -1 }));
    return this.before.concat(this.newNotes);
  }

  get sheets() {
    if (this.finalSheets) return this.finalSheets;
    return [...this.piece.base.sheets.map((sheet) => ({ ...sheet, until: this.piece.splitPoint })), ...this.newSheets];
  }

  get text() {
    return this.finalText ?? this.piece.promptText + this.newText;
  }

  /** The generated part of a text. */
  get generatedText() {
    if (!this.done) return this.newText;
    return this.steps ? this.finalText.slice(this.finalCharacters[2 * (this.promptSteps - this.base)]) : "";
  }

  /** The end of the continuation so far. */
  get now() {
    if (this.done) return this.end;
    const { splitPoint, stepsPerSecond } = this.piece;
    if (stepsPerSecond) return splitPoint + this.steps / stepsPerSecond;
    return Math.max(splitPoint, this.ready);
  }

  /** Whether a note was generated. */
  isNew(note) {
    return this.done ? note.first >= this.promptSteps : note.first >= this.piece.promptSteps;
  }

  stepOf(note) {
    return note.first - this.piece.promptSteps;
  }

  /** The start of a generated step on the axis. */
  edge(step) {
    if (this.done) return this.edges[this.promptSteps - this.base + step];
    const { splitPoint, stepsPerSecond } = this.piece;
    if (stepsPerSecond) return splitPoint + step / stepsPerSecond;
    return this.places?.[Math.min(step, this.places.length - 1)] ?? splitPoint;
  }

  /** The generated step at a place on the axis; null before the split point. */
  stepAt(place) {
    if (!this.steps || place < this.edge(0)) return null;
    let low = 0;
    let high = this.steps;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.edge(middle) <= place) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The share of a step's attention at a depth, for one head or (-1) all. */
  share(step, depth, head) {
    const { depths, heads } = this.piece;
    const start = (step * depths.length + depth) * heads;
    const bytes = this.shareBytes.array;
    if (head >= 0) return bytes[start + head] / 255;
    let sum = 0;
    for (let h = 0; h < heads; h++) sum += bytes[start + h];
    return sum / (255 * heads);
  }

  get reference() {
    return { run: this.piece.run, candidate: this.number };
  }

  /** A step's tokens, alternatives and weights. */
  async inspect(step) {
    if (!this.inspections.has(step)) {
      const found = await call("inspect", { ...this.reference, step });
      this.storeRow(step, found.begin, unpack(found.row));
      delete found.row;
      this.inspections.set(step, found);
    }
    if (!this.rows.has(step)) await this.fetchRows([step]);
    return this.inspections.get(step);
  }

  /** Fetch the weights of steps that are not cached. */
  async fetchRows(steps) {
    const missing = steps.filter((step) => !this.rows.has(step)).slice(0, 64);
    if (!missing.length) return;
    const { begins, lengths, rows } = await call("rows", { ...this.reference, steps: missing });
    const all = unpack(rows);
    const depths = this.piece.depths.length;
    let place = 0;
    missing.forEach((step, i) => {
      const size = depths * lengths[i];
      this.storeRow(step, begins[i], all.subarray(place, place + size));
      place += size;
    });
  }

  storeRow(step, begin, row) {
    this.rows.set(step, this.summed(begin, row));
    // The step that is being explained is kept.
    if (this.rows.size > HELD_ROWS) this.rows.delete([...this.rows.keys()].find((held) => held !== this.piece.step));
  }

  /** The attention map of a step: weights by span and depth, and by position. */
  summed(begin, row) {
    const depths = this.piece.depths.length;
    const length = row.length / depths;
    const { spans } = this;
    const count = spans.length / 2;
    const byDepth = new Float32Array(count * depths);
    const total = new Float32Array(count);
    let strongest = 0;
    for (let i = 0; i < count; i++) {
      const low = Math.max(0, spans[2 * i] - begin);
      const high = Math.min(length, spans[2 * i + 1] - begin);
      if (high <= low) continue;
      for (let depth = 0; depth < depths; depth++) {
        let sum = 0;
        for (let p = low; p < high; p++) sum += row[depth * length + p];
        byDepth[i * depths + depth] = sum;
        total[i] += sum;
      }
      if (total[i] > strongest) strongest = total[i];
    }
    return { begin, length, row, byDepth, total, strongest };
  }
}

/** A prompt and its candidates. */
export class Piece {
  constructor(base) {
    this.base = base;
    this.domain = base.domain;
    this.view = base.view;
    this.splitPoint = base.length;
    this.soundRate = base.soundRate; // Hz; undefined without sound
    this.run = null;
    this.candidates = [];
    this.chosen = 0;
    this.depths = [];
    this.step = null;
  }

  get candidate() {
    return this.candidates[this.chosen] ?? null;
  }

  /** The text that is continued, as far as the page holds it. */
  get promptText() {
    if (!this.view.words) return "";
    const bytes = new TextEncoder().encode(this.base.text);
    let end = Math.max(0, Math.min(bytes.length, this.splitPoint - this.base.hidden));
    while (end > 0 && (bytes[end] & 0xc0) === 0x80) end -= 1; // not inside a character
    return new TextDecoder().decode(bytes.subarray(0, end));
  }

  receive(part) {
    if (part.type === "started") {
      Object.assign(this, {
        run: part.run, seed: part.seed, splitPoint: part.split_point, promptSteps: part.prompt_steps, depths: part.depths, heads: part.heads,
        colours: part.colours, stepsPerSecond: part.steps_per_second, soundRate: part.sound_rate, requested: part.requested,
      });
      this.candidates = Array.from({ length: part.candidates }, (_, number) => new Candidate(this, number));
    } else if (part.type === "progress") {
      part.candidates.forEach((one, i) => this.candidates[i].progress(one));
    } else if (part.type === "done") {
      part.candidates.forEach((one, i) => this.candidates[i].finish(one));
    }
  }

  /** The end of the axis. */
  get end() {
    const candidate = this.candidate;
    if (!candidate) return this.base.length;
    return candidate.done ? candidate.end : Math.max(this.splitPoint + (this.requested ?? 0), candidate.now);
  }
}
