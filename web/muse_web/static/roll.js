// Draws notes on the time axis, shaded by their weight as sources.

import { fillByDepth } from "./bands.js";
import { colours } from "./palette.js";

const DRUM = 0.09; // drawn length of a drum, in seconds

const ROW = 1.6; // height of a drum row; that of a pitch is 1

export class Roll {
  /** `drums` are the General MIDI names of the drums. */
  constructor(drums) {
    this.drums = drums;
  }

  /** Compute the visible rows: all pitches with a margin, and below them one per drum. */
  range(notes) {
    let low = 127;
    let high = 0;
    const kit = new Set();
    for (const { pitch, drum } of notes) {
      if (drum) kit.add(pitch);
      else {
        if (pitch < low) low = pitch;
        if (pitch > high) high = pitch;
      }
    }
    this.kit = [...kit].sort((a, b) => a - b); // bottom to top
    this.floor = kit.size ? ROW * kit.size + 1 : 0; // lowest row of the pitches
    const alone = kit.size > 0 && low > high;
    [this.low, this.high] = alone ? [0, 0] : low > high ? [48, 84] : [Math.max(0, low - 3), Math.min(128, high + 4)];
    this.rows = this.floor + this.high - this.low;
  }

  /** The middle of a note, in rows from the bottom. */
  middle({ pitch, drum }) {
    return drum ? 0.5 + ROW * (this.kit.indexOf(pitch) + 0.5) : this.floor + pitch - this.low + 0.5;
  }

  draw({ context, width, height }, axis, { notes, isNew, bars, splitPoint, beyond, map, chosen, split, small }) {
    const ink = colours();
    this.range(notes);
    const row = height / this.rows;
    if (!small) {
      context.fillStyle = ink.faint;
      for (const bar of bars) context.fillRect(axis.x(bar, width), 0, 1, height);
      context.fillStyle = ink.muted;
      context.font = "11px system-ui, sans-serif";
      for (let pitch = 12 * Math.ceil(this.low / 12); pitch < this.high; pitch += 12) {
        const y = height - (this.floor + pitch - this.low) * row;
        context.globalAlpha = 0.35;
        context.fillRect(0, y, width, 1);
        context.globalAlpha = 1;
        context.fillText(`C${pitch / 12 - 1}`, 3, y - 3);
      }
    }
    const slack = 12; // the longest note, in seconds, that may start before the left edge
    for (const note of notes) {
      if (note.start > axis.right) break;
      if (note.end < axis.left && note.start < axis.left - slack) continue;
      const x = axis.x(note.start, width);
      const right = axis.x(note.drum ? note.start + DRUM : note.end, width);
      const w = Math.max(right - x - (small ? 0 : 0.7), small ? 1 : 2);
      const h = Math.max((note.drum ? 1.2 : 1) * row - 1, 1.5);
      const y = height - this.middle(note) * row - h / 2;
      if (x + w < 0) continue;
      context.fillStyle = isNew(note) ? ink.new : ink.prompt;
      context.globalAlpha = map ? 0.5 : note.start >= beyond ? 0.35 : 1;
      context.fillRect(x, y, w, h);
      context.globalAlpha = 1;
      if (map) this.light(context, note, map, x, y, w, h, split);
      if (note === chosen) {
        context.fillStyle = ink.accent;
        context.fillRect(x - 1, y - 1, w + 2, h + 2);
      }
    }
    if (splitPoint !== null) {
      context.fillStyle = ink.ink;
      context.fillRect(axis.x(splitPoint, width) - 0.5, 0, 1, height);
    }
    if (!small) this.nameDrums(context, height);
  }

  nameDrums(context, height) {
    const row = height / this.rows;
    context.font = `${Math.min(11, Math.max(8, ROW * row))}px system-ui, sans-serif`;
    for (const pitch of this.kit) {
      const y = height - this.middle({ pitch, drum: true }) * row;
      context.fillStyle = colours().paper;
      context.globalAlpha = 0.75;
      context.fillRect(0, y - 5, context.measureText(this.drums[pitch]).width + 6, 10);
      context.globalAlpha = 1;
      context.fillStyle = colours().muted;
      context.fillText(this.drums[pitch], 3, y + 4);
    }
  }

  /** Shade a note by its weight as a source, optionally split by depth. */
  light(context, note, { candidate, weights }, x, y, w, h, split) {
    const span = candidate.spanAt.get(note.first);
    if (span === undefined || weights.total[span] <= 0.02 * weights.strongest) return;
    const strength = weights.total[span] / weights.strongest;
    const ink = colours();
    if (!split) {
      context.fillStyle = ink.accent;
      context.globalAlpha = 0.15 + 0.75 * strength;
      context.fillRect(x, y, w, h);
      context.globalAlpha = 1;
      return;
    }
    context.globalAlpha = 0.35 + 0.65 * strength;
    fillByDepth(context, weights, span, x, y, w, h);
    context.globalAlpha = 1;
  }

  /** The note nearest to the pointer, within a few pixels. */
  noteAt(notes, axis, x, y, width, height) {
    const row = height / this.rows;
    let best = null;
    let least = 36;
    for (const note of notes) {
      if (note.start > axis.right) break;
      const left = axis.x(note.start, width);
      const right = Math.max(axis.x(note.drum ? note.start + DRUM : note.end, width), left + 4);
      const middle = height - this.middle(note) * row;
      const dx = x < left ? left - x : x > right ? x - right : 0;
      const dy = Math.max(0, Math.abs(y - middle) - row / 2);
      const far = dx * dx + dy * dy;
      if (far < least) [best, least] = [note, far];
    }
    return best;
  }
}
