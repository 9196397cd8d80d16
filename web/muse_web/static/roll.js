// Notes on the time axis, and in place what one of them looked at.

import { fillByDepth } from "./bands.js";
import { colours } from "./palette.js";

const DRUM = 0.09; // seconds a drum is drawn for

export class Roll {
  /** The pitches that are shown: all of them, with some room. */
  range(notes) {
    let low = 127;
    let high = 0;
    for (const { pitch } of notes) {
      if (pitch < low) low = pitch;
      if (pitch > high) high = pitch;
    }
    return low > high ? [48, 84] : [Math.max(0, low - 3), Math.min(128, high + 4)];
  }

  draw({ context, width, height }, axis, { notes, isNew, bars, splitPoint, beyond, map, chosen, split, small }) {
    const ink = colours();
    const [low, high] = this.range(notes);
    const row = height / (high - low);
    this.low = low;
    this.high = high;
    if (!small) {
      context.fillStyle = ink.faint;
      for (const bar of bars) context.fillRect(axis.x(bar, width), 0, 1, height);
      context.fillStyle = ink.muted;
      context.font = "11px system-ui, sans-serif";
      for (let pitch = 12 * Math.ceil(low / 12); pitch < high; pitch += 12) {
        const y = height - (pitch - low) * row;
        context.globalAlpha = 0.35;
        context.fillRect(0, y, width, 1);
        context.globalAlpha = 1;
        context.fillText(`C${pitch / 12 - 1}`, 3, y - 3);
      }
    }
    const slack = 12; // the longest note that may begin before the left edge, seconds
    for (const note of notes) {
      if (note.start > axis.right) break;
      if (note.end < axis.left && note.start < axis.left - slack) continue;
      const x = axis.x(note.start, width);
      const right = axis.x(note.drum ? note.start + DRUM : note.end, width);
      const w = Math.max(right - x - (small ? 0 : 0.7), small ? 1 : 2);
      const y = height - (note.pitch - low + 1) * row;
      const h = Math.max(row - 1, 1.5);
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
  }

  /** A note by how much it was looked at; split, by how much at each depth. */
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

  /** The note under the pointer, the nearest within a few pixels. */
  noteAt(notes, axis, x, y, width, height) {
    const row = height / (this.high - this.low);
    let best = null;
    let least = 36;
    for (const note of notes) {
      if (note.start > axis.right) break;
      const left = axis.x(note.start, width);
      const right = Math.max(axis.x(note.drum ? note.start + DRUM : note.end, width), left + 4);
      const middle = height - (note.pitch - this.low + 0.5) * row;
      const dx = x < left ? left - x : x > right ? x - right : 0;
      const dy = Math.max(0, Math.abs(y - middle) - row / 2);
      const far = dx * dx + dy * dy;
      if (far < least) [best, least] = [note, far];
    }
    return best;
  }
}
