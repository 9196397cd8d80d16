// The one time axis that everything on the stage shares.

const SHORTEST = 0.5;

export class Axis {
  constructor(changed) {
    this.changed = changed;
    this.left = 0;
    this.right = 10;
    this.end = 10;
  }

  show(left, right, end = this.end) {
    this.end = Math.max(end, SHORTEST);
    const width = Math.min(Math.max(right - left, SHORTEST), this.end * 1.02);
    this.left = Math.min(Math.max(0, left), Math.max(0, this.end * 1.02 - width));
    this.right = this.left + width;
    this.changed();
  }

  zoom(factor, around = (this.left + this.right) / 2) {
    this.show(around - (around - this.left) * factor, around + (this.right - around) * factor);
  }

  move(share) {
    const by = share * (this.right - this.left);
    this.show(this.left + by, this.right + by);
  }

  /** Keep a moving place visible. */
  follow(place) {
    const width = this.right - this.left;
    if (place < this.left || place > this.left + 0.8 * width) this.show(place - 0.25 * width, place + 0.75 * width);
  }

  x(place, width) {
    return ((place - this.left) / (this.right - this.left)) * width;
  }

  place(x, width) {
    return this.left + (x / width) * (this.right - this.left);
  }

  /** Places for tick labels, limited in number. */
  ticks(most) {
    const every = [0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((step) => (this.right - this.left) / step <= most) ?? 1800;
    const ticks = [];
    for (let tick = Math.ceil(this.left / every) * every; tick <= this.right; tick += every) ticks.push(tick);
    return { ticks, digits: every < 1 ? 1 : 0 };
  }

  /** Move and zoom with wheel, touch and keys over a canvas. */
  listen(canvas) {
    canvas.addEventListener(
      "wheel",
      (event) => {
        const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
        if (!sideways && !event.ctrlKey && !event.metaKey) return; // the page scrolls
        event.preventDefault();
        if (sideways) this.move((event.deltaX || event.deltaY) / 800);
        else this.zoom(Math.exp(event.deltaY / 300), this.place(event.offsetX, canvas.clientWidth));
      },
      { passive: false },
    );
  }
}
