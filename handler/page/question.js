// The form: a task, and what it needs beside the image. Regions are drawn on the picture or typed.

import { $, element } from "./dom.js";
import { BOTH, grouped } from "./tasks.js";

const CORNERS = ["left", "top", "right", "bottom"];
const CLICK = 4; // pixels on the screen: a shorter drag is none

export class Question {
  #tasks = new Map([[BOTH.name, BOTH]]);
  #changed;
  #size = null;

  // `changed` is called when a region is another one, or is wanted or not.
  constructor(changed) {
    this.#changed = changed;
    $("task").addEventListener("change", () => this.#choose());
    for (const field of this.#fields) {
      field.addEventListener("input", () => {
        this.#check();
        changed();
      });
    }
  }

  // The choice among the tasks of GET /tasks.
  offer(tasks) {
    const option = ({ name, title }) => element("option", { value: name, textContent: title });
    const groups = grouped(tasks);
    for (const task of groups.flatMap(([, members]) => members)) this.#tasks.set(task.name, task);
    $("task").replaceChildren(option(BOTH), ...groups.map(([label, members]) => (
      element("optgroup", { label }, members.map(option))
    )));
    this.#choose();
  }

  get task() {
    return this.#tasks.get($("task").value);
  }

  get wantsRegion() {
    return this.task.input === "region";
  }

  // [left, top, right, bottom] in pixels of the image, or null.
  get region() {
    const [x1, y1, x2, y2] = this.#fields.map(({ valueAsNumber }) => valueAsNumber);
    return this.wantsRegion && x1 < x2 && y1 < y2 ? [x1, y1, x2, y2] : null;
  }

  set region(region) {
    this.#fields.forEach((field, i) => { field.value = region ? region[i] : ""; });
    this.#check();
    this.#changed();
  }

  // Another image, of this size: a region of the one before means nothing here.
  about({ width, height }) {
    this.#size = [width, height];
    this.#fields.forEach((field, i) => { field.max = this.#size[i % 2]; });
    this.region = null;
  }

  // What to ask, or null where something is missing.
  read() {
    const { task } = this;
    if (!$("question").checkValidity()) return null;
    const input = task.input === "text" ? $("phrase").value.trim() : "";
    return { task: task.name, title: task.title, input, region: this.region };
  }

  // A sentence about what is missing.
  get missing() {
    return this.wantsRegion ? "Now draw a region on the image, or type its corners." : `Now fill in “${this.task.label}”, and ask.`;
  }

  get #fields() {
    return CORNERS.map($);
  }

  #choose() {
    const { hint, input, label, example } = this.task;
    $("hint").textContent = input === "region" ? `${hint} Draw a region on the image, or type its corners.` : hint;
    $("phrase-field").hidden = input !== "text";
    $("phrase").disabled = input !== "text";
    $("phrase-label").textContent = label ?? "";
    $("phrase").placeholder = example ? `such as: ${example}` : "";
    $("region").hidden = $("region").disabled = input !== "region";
    this.#changed();
  }

  // Corners in their order; the form says the rest (numbers, all there, within the image) by itself.
  #check() {
    const [left, top, right, bottom] = this.#fields;
    const after = (one, other, name) => (one.value && other.value && one.valueAsNumber >= other.valueAsNumber ? `This must be more than ${name}.` : "");
    right.setCustomValidity(after(left, right, "left"));
    bottom.setCustomValidity(after(top, bottom, "top"));
  }

  // Lets a region be drawn on `canvas`, which shows the whole image; `drawn` is called after each one that is finished.
  drawOn(canvas, drawn) {
    let start = null; // where the pointer went down, in pixels of the screen
    let before = null; // the region until then
    let dragging = false;
    const at = ({ clientX, clientY }) => {
      const { left, top } = canvas.getBoundingClientRect();
      return [clientX - left, clientY - top];
    };
    const between = (from, to) => {
      const scale = this.#size[0] / canvas.clientWidth;
      const [[x1, x2], [y1, y2]] = [0, 1].map((axis) => [from[axis], to[axis]].map((value) => (
        Math.round(Math.max(0, Math.min(value * scale, this.#size[axis])))
      )).sort((a, b) => a - b));
      return [x1, y1, x2, y2];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.wantsRegion || event.button || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      start = at(event);
      before = this.region;
      dragging = false;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!start) return;
      const now = at(event);
      dragging ||= Math.hypot(now[0] - start[0], now[1] - start[1]) > CLICK;
      if (dragging) this.region = between(start, now);
    });
    const end = (keep) => {
      if (start && dragging && keep && this.region) drawn();
      else if (start && dragging) this.region = before;
      start = null;
    };
    canvas.addEventListener("pointerup", () => end(true));
    canvas.addEventListener("pointercancel", () => end(false));
  }
}
