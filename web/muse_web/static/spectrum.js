// Draws sound on the time axis: mel spectrogram and waveform, shaded by the weight of sources.

import { fillByDepth } from "./bands.js";
import { colours, isDark } from "./palette.js";

const WAVE = 46; // height of the waveform in pixels

export class Spectrum {
  constructor() {
    this.images = new WeakMap();
  }

  /** A sheet as an image with one pixel per column and band. */
  image(sheet) {
    const dark = isDark();
    const held = this.images.get(sheet.columns);
    if (held && held.dark === dark) return held.canvas;
    const { columns, bands, count } = sheet;
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, count);
    canvas.height = bands;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, bands);
    for (let x = 0; x < count; x++) {
      for (let band = 0; band < bands; band++) {
        const place = 4 * ((bands - 1 - band) * canvas.width + x);
        const level = columns[x * bands + band];
        const grey = dark ? level : 255 - level;
        image.data[place] = image.data[place + 1] = image.data[place + 2] = grey;
        image.data[place + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    this.images.set(sheet.columns, { canvas, dark });
    return canvas;
  }

  /** The highest peak of all sheets, to which the waveform is scaled. */
  loudest(sheets) {
    let most = 1;
    for (const { peaks } of sheets) for (let i = 0; i < peaks.length; i++) if (peaks[i] > most) most = peaks[i];
    return most;
  }

  draw({ context, width, height }, axis, { sheets, splitPoint, map, chosen, split, small }) {
    const ink = colours();
    const wave = small ? 0 : WAVE;
    const tall = height - wave;
    const loudest = small ? 1 : this.loudest(sheets);
    for (const sheet of sheets) {
      if (!sheet.count) continue;
      const begin = sheet.first / sheet.perSecond;
      const end = Math.min((sheet.first + sheet.count) / sheet.perSecond, sheet.until ?? Infinity);
      const columns = (end - begin) * sheet.perSecond;
      const [x, right] = [axis.x(begin, width), axis.x(end, width)];
      if (right < 0 || x > width || columns < 1) continue;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.image(sheet), 0, 0, columns, sheet.bands, x, 0, right - x + 0.6, tall);
      if (!small) this.wave(context, sheet, axis, width, tall, columns, loudest);
    }
    if (!small && sheets.length) this.scale(context, sheets[0].top, tall);
    if (map) this.light(context, map, axis, width, tall, split);
    if (chosen !== null && chosen !== undefined) {
      context.fillStyle = ink.accent;
      context.fillRect(axis.x(chosen, width) - 1, 0, 2, height);
    }
    if (splitPoint !== null) {
      context.fillStyle = ink.ink;
      context.fillRect(axis.x(splitPoint, width) - 0.5, 0, 1, height);
    }
  }

  wave(context, sheet, axis, width, top, columns, loudest) {
    context.fillStyle = colours().new;
    const middle = top + WAVE / 2 + 3;
    const from = Math.max(0, Math.floor(axis.left * sheet.perSecond - sheet.first));
    const to = Math.min(columns, Math.ceil(axis.right * sheet.perSecond - sheet.first));
    const each = Math.max(1, Math.floor((to - from) / width));
    for (let column = from; column < to; column += each) {
      let peak = 0;
      for (let i = column; i < Math.min(column + each, to); i++) peak = Math.max(peak, sheet.peaks[i]);
      const tall = Math.max(1, (peak / loudest) * (WAVE - 8));
      const x = axis.x((sheet.first + column) / sheet.perSecond, width);
      context.fillRect(x, middle - tall / 2, Math.max(1, (each / sheet.perSecond / (axis.right - axis.left)) * width), tall);
    }
  }

  scale(context, top, tall) {
    context.font = "11px system-ui, sans-serif";
    const mel = (hertz) => Math.log10(1 + hertz / 700);
    for (const hertz of [200, 500, 1000, 2000, 4000, 8000]) {
      if (hertz >= top) continue;
      const y = tall * (1 - mel(hertz) / mel(top));
      const words = hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`;
      context.fillStyle = colours().paper;
      context.globalAlpha = 0.75;
      context.fillRect(0, y - 7, context.measureText(words).width + 6, 13);
      context.globalAlpha = 1;
      context.fillStyle = colours().muted;
      context.fillText(words, 3, y + 4);
    }
  }

  /** Draw frames by their weight as sources, at the top. */
  light(context, { candidate, weights }, axis, width, tall, split) {
    const ink = colours();
    const strip = split ? 18 : tall;
    const edges = candidate.edges;
    for (let i = 0; i < weights.total.length; i++) {
      if (weights.total[i] <= 0.05 * weights.strongest) continue;
      const x = axis.x(edges[i], width);
      const w = Math.max(1.5, axis.x(edges[i + 1], width) - x);
      if (x + w < 0 || x > width) continue;
      const strength = weights.total[i] / weights.strongest;
      if (!split) {
        context.fillStyle = ink.accent;
        context.globalAlpha = 0.6 * strength;
        context.fillRect(x, 0, w, strip);
        continue;
      }
      context.globalAlpha = 0.35 + 0.65 * strength;
      fillByDepth(context, weights, i, x, 0, w, strip);
    }
    context.globalAlpha = 1;
  }
}
