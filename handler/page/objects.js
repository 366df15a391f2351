// The list of what was found: the accessible form of the drawing. One checkbox for each object, one for each label that
// several share, and the minimum score.

import { $, element } from "./dom.js";
import { shapes } from "./drawing.js";

export class ObjectList {
  #all = []; // shapes
  #hidden = new Set();
  #marked = new Set();
  #boxes = new Map(); // shape -> its checkbox
  #changed;

  // `changed` is called when other objects are shown or marked.
  constructor(changed) {
    this.#changed = changed;
    $("minimum").addEventListener("input", () => {
      this.#list();
      changed();
    });
    $("all").addEventListener("click", () => this.#show(this.#kept, !this.shown.length));
  }

  // The objects of another answer; `unnamed` is what those without a label are called.
  fill(objects, unnamed) {
    this.#all = shapes(objects, unnamed);
    this.#hidden.clear();
    this.#list();
  }

  // The shapes to draw, the surest first.
  get shown() {
    return this.#kept.filter((shape) => !this.#hidden.has(shape));
  }

  // Those of them that are pointed at.
  get marked() {
    return new Set(this.shown.filter((shape) => this.#marked.has(shape)));
  }

  mark(...shapes) {
    const marked = new Set(shapes);
    if (marked.size === this.#marked.size && shapes.every((shape) => this.#marked.has(shape))) return;
    this.#marked = marked;
    for (const [shape, box] of this.#boxes) box.closest(".row").classList.toggle("marked", marked.has(shape));
    this.#changed();
  }

  get #kept() {
    const minimum = $("minimum").valueAsNumber;
    return this.#all.filter(({ score }) => score >= minimum);
  }

  #show(shapes, wanted) {
    for (const shape of shapes) {
      if (wanted) this.#hidden.delete(shape);
      else this.#hidden.add(shape);
    }
    this.#tick();
    this.#changed();
  }

  #list() {
    this.#marked = new Set();
    this.#boxes.clear();
    const groups = new Map();
    for (const shape of this.#kept) groups.set(shape.label, [...(groups.get(shape.label) ?? []), shape]);
    $("objects").replaceChildren(...[...groups].map(([label, members]) => {
      if (members.length === 1) return element("li", {}, [this.#row(members[0], label)]);
      const rows = members.map((shape, i) => element("li", {}, [this.#row(shape, `${label} ${i + 1}`)]));
      const list = element("ol", {}, rows);
      list.setAttribute("aria-label", label);
      return element("li", { className: "group" }, [this.#head(label, members), list]);
    }));
    $("minimum-value").textContent = $("minimum").valueAsNumber.toFixed(2);
    this.#tick();
  }

  #row(shape, name) {
    const box = element("input", { type: "checkbox" });
    this.#boxes.set(shape, box);
    const [x1, y1, x2, y2] = shape.bounds.map(Math.round);
    return this.#labelled(box, [shape], [
      element("span", { className: "label", textContent: name }),
      element("span", { className: "unseen", textContent: "score" }),
      element("span", { className: "number", textContent: shape.score.toFixed(2) }),
      element("span", { className: "unseen", textContent: `from ${x1}, ${y1} to ${x2}, ${y2}` }),
      element("span", { className: "level" }),
    ]);
  }

  #head(label, members) {
    const box = element("input", { type: "checkbox", className: "several" });
    return this.#labelled(box, members, [
      element("span", { className: "label", textContent: label }),
      element("span", { className: "unseen", textContent: "all" }),
      element("span", { className: "number", textContent: `× ${members.length}` }),
    ]);
  }

  #labelled(box, members, parts) {
    const row = element("label", { className: "row" }, [box, ...parts]);
    row.style.setProperty("--colour", members[0].colour);
    row.style.setProperty("--score", members[0].score);
    box.addEventListener("change", () => this.#show(members, box.checked));
    box.addEventListener("focus", () => this.mark(...members));
    box.addEventListener("blur", () => this.mark());
    row.addEventListener("pointerenter", () => this.mark(...members));
    row.addEventListener("pointerleave", () => this.mark());
    return row;
  }

  // The checkboxes, and what counts them, as the state is.
  #tick() {
    const [all, shown] = [this.#all.length, this.shown.length];
    for (const [shape, box] of this.#boxes) box.checked = !this.#hidden.has(shape);
    for (const head of $("objects").querySelectorAll(".several")) {
      const boxes = [...head.closest(".group").querySelectorAll(":scope > ol input")];
      head.checked = boxes.every(({ checked }) => checked);
      head.indeterminate = !head.checked && boxes.some(({ checked }) => checked);
    }
    $("count").textContent = !all ? "none found" : shown === all ? String(all) : `${shown} of ${all}`;
    $("all").textContent = shown ? "Hide all" : "Show all";
    $("all").hidden = this.#kept.length < 2;
    $("cut").hidden = !all;
  }
}
