// The attention matrix: one token by depth and position, or all tokens at one depth.

import { el, fitted, percent } from "./dom.js";
import { colours } from "./palette.js";
import { call, unpack } from "./api.js";

const LEFT = 56; // pixels for row labels

export class Matrix {
  constructor({ choose, showProblem }) {
    Object.assign(this, { choose, showProblem });
    this.canvas = el("canvas", { className: "muse-matrix", tabIndex: 0 });
    this.canvas.setAttribute("aria-label", "Matrix of attention weights");
    this.readout = el("output", { className: "quiet" });
    this.mode = el("select", { onchange: () => this.reset() });
    this.mode.setAttribute("aria-label", "What the matrix shows");
    this.element = el(
      "details",
      { className: "muse-matrix-box", ontoggle: () => this.reset() },
      el("summary", {}, "Attention weights as a matrix"),
      el(
        "div",
        { className: "row" },
        this.mode,
        el("button", { onclick: () => this.zoom(0.5) }, "Zoom in"),
        el("button", { onclick: () => this.zoom(2) }, "Zoom out"),
        el("button", { onclick: () => this.reset() }, "Show all"),
        this.readout,
      ),
      this.canvas,
    );
    this.listen();
  }

  /** Show a candidate and one of its steps (or none). */
  of(candidate, step) {
    Object.assign(this, { candidate, step });
    if (!candidate?.done) {
      this.element.open = false;
      return;
    }
    if (this.offered !== candidate) {
      this.offered = candidate;
      this.mode.replaceChildren(
        el("option", { value: "token" }, "selected token: depth by position"),
        el("option", { value: "-1" }, "all tokens by position: all depths"),
        ...candidate.piece.depths.map((depth, number) => el("option", { value: String(number) }, `all tokens by position: depth ${depth}`)),
      );
      this.reset();
    } else if (this.isToken) this.reset();
    else this.draw();
  }

  get isToken() {
    return this.mode.value === "token";
  }

  reset() {
    if (!this.element.open || !this.candidate?.done) return;
    const { candidate } = this;
    this.tile = null;
    this.steps = [0, candidate.steps];
    this.positions = [candidate.base, candidate.promptSteps + candidate.steps];
    if (this.isToken && this.step !== null) {
      const weights = candidate.rows.get(this.step);
      if (weights) this.positions = [weights.begin, weights.begin + weights.length];
    }
    this.fetch();
  }

  zoom(factor, x = 0.5, y = 0.5) {
    const scale = ([first, stop], at, most) => {
      const width = Math.min(Math.max(4, Math.round((stop - first) * factor)), most[1] - most[0]);
      const from = Math.round(Math.min(Math.max(most[0], first + (stop - first - width) * at), most[1] - width));
      return [from, from + width];
    };
    const { candidate } = this;
    if (!candidate?.done) return;
    this.positions = scale(this.positions, x, [candidate.base, candidate.promptSteps + candidate.steps]);
    if (!this.isToken) this.steps = scale(this.steps, y, [0, candidate.steps]);
    this.fetch();
  }

  async fetch() {
    this.draw();
    if (this.isToken || !this.candidate.steps) return;
    const payload = { ...this.candidate.reference, depth: Number(this.mode.value), steps: this.steps, positions: this.positions };
    const turn = {};
    this.turn = turn;
    try {
      const tile = await call("matrix", payload);
      if (this.turn !== turn) return;
      this.tile = { ...tile, cells: unpack(tile.cells) };
      this.draw();
    } catch (problem) {
      this.showProblem(problem);
    }
  }

  /** The rows, the columns and a function for the weight of a cell. */
  get cells() {
    const [first, stop] = this.positions;
    if (this.isToken) {
      const weights = this.step === null ? null : this.candidate.rows.get(this.step);
      if (!weights) return null;
      const value = (row, column) => {
        const place = first + column - weights.begin;
        return place >= 0 && place < weights.length ? weights.row[row * weights.length + place] : 0;
      };
      return { rows: this.candidate.piece.depths.length, columns: stop - first, value, scale: weights.row.reduce((a, b) => Math.max(a, b), 1e-9) };
    }
    if (!this.tile) return null;
    const [rows, columns] = this.tile.cells.shape;
    return { rows, columns, value: (row, column) => (this.tile.cells[row * columns + column] / 65535) * this.tile.scale, scale: this.tile.scale };
  }

