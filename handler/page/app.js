// The page: an image and a question go to the API, the answer is told in words and drawn over the image.
// No framework, no build step. This module joins the others; each says what is its own.

import * as answers from "./answer.js";
import * as api from "./api.js";
import { takePicture } from "./camera.js";
import { $, element, prose, seconds } from "./dom.js";
import { paint, paintRegion, under } from "./drawing.js";
import { ObjectList } from "./objects.js";
import { open, toBlob } from "./picture.js";
import { Question } from "./question.js";

const TEXT_IN_PNG = 1 / 40; // height of a name, of the longer side: as in handler/drawing.py

let limit = Infinity; // bytes that the server reads of an image
let picture = null; // what is looked at
let answer = null; // the API's, as it came
let region = null; // that the answer is about
let request = null; // the AbortController of what is under way

const photo = $("photo");
const overlay = $("overlay");
const list = new ObjectList(draw);
const question = new Question(draw);

// ---- asking

// Another image, or the promise of one: it is shown, and asked about if the question is whole.
async function take(file, name) {
  const signal = begin(`Looking at ${name} …`);
  picture = null;
  try {
    const opened = await open(await file, name, photo, limit);
    if (signal.aborted) return;
    picture = opened;
  } catch (problem) {
    if (signal.aborted) return;
    fail(problem);
  }
  showPicture(name);
  if (!picture) return;
  question.about(picture);
  if (question.read()) ask();
  else end(question.missing);
}

async function ask() {
  if (!picture) return fail({ title: "No image yet", detail: "Drop, paste or choose one first." });
  const asked = question.read();
  const { answer: kind } = question.task;
  const signal = begin(`Looking at ${picture.name} …`);
  try {
    const told = await api.ask(picture.blob, asked, signal, advance);
    if (signal.aborted) return;
    answer = told;
    region = asked.region;
    list.fill(told.objects, asked.input || undefined);
    answers.fill(told, asked, kind);
    end(answers.spoken(told));
  } catch (problem) {
    if (!signal.aborted) fail(problem);
  }
}

// From here on only what has this signal is under way.
function begin(doing) {
  request?.abort();
  request = new AbortController();
  answer = region = null;
  list.fill([]);
  const since = performance.now();
  const tick = setInterval(() => { $("elapsed").textContent = seconds(Math.round((performance.now() - since) / 100) * 100); }, 100);
  request.signal.addEventListener("abort", () => clearInterval(tick));
  $("elapsed").textContent = "";
  advance(1);
  show({ doing });
  return request.signal;
}

function end(status) {
  request?.abort(); // nothing is under way; the clock stops
  request = null;
  show({ status });
}

function fail(problem) {
  end("");
  if (problem.title) return show({ problem });
  console.error(problem); // a fault of the page itself
  return show({ problem: { title: "The page failed", detail: `${problem}` } });
}

// How much of the image is sent, 0..1. What then happens on the server takes no one knows how long.
function advance(part) {
  const bar = $("progress");
  bar.classList.toggle("endless", part >= 1);
  if (part < 1) bar.setAttribute("aria-valuenow", Math.round(part * 100));
  else bar.removeAttribute("aria-valuenow");
  bar.style.setProperty("--part", part);
}

// ---- what the user sees

function show({ doing = "", status = "", problem = null }) {
  const focused = document.activeElement;
  $("working").hidden = !doing;
  if (focused === $("cancel") && !doing) $("ask").focus();
  $("status").textContent = doing || status;
  $("status").classList.toggle("unseen", Boolean(answer));
  $("problem").hidden = !problem;
  $("problem-title").textContent = problem?.title ?? "";
  $("problem-detail").textContent = problem?.detail ?? "";
  $("problem-more").hidden = !problem?.type?.includes("#");
  $("problem-more").href = `docs${problem?.type?.replace(/^[^#]*/, "") ?? ""}`;
  $("problem-request").textContent = problem?.requestId ? `Request ${problem.requestId}` : "";
  $("result").hidden = !answer;
  $("save").hidden = !(answer && picture?.visible && (answer.objects.length || region));
  if (problem) $("problem").scrollIntoView({ block: "nearest" });
  draw();
}

function showPicture(name) {
  const visible = Boolean(picture?.visible);
  $("frame").hidden = !visible;
  $("invitation").hidden = visible;
  $("others").hidden = !visible;
  $("filename").textContent = visible ? `${name} · ${photo.naturalWidth} × ${photo.naturalHeight}` : "";
  $("note").textContent = picture?.note ?? "";
  for (const button of $("samples").children) button.setAttribute("aria-pressed", String(visible && button.name === name));
  if (visible) {
    const ratio = picture.width / picture.height;
    $("frame").style.aspectRatio = ratio;
    $("frame").style.width = `min(100%, calc(var(--tallest) * ${ratio}))`;
  }
  draw();
}

function draw() {
  const { clientWidth: width, clientHeight: height } = photo;
  const density = window.devicePixelRatio;
  overlay.width = width * density;
  overlay.height = height * density;
  overlay.classList.toggle("framing", question.wantsRegion);
  if (!picture || !width) return;
  const count = list.shown.length;
  overlay.setAttribute("aria-label", `${count || "No"} object${count === 1 ? "" : "s"} drawn over the image${count ? ", listed under Objects" : ""}`);
  const pen = overlay.getContext("2d");
  pen.scale(density, density);
  render(pen, { scale: width / picture.width, unit: 1, size: [width, height], marked: list.marked });
}

