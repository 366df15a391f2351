// The camera: a dialog with its live picture, from which one is taken.

import { $ } from "./dom.js";
import { jpeg } from "./picture.js";

const PROBLEMS = {
  NotAllowedError: ["The camera is not allowed", "Allow it for this site, at the left end of the address bar, or choose a file."],
  NotFoundError: ["No camera", "This device has no camera, or none that the browser may see. Choose a file instead."],
  NotReadableError: ["The camera is in use", "Another program has it: close that one and try again, or choose a file."],
  Insecure: ["The camera needs HTTPS", "Browsers open it for https:// and localhost alone. Choose a file instead."],
};

function problem({ name }) {
  const [title, detail] = PROBLEMS[name] ?? ["The camera cannot be opened", `The browser says ${name}. Choose a file instead.`];
  return { title, detail };
}

// A picture from the camera as a JPEG, or null if the user changes their mind. Throws a problem: no camera, none allowed.
export async function takePicture() {
  if (!navigator.mediaDevices?.getUserMedia) throw problem({ name: "Insecure" });
  const [dialog, video, take, other] = ["camera", "camera-video", "camera-take", "camera-other"].map($);
  const cameras = new Cameras(video);
  let shot = null;
  let refused = null;
  take.disabled = other.hidden = true;
  take.onclick = () => {
    shot = jpeg(video, video.videoWidth, video.videoHeight);
    dialog.close();
  };
  other.onclick = () => start();
  $("camera-cancel").onclick = () => dialog.close();
  const closed = new Promise((resolve) => { dialog.onclose = resolve; });
  dialog.showModal();

  async function start() {
    $("camera-status").textContent = "Waiting for the camera …";
    try {
      await cameras.next();
    } catch (error) {
      refused = problem(error);
      dialog.close();
      return;
    }
    if (!dialog.open) return;
    $("camera-status").textContent = "The camera is on.";
    other.hidden = cameras.count < 2;
    take.disabled = false;
    take.focus();
  }

  start();
  await closed;
  cameras.close();
  if (refused) throw refused;
  return shot;
}

// The device's cameras, one at a time in a <video>: first the one that looks away from the user, if there is one.
class Cameras {
  #video;
  #stream = null;
  #closed = false;
  count = 0;

  constructor(video) {
    this.#video = video;
  }

  // Throws what getUserMedia throws.
  async next() {
    const current = this.#stream?.getVideoTracks()[0].getSettings().deviceId;
    this.#stop();
    const which = current ? { deviceId: { exact: await this.#after(current) } } : { facingMode: "environment" };
    const ideal = { width: { ideal: 1920 }, height: { ideal: 1080 } };
    this.#stream = await navigator.mediaDevices.getUserMedia({ video: { ...which, ...ideal } });
    if (this.#closed) return this.#stop(); // the user left while the browser was asking
    this.#video.srcObject = this.#stream;
    await this.#video.play();
    this.count = (await this.#devices()).length; // told only once a camera is allowed
  }

  close() {
    this.#closed = true;
    this.#stop();
  }

  #stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = this.#video.srcObject = null;
  }

  async #devices() {
    const all = await navigator.mediaDevices.enumerateDevices();
    return all.filter(({ kind }) => kind === "videoinput").map(({ deviceId }) => deviceId);
  }

  async #after(device) {
    const devices = await this.#devices();
    return devices[(devices.indexOf(device) + 1) % devices.length];
  }
}
