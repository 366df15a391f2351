// The server's side of the page: what it can do, and one question about one image.
// Addresses are relative, so that the page also works below a prefix.

// What stands before the API (API Gateway, Lambda, a proxy) answers in words of its own.
const FOREIGN = {
  403: ["Not allowed", "The server refuses this request."],
  413: ["Image too large", "The image is larger than what stands before the server lets through."],
  429: ["Too many requests", "The server is busy with others; try again in a moment."],
  502: ["No answer", "The server failed over this image; its log says why."],
  503: ["No answer in time", "The server is starting or overloaded; try again in a moment."],
  504: ["No answer in time", "The server took too long; try again in a moment."],
};
const UNREACHABLE = { title: "No answer", detail: "The server cannot be reached; is it running?" };

async function get(path) {
  const response = await fetch(path).catch(() => { throw UNREACHABLE; });
  if (!response.ok) throw foreign(response.status);
  return response;
}
const json = async (path) => (await get(path)).json();

// { model, max_image_bytes, … }
export const ready = () => json("ready");
// [{ name, token, prompt, input, answer }, …]
export const tasks = () => json("tasks");
// The samples' names, and one of them as a file.
export const samples = () => json("samples");
export const sampleAddress = (name) => `samples/${encodeURIComponent(name)}`;
export const sample = async (name) => (await get(sampleAddress(name))).blob();

// The API's answer about `blob`. `task` is a name from `tasks`, or empty for caption and objects in one pass; `input` and
// `region` are what the task needs, or empty. `sent` is called with the part of the image that is sent so far, 0..1.
// Throws a problem document, or the abort signal's reason.
export async function ask(blob, { task, input, region }, signal, sent) {
  const parameters = new URLSearchParams();
  if (input) parameters.set("input", input);
  if (region) parameters.set("region", region.join(","));
  const query = parameters.size ? `?${parameters}` : "";
  const address = task ? `tasks/${encodeURIComponent(task)}${query}` : "analyze";
  const { status, text, requestId } = await post(address, blob, signal, sent);
  let body = null;
  try {
    body = JSON.parse(text);
  } catch { /* not from the API */ }
  if (status === 200 && body) return body;
  const problem = body?.title ? body : foreign(status);
  throw { ...problem, requestId: problem.request_id ?? requestId };
}

// XMLHttpRequest, since fetch does not tell how much of a body is sent.
function post(address, blob, signal, sent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => sent(loaded / total);
    request.onload = () => resolve({
      status: request.status,
      text: request.responseText,
      requestId: request.getResponseHeader("x-request-id") ?? request.getResponseHeader("x-amzn-requestid"),
    });
    request.onerror = () => reject(UNREACHABLE);
    signal.addEventListener("abort", () => {
      request.abort();
      reject(signal.reason);
    });
    request.send(blob);
  });
}

function foreign(status) {
  const [title, detail] = FOREIGN[status] ?? ["No answer", `The server answered with the status ${status}.`];
  return { title, detail, status };
}