function render(pen, options) {
  const framed = question.wantsRegion ? question.region : region;
  if (framed) paintRegion(pen, framed, options);
  paint(pen, list.shown, { ...options, family: getComputedStyle(document.body).fontFamily });
}

// ---- what the user takes along

async function copy() {
  const text = answers.written(answer);
  try {
    await navigator.clipboard.writeText(text);
    say($("copy"), "Copied");
  } catch { // no permission, or no HTTPS: the text is selected instead
    $("response").open = true;
    getSelection().selectAllChildren($("json"));
    $("json").focus();
    say($("copy"), "Selected: copy it with the keyboard");
  }
}

// The image in its full size with what is shown over it.
async function save() {
  const { naturalWidth: width, naturalHeight: height } = photo;
  const canvas = element("canvas", { width, height });
  const pen = canvas.getContext("2d");
  pen.drawImage(photo, 0, 0);
  const unit = Math.max(0.85, (Math.max(width, height) * TEXT_IN_PNG) / 13);
  render(pen, { scale: width / picture.width, unit, size: [width, height], crowded: true });
  try {
    const link = element("a", { href: URL.createObjectURL(await toBlob(canvas, "image/png")) });
    link.download = `${picture.name.replace(/\.[^.]*$/, "")}-objects.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say($("save"), "Saved");
  } catch (problem) {
    show({ problem });
  }
}

// Tells it on the button for a while, and in the live region.
function say(button, text) {
  button.dataset.name ??= button.textContent;
  button.textContent = $("status").textContent = text;
  setTimeout(() => { button.textContent = button.dataset.name; }, 2500);
}

// ---- what the user gives

function takeFiles(files) {
  if (files.length) take(files[0], files[0].name);
  else fail({ title: "No image", detail: "Only image files can be dropped or pasted here." });
}

async function useCamera() {
  // A phone's own camera app takes better pictures than a page.
  if (matchMedia("(pointer: coarse)").matches) return $("snapshot").click();
  try {
    const shot = await takePicture();
    if (shot) take(shot, "camera.jpg");
  } catch (problem) {
    fail(problem);
  }
}

// The object under the pointer, in a list of one or none; none while a region is drawn.
function pointed({ offsetX, offsetY, buttons }) {
  if (!picture || (buttons && question.wantsRegion)) return [];
  const scale = picture.width / photo.clientWidth;
  const shape = under(list.shown, offsetX * scale, offsetY * scale);
  return shape ? [shape] : [];
}

function listen() {
  for (const [input, buttons] of [["file", ["choose", "another"]], ["snapshot", []]]) {
    for (const button of buttons) $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", ({ target }) => {
      if (target.files.length) takeFiles(target.files);
      target.value = ""; // so that the same file can be chosen again
    });
  }
  for (const button of ["use-camera", "camera-again"]) $(button).addEventListener("click", useCamera);
  const isText = (data, target) => !data.files.length && Boolean(target.closest?.("input")); // on its way into a field
  document.addEventListener("paste", ({ clipboardData, target }) => {
    if (!isText(clipboardData, target)) takeFiles(clipboardData.files);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("stage").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("stage").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    $("stage").classList.remove("over");
    if (isText(event.dataTransfer, event.target)) return;
    event.preventDefault();
    takeFiles(event.dataTransfer.files);
  });
  $("question").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  const cancel = () => request && end("Cancelled.");
  $("cancel").addEventListener("click", cancel);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && cancel());
  $("copy").addEventListener("click", copy);
  $("save").addEventListener("click", save);
  question.drawOn(overlay, ask);
  const mark = (event) => list.mark(...pointed(event));
  overlay.addEventListener("pointermove", mark);
  overlay.addEventListener("pointerdown", mark); // a finger does not hover
  overlay.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && list.mark());
  new ResizeObserver(draw).observe(photo);
}

// ---- at the start

async function introduce() {
  const { model, max_image_bytes } = await api.ready();
  limit = max_image_bytes;
  $("model").textContent = `${model.name} · ${model.precision}`;
  if (model.notice) {
    $("notice").append(...prose(model.notice));
    $("notice").hidden = false;
  }
}

async function offerSamples() {
  const names = await api.samples();
  $("samples").hidden = !names.length;
  $("samples").append(...names.map((name) => {
    const path = api.sampleAddress(name);
    const title = name.replace(/\.png$/, "").replaceAll("-", " ");
    const button = element("button", { type: "button", title, name }, [element("img", { src: path, alt: title })]);
    button.addEventListener("click", () => take(api.sample(name), name));
    return button;
  }));
}

listen();
question.offer([]); // until the server tells which there are
if (/Mac|iPhone|iPad/.test(navigator.platform)) $("paste-key").textContent = "⌘";
Promise.all([introduce(), api.tasks().then((tasks) => question.offer(tasks)), offerSamples()]).catch(fail);