  draw() {
    if (!this.element.open || !this.candidate?.done) return;
    this.canvas.style.height = this.isToken ? "120px" : "380px";
    const { context, width, height } = fitted(this.canvas);
    const ink = colours();
    const { cells } = this;
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = ink.muted;
    if (!cells) {
      context.fillText(this.isToken ? "select a token first" : "", 8, 20);
      return;
    }
    const [w, h] = [(width - LEFT) / cells.columns, height / cells.rows];
    const image = document.createElement("canvas");
    image.width = cells.columns;
    image.height = cells.rows;
    const pixels = image.getContext("2d");
    for (let row = 0; row < cells.rows; row++) {
      // One depth is drawn in its colour, the sum of all in ink.
      pixels.fillStyle = this.isToken ? ink.depths[row] : this.mode.value === "-1" ? ink.ink : ink.depths[Number(this.mode.value)];
      for (let column = 0; column < cells.columns; column++) {
        // The square root makes small weights visible.
        const strength = Math.sqrt(cells.value(row, column) / cells.scale);
        if (strength < 0.01) continue;
        pixels.globalAlpha = Math.min(1, strength);
        pixels.fillRect(column, row, 1, 1);
      }
    }
    context.imageSmoothingEnabled = false;
    context.drawImage(image, LEFT, 0, width - LEFT, height);
    context.fillStyle = ink.muted;
    if (this.isToken) this.candidate.piece.depths.forEach((depth, row) => context.fillText(`depth ${depth}`, 2, (row + 0.5) * h + 4));
    else {
      context.fillText(`step ${this.steps[0]}`, 2, 11);
      context.fillText(`${this.steps[1] - 1}`, 2, height - 3);
      if (this.step !== null && this.step >= this.steps[0] && this.step < this.steps[1]) {
        context.fillStyle = ink.accent;
        context.fillRect(LEFT, ((this.step - this.steps[0]) / (this.steps[1] - this.steps[0])) * height, width - LEFT, Math.max(1, Math.min(2, h)));
      }
    }
    this.size = { w, h, height, width };
  }

  cellAt(event) {
    const { cells } = this;
    if (!cells || !this.size) return null;
    const column = Math.floor((event.offsetX - LEFT) / this.size.w);
    const row = Math.floor(event.offsetY / this.size.h);
    if (column < 0 || column >= cells.columns || row < 0 || row >= cells.rows) return null;
    const spread = ([first, stop], index, count) => [first + Math.floor((index * (stop - first)) / count), first + Math.ceil(((index + 1) * (stop - first)) / count) - 1];
    return { row, column, weight: cells.value(row, column), positions: spread(this.positions, column, cells.columns), steps: this.isToken ? null : spread(this.steps, row, cells.rows) };
  }

  listen() {
    const { canvas } = this;
    const range = ([first, last]) => (first === last ? String(first) : `${first} to ${last}, maximum`);
    canvas.addEventListener("pointermove", (event) => {
      const cell = this.cellAt(event);
      if (!cell) this.readout.textContent = "";
      else if (this.isToken) this.readout.textContent = `depth ${this.candidate.piece.depths[cell.row]}, position ${range(cell.positions)} ${percent(cell.weight)}`;
      else this.readout.textContent = `step ${range(cell.steps)} position ${range(cell.positions)} ${percent(cell.weight)}`;
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.zoom(event.deltaY > 0 ? 1.25 : 0.8, (event.offsetX - LEFT) / (canvas.clientWidth - LEFT), event.offsetY / canvas.clientHeight);
      },
      { passive: false },
    );
    canvas.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell?.steps) this.choose(cell.steps[0]);
    });
    canvas.addEventListener("keydown", (event) => {
      const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
      if (factor) this.zoom(factor);
    });
  }
}
