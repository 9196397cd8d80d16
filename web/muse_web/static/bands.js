// Under the music: a band for each depth with its share of every new token's attention; below them the sources of one.

import { percent } from "./dom.js";
import { colours } from "./palette.js";

export const BAND = 26; // pixels

/** A rectangle divided among the depths by the weights of a source. */
export function fillByDepth(context, weights, span, x, y, width, height) {
  const { depths } = colours();
  depths.forEach((colour, depth) => {
    const part = (weights.byDepth[span * depths.length + depth] / weights.total[span]) * height;
    context.fillStyle = colour;
    context.fillRect(x, y, width, part);
    y += part;
  });
}

export function drawBands({ context, width }, axis, candidate, head, chosen) {
  const ink = colours();
  const { depths } = candidate.piece;
  depths.forEach((depth, number) => {
    const bottom = (number + 1) * BAND;
    context.fillStyle = ink.faint;
    context.fillRect(0, bottom - 1, width, 1);
    context.fillStyle = ink.depths[number];
    const first = candidate.stepAt(axis.left) ?? 0;
    let column = -1;
    let most = 0;
    for (let step = first; step < candidate.steps; step++) {
      const x = axis.x(candidate.edge(step), width);
      if (x > width) break;
      const right = step + 1 < candidate.steps || candidate.done ? axis.x(candidate.edge(step + 1), width) : x + 2;
      const share = candidate.share(step, number, head);
      // Several steps may share a pixel; the largest is drawn.
      if (Math.floor(x) === column && share <= most) continue;
      most = Math.floor(x) === column ? Math.max(most, share) : share;
      column = Math.floor(x);
      const tall = share * (BAND - 3);
      context.fillRect(x, bottom - 1 - tall, Math.max(right - x, 1), tall);
    }
  });
  depths.forEach((depth, number) => {
    const words = `depth ${depth}`;
    context.font = "11px system-ui, sans-serif";
    const x = Math.max(4, axis.x(candidate.piece.splitPoint, width) - context.measureText(words).width - 6);
    context.fillStyle = ink.muted;
    context.fillText(words, x, (number + 1) * BAND - 6);
  });
  if (chosen !== null) mark(context, axis.x(candidate.edge(chosen), width), depths.length * BAND);
}

function mark(context, x, height) {
  context.fillStyle = colours().accent;
  context.fillRect(x - 0.75, 0, 1.5, height);
}

/** The sources of a step as bars of their weight, coloured by depth; of those in one place only the strongest. */
export function drawLane({ context, width, height }, axis, candidate, weights, step) {
  const ink = colours();
  const depths = ink.depths.length;
  const { spans, base, edges } = candidate;
  const strongest = new Map(); // the strongest source within three pixels, by place
  let before = 0;
  for (let i = 0; i < weights.total.length; i++) {
    const x = axis.x(edges[Math.max(0, spans[2 * i] - base)], width);
    if (x < 0) before += weights.total[i];
    const bin = Math.floor(x / 3);
    if (x < 0 || x >= width || !weights.total[i]) continue;
    if (!(weights.total[strongest.get(bin)] >= weights.total[i])) strongest.set(bin, i);
  }
  const top = Math.max(0, ...Array.from(strongest.values(), (i) => weights.total[i]));
  for (const [bin, i] of strongest) {
    const tall = (weights.total[i] / (top || 1)) * (height - 14);
    let y = height;
    for (let depth = 0; depth < depths; depth++) {
      const part = (weights.byDepth[i * depths + depth] / weights.total[i]) * tall;
      context.fillStyle = ink.depths[depth];
      context.fillRect(bin * 3, y - part, 2.4, part);
      y -= part;
    }
  }
  mark(context, axis.x(candidate.edge(step), width), height);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = ink.muted;
  context.fillText(`weight of each source, up to ${percent(top)}${before > 0.005 ? `; ${percent(before)} further left` : ""}`, 4, 10);
}
