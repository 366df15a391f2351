// Objects and a region drawn on a 2D context: over the picture on the page, and into the PNG that is downloaded.
// Knows neither the page nor the API's addresses. Coordinates are pixels of the image unless said otherwise.

// The same as in handler/drawing.py.
export const COLOURS = [
  "#0b6bcb", "#c2410c", "#0f7b52", "#a21caf", "#b45309", "#0e7490", "#be123c", "#4d5bd6", "#5f7a0f", "#7a5230",
];
const LINE = 2.5; // widths and heights in units: one CSS pixel on the page
const FONT = 13;
const TAG = { height: 21, pad: 7, widest: 320 };

// The API's objects as they are drawn, the surest first; the objects themselves are left as they came. Tasks that only
// find places label nothing: their objects are called `unnamed`.
export function shapes(objects, unnamed = "region") {
  const labels = [...new Set(objects.map(({ label }) => label))];
  return objects.map((object) => {
    const outlines = outlinesOf(object);
    const xs = outlines.flatMap((points) => points.filter((_, i) => i % 2 === 0));
    const ys = outlines.flatMap((points) => points.filter((_, i) => i % 2 === 1));
    const [left, top, right, bottom] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    return {
      label: object.label || unnamed,
      score: object.score,
      colour: COLOURS[labels.indexOf(object.label) % COLOURS.length],
      filled: !object.box,
      outlines,
      bounds: [left, top, right, bottom],
      area: (right - left) * (bottom - top),
    };
  }).sort((a, b) => b.score - a.score);
}

function outlinesOf({ box, quad, polygons }) {
  if (polygons) return polygons;
  if (quad) return [quad];
  if (!box) return [];
  const [x1, y1, x2, y2] = box; // the model may write the corners in any order; a path does not mind
  return [[x1, y1, x2, y1, x2, y2, x1, y2]];
}

// The smallest of `shapes` that holds this point, or null.
export function under(shapes, x, y) {
  const holding = shapes.filter(({ outlines }) => outlines.some((points) => holds(points, x, y)));
  return holding.sort((a, b) => a.area - b.area)[0] ?? null;
}

// Whether an outline encloses a point: a ray from it crosses the outline an odd number of times.
function holds(points, x, y) {
  let inside = false;
  for (let i = 0, j = points.length - 2; i < points.length; j = i, i += 2) {
    const [x1, y1, x2, y2] = [points[i], points[i + 1], points[j], points[j + 1]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

// Draws `shapes`; where some are `marked`, the others fade and lose their names. A name that finds no free place is left
// out unless `crowded` allows names to overlap. `scale` takes the image's pixels to the context's, `unit` is
// how many of the context's pixels a line's or letter's unit takes, `size` is the context's width and height.
export function paint(pen, shapes, { scale, unit, size, family, marked = new Set(), crowded = false }) {
  pen.font = `600 ${FONT * unit}px ${family}`;
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  // Places for names are given to the surest first; what is sure is drawn last, so that it lies on top.
  const order = [...shapes].sort((a, b) => marked.has(b) - marked.has(a));
  const named = order.filter((shape) => !marked.size || marked.has(shape));
  const taken = [];
  for (const shape of named) {
    const place = placeOf(pen, shape, taken, scale, unit, size, crowded || marked.size === 1);
    if (place) taken.push(place);
  }
  for (const shape of order.toReversed()) {
    pen.globalAlpha = !marked.size || marked.has(shape) ? 1 : 0.25;
    outline(pen, shape, marked.has(shape), scale, unit);
  }
  pen.globalAlpha = 1;
  for (const place of taken.toReversed()) tag(pen, place, unit);
}

function outline(pen, shape, isMarked, scale, unit) {
  const path = new Path2D();
  for (const points of shape.outlines) {
    for (let i = 0; i < points.length; i += 2) path[i ? "lineTo" : "moveTo"](points[i] * scale, points[i + 1] * scale);
    path.closePath();
  }
  pen.fillStyle = pen.strokeStyle = shape.colour;
  pen.lineWidth = LINE * unit;
  const alpha = pen.globalAlpha;
  const fill = (shape.filled ? 0.18 : 0) + (isMarked ? 0.18 : 0);
  if (fill) {
    pen.globalAlpha = alpha * fill;
    pen.fill(path);
    pen.globalAlpha = alpha;
  }
  pen.stroke(path);
}

// Where an object's name stands, in the context's pixels: above its upper left corner, or at the next
// place that is free of other names. Null where none is, unless it must stand somewhere.
function placeOf(pen, { label, score, bounds, colour }, taken, scale, unit, [wide, high], must) {
  const text = `${shortened(pen, label, Math.min(TAG.widest * unit, wide * 0.75))}  ${score.toFixed(2)}`;
  const width = pen.measureText(text).width + 2 * TAG.pad * unit;
  const height = TAG.height * unit;
  const half = (LINE * unit) / 2;
  const [left, top, right, bottom] = bounds.map((value) => value * scale);
  const places = [
    [left - half, top - height], [left - half, top], [right + half - width, top - height], [left - half, bottom],
    [right + half - width, bottom],
  ].map(([x, y]) => ({ text, colour, width, height, x: Math.max(0, Math.min(x, wide - width)), y }));
  const whole = places.filter(({ y }) => y >= 0 && y + height <= high);
  const free = whole.find((place) => !taken.some((other) => overlap(place, other)));
  if (!free && whole.length && !must) return null;
  return free ?? whole[0] ?? { ...places[1], y: Math.max(0, top) };
}

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

function shortened(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end).trimEnd()}…`;
}

function tag(pen, { text, colour, x, y, width, height }, unit) {
  pen.fillStyle = colour;
  pen.fillRect(x, y, width, height);
  pen.fillStyle = "#fff";
  pen.fillText(text, x + TAG.pad * unit, y + height / 2 + unit * 0.5);
}

// The region that is asked about: what lies outside is dimmed. Its line is seen on light and dark alike.
export function paintRegion(pen, region, { scale, unit, size: [wide, high] }) {
  const [x1, y1, x2, y2] = region.map((value) => value * scale);
  const outside = new Path2D();
  outside.rect(0, 0, wide, high);
  outside.rect(x1, y1, x2 - x1, y2 - y1);
  pen.fillStyle = "rgb(0 0 0 / 40%)";
  pen.fill(outside, "evenodd");
  for (const [style, dash] of [["#000", []], ["#fff", [6 * unit, 4 * unit]]]) {
    pen.strokeStyle = style;
    pen.lineWidth = 2 * unit;
    pen.setLineDash(dash);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  pen.setLineDash([]);
}
