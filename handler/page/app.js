// The page: an image goes to POST /analyze, its caption and boxes come back and are drawn over it.
// No framework, no build step. Paths are relative, so that the page also works below a prefix.

// The same as in handler/drawing.py.
const COLOURS = [
  "#0b6bcb", "#c2410c", "#0f7b52", "#a21caf", "#b45309", "#0e7490", "#be123c", "#4d5bd6", "#5f7a0f", "#7a5230",
];
const STAGES = { image: "Image", vision: "Vision", encoder: "Text encoder", decoder: "Decoder" };

const $ = (id) => document.getElementById(id);
const seconds = (ms) => (ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`);

let limit = Infinity; // bytes that the server reads of an image
let answer = null; // what is shown: the API's answer
let marked = null; // the object that is pointed at
let request = null; // the AbortController of the request under way

// ---- what the user gives

async function analyze(blob, name) {
  request?.abort();
  const mine = (request = new AbortController());
  answer = null;
  show({ busy: `Looking at ${name} …` });
  await preview(blob, name);
  if (mine.signal.aborted) return;
  try {
    if (blob.size > limit) {
      throw { title: "Image too large", detail: `At most ${(limit / 1e6).toFixed(0)} MB are read of an image.` };
    }
    const response = await fetch("analyze", {
      method: "POST",
      body: blob,
      headers: { "Content-Type": "application/octet-stream" },
      signal: mine.signal,
    });
    const body = await response.json();
    if (!response.ok) throw body;
    answer = body;
    // The model may write a box's corners in any order.
    for (const { box } of answer.objects) box.splice(0, 4, ...corners(box));
    show({});
  } catch (error) {
    if (mine.signal.aborted) return;
    show({ problem: error.title ? error : { title: "No answer", detail: "The server cannot be reached; is it running?" } });
  }
}

async function preview(blob, name) {
  const photo = $("photo");
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(blob);
  photo.alt = name;
  const visible = await photo.decode().then(() => true, () => false);
  $("frame").hidden = !visible;
  $("invitation").hidden = visible;
  $("another").hidden = !visible;
  $("filename").textContent = visible ? `${name} · ${photo.naturalWidth} × ${photo.naturalHeight}` : "";
  if (visible) {
    const ratio = photo.naturalWidth / photo.naturalHeight;
    $("frame").style.aspectRatio = ratio;
    $("frame").style.width = `min(100%, calc(var(--tallest) * ${ratio}))`;
  }
  draw();
}

function take(files) {
  if (files.length) analyze(files[0], files[0].name);
  else show({ problem: { title: "No image", detail: "Only image files can be dropped or pasted here." } });
}

function listen() {
  const file = $("file");
  for (const button of [$("choose"), $("another")]) button.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) take(file.files);
    file.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("stage").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("stage").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("stage").classList.remove("over");
    take(event.dataTransfer.files);
  });
  $("minimum").addEventListener("input", () => {
    mark(null);
    list();
    draw();
  });
  $("overlay").addEventListener("pointermove", (event) => mark(under(event)));
  $("overlay").addEventListener("pointerleave", () => mark(null));
  new ResizeObserver(draw).observe($("photo"));
}

// ---- what the user sees

function show({ busy = "", problem = null }) {
  $("answer").setAttribute("aria-busy", String(Boolean(busy)));
  $("progress").hidden = !busy;
  $("status").textContent = busy || (answer ? `Done in ${seconds(answer.milliseconds.total)}.` : "");
  $("status").classList.toggle("unseen", !busy);
  $("problem").hidden = !problem;
  $("problem-title").textContent = problem?.title ?? "";
  $("problem-detail").textContent = problem?.detail ?? "";
  $("result").hidden = !answer;
  marked = null;
  if (answer) fill();
  draw();
}

function fill() {
  $("caption").textContent = answer.caption;
  $("caption-score").textContent = answer.score.toFixed(2);
  const spent = answer.milliseconds;
  $("total").textContent = seconds(spent.total);
  $("bar").replaceChildren(...Object.keys(STAGES).map((stage) => {
    const part = element("span", { className: stage });
    part.style.flexGrow = spent[stage];
    return part;
  }));
  $("stages").replaceChildren(...Object.entries(STAGES).map(([stage, name]) => element("div", { className: stage }, [
    element("dt", { textContent: name }),
    element("dd", { className: "number", textContent: seconds(spent[stage]) }),
  ])));
  $("json").textContent = JSON.stringify(answer, null, 2);
  list();
}

function list() {
  if (!answer) return;
  const minimum = Number($("minimum").value);
  $("minimum-value").textContent = minimum.toFixed(2);
  const shown = visible();
  const all = answer.objects.length;
  $("cut").hidden = !all;
  $("count").textContent = !all ? "none found" : shown.length === all ? String(all) : `${shown.length} of ${all}`;
  $("objects").replaceChildren(...shown.map((object) => {
    const button = element("button", { type: "button" }, [
      element("span", { className: "swatch" }),
      element("span", { className: "label", textContent: object.label }),
      element("span", { className: "number", textContent: object.score.toFixed(2) }),
      element("span", { className: "level" }),
    ]);
    button.style.setProperty("--colour", colour(object));
    button.style.setProperty("--score", object.score);
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => mark(object));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => mark(null));
    return element("li", {}, [button]);
  }));
}

function mark(object) {
  if (marked === object) return;
  marked = object;
  visible().forEach((each, i) => $("objects").children[i]?.classList.toggle("marked", each === object));
  draw();
}

function draw() {
  const canvas = $("overlay");
  const { clientWidth: width, clientHeight: height } = $("photo");
  const density = window.devicePixelRatio;
  canvas.width = width * density;
  canvas.height = height * density;
  if (!answer || !width) return;
  const pen = canvas.getContext("2d");
  pen.scale(density, density);
  pen.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  // The surest last, and the one pointed at after it, so that their labels lie on top.
  const order = visible().reverse().sort((a, b) => (a === marked) - (b === marked));
  for (const object of order) {
    pen.globalAlpha = marked && object !== marked ? 0.25 : 1;
    box(pen, object, width / answer.image.width, width);
  }
}

function box(pen, object, scale, width) {
  const [x1, y1, x2, y2] = object.box.map((value) => value * scale);
  const text = `${object.label}  ${object.score.toFixed(2)}`;
  pen.fillStyle = pen.strokeStyle = colour(object);
  pen.lineWidth = 2.5;
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  if (object === marked) {
    pen.globalAlpha = 0.18;
    pen.fillRect(x1, y1, x2 - x1, y2 - y1);
    pen.globalAlpha = 1;
  }
  const wide = pen.measureText(text).width + 14;
  const x = Math.max(0, Math.min(x1 - 1.25, width - wide));
  const y = y1 >= 21 ? y1 - 21 : y1;
  pen.fillRect(x, y, wide, 21);
  pen.fillStyle = "#fff";
  pen.fillText(text, x + 7, y + 11);
}

// The objects above the minimum score, the surest first.
function visible() {
  if (!answer) return [];
  const minimum = Number($("minimum").value);
  return answer.objects.filter(({ score }) => score >= minimum).sort((a, b) => b.score - a.score);
}

const corners = ([x1, y1, x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];

function colour({ label }) {
  const labels = [...new Set(answer.objects.map((object) => object.label))];
  return COLOURS[labels.indexOf(label) % COLOURS.length];
}

function under(event) {
  if (!answer) return null;
  const scale = answer.image.width / $("photo").clientWidth;
  const [x, y] = [event.offsetX * scale, event.offsetY * scale];
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return visible()
    .filter(({ box: [x1, y1, x2, y2] }) => x1 <= x && x <= x2 && y1 <= y && y <= y2)
    .sort((a, b) => area(a.box) - area(b.box))[0] ?? null;
}

function element(name, properties, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- at the start

async function introduce() {
  const { model, max_image_bytes } = await (await fetch("ready")).json();
  limit = max_image_bytes;
  $("model").textContent = `${model.name} · ${model.precision}`;
  if (model.notice) {
    // What stands between backticks is code.
    $("notice").append(...model.notice.split("`").map((part, i) => (i % 2 ? element("code", { textContent: part }) : part)));
    $("notice").hidden = false;
  }
}

async function offerSamples() {
  const names = await (await fetch("samples")).json();
  $("samples").hidden = !names.length;
  $("samples").append(...names.map((name) => {
    const path = `samples/${encodeURIComponent(name)}`;
    const title = name.replace(/\.png$/, "").replaceAll("-", " ");
    const button = element("button", { type: "button", title }, [element("img", { src: path, alt: title })]);
    button.addEventListener("click", async () => analyze(await (await fetch(path)).blob(), name));
    return button;
  }));
}

listen();
introduce();
offerSamples();
