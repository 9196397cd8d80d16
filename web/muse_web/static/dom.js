// Creates elements and formats times and percentages.

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function show(element, visible) {
  element.hidden = !visible;
}

/** 75.2 -> "1:15.2" */
export function clock(seconds, digits = 1) {
  const part = 10 ** digits;
  const whole = Math.round(Math.max(0, seconds) * part) / part;
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return `${Math.floor(whole / 60)}:${rest}`;
}

/** A fraction as a percentage with two significant digits. */
export function percent(share) {
  return share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toPrecision(2)} %`;
}

/** Fit a canvas to its size in device pixels; the context draws in CSS pixels. */
export function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** The number of values in a sorted array that are at most `value`. */
export function countUpTo(values, value) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Make spaces and line ends visible. */
export function visible(label) {
  return label.trim() ? label : label.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "nothing";
}
