// An answer in words: its text, the time it took, where it comes from, and the response as it came.

import { $, element, seconds } from "./dom.js";

const STAGES = { image: "Image", vision: "Vision", encoder: "Text encoder", decoder: "Decoder" };
const LONG = 140; // characters of a text that is set smaller

// The response as text. Lists of numbers stand on one line; strings of JSON hold no line breaks, so none is touched.
export const written = (answer) => (
  JSON.stringify(answer, null, 2).replace(/\[\n[\s\d.,e+-]+\]/g, (list) => list.replace(/\s+/g, " ").replace("[ ", "[").replace(" ]", "]"))
);

// What was asked, in a line.
export function asked({ title, input, region }) {
  return [title, input && `“${input}”`, region && `(${region.join(", ")})`].filter(Boolean).join(" ");
}

// The answer in a sentence, for those who hear it.
export function spoken(answer) {
  const { objects = [], milliseconds } = answer;
  const found = { 0: "", 1: "1 object." }[objects.length] ?? `${objects.length} objects.`;
  const text = textOf(answer);
  const sentence = text && (/[.!?]$/.test(text) ? text : `${text}.`);
  return [sentence || (objects.length ? "" : "Nothing found."), found, `Done in ${seconds(milliseconds.total)}.`].filter(Boolean).join(" ");
}

const textOf = ({ caption, text }) => caption ?? text ?? "";

// Shows `answer` to `question`; `kind` is what such an answer holds, text or objects.
export function fill(answer, question, kind) {
  const text = textOf(answer);
  $("asked").textContent = asked(question);
  $("told").hidden = !text && kind !== "text";
  $("caption").textContent = text || "Nothing.";
  $("caption").classList.toggle("long", text.length > LONG);
  $("caption-score").textContent = answer.score?.toFixed(2) ?? "";
  $("found").hidden = kind === "text";
  $("truncated").hidden = !answer.truncated;
  const spent = answer.milliseconds;
  const stages = Object.keys(STAGES).filter((stage) => stage in spent);
  $("total").textContent = seconds(spent.total);
  $("bar").replaceChildren(...stages.map((stage) => {
    const part = element("span", { className: stage });
    part.style.flexGrow = spent[stage];
    return part;
  }));
  $("stages").replaceChildren(...stages.map((stage) => element("div", { className: stage }, [
    element("dt", { textContent: STAGES[stage] }),
    element("dd", { className: "number", textContent: seconds(spent[stage]) }),
  ])));
  $("provenance").replaceChildren(...provenance(answer).map(([name, value]) => element("div", {}, [
    element("dt", { textContent: name }),
    element("dd", { textContent: value }),
  ])));
  $("json").textContent = written(answer);
}

// What the answer says of the model, the image and itself, name and value. Whatever the API adds to what is shown elsewhere
// is told under its own name.
function provenance({ model, image, caption, text, score, task, truncated, objects, milliseconds, ...rest }) {
  const { notice, ...facts } = model;
  const { width, height, format, ...more } = image;
  const named = (entries, prefix) => Object.entries(entries)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([key, value]) => [sentence(`${prefix} ${key.replaceAll("_", " ")}`), `${value}`]);
  return [...named(facts, "model"), ["Image", `${width} × ${height}, ${format}`], ...named(more, "image"), ...named(rest, "")];
}

const sentence = (words) => words.trim().replace(/^./, (letter) => letter.toUpperCase());
