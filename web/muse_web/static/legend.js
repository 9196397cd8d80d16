// What the colours mean: the same everywhere on the page.

import { el } from "./dom.js";

export function legend(depths) {
  const entry = (colour, words) => {
    const swatch = el("i");
    swatch.style.background = colour;
    return el("span", {}, swatch, words);
  };
  const sources = "color-mix(in srgb, var(--muse-accent) 45%, transparent)";
  return el(
    "p",
    { className: "muse-legend" },
    entry("var(--muse-prompt)", "prompt"),
    entry("var(--muse-new)", "generated"),
    entry("var(--muse-accent)", "explained token"),
    entry(sources, "its sources"),
    ...depths.map((depth, number) => entry(`var(--muse-depth-${number})`, number ? `depth ${depth}` : `depth ${depth} (output of layer ${depth})`)),
  );
}
