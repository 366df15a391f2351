// The image that the user gives, made ready: decoded for the eye, and as a file that the server reads.

const READ = new Set(["image/jpeg", "image/png", "image/webp", "image/gif"]); // by the server
const LONGEST = 2048; // pixels a side of an image that is made smaller: the model sees 768 at most

// What is known of a file: `blob` is what will be sent, `width` and `height` are its pixels, `note` says what was changed
// about it. `photo`, an <img>, shows it; where the browser cannot, `visible` is false and the server may still read it.
// An image that the server would not read (too many bytes, or a format such as AVIF or BMP that the browser alone knows)
// is written anew as a JPEG.
export async function open(file, name, photo, limit) {
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  photo.alt = name;
  const visible = await photo.decode().then(() => true, () => false);
  const { naturalWidth: width, naturalHeight: height } = photo;
  const picture = { blob: file, name, visible, width, height, note: "" };
  const tooLarge = file.size > limit;
  const unread = file.type.startsWith("image/") && !READ.has(file.type);
  if (!visible && tooLarge) {
    throw { title: "Image too large", detail: `At most ${megabytes(limit)} are read of an image.` };
  }
  if (!visible || !(tooLarge || unread)) return picture;
  const factor = Math.min(1, LONGEST / Math.max(width, height));
  picture.width = Math.max(1, Math.round(width * factor));
  picture.height = Math.max(1, Math.round(height * factor));
  picture.blob = await jpeg(photo, picture.width, picture.height);
  const reason = tooLarge ? `over ${megabytes(limit)}` : `in a format that the server does not read`;
  picture.note = `The file is ${reason}: it is sent as a JPEG of ${picture.width} × ${picture.height}.`;
  return picture;
}

// `source` (an image or a video) as a JPEG of this size, over white.
export async function jpeg(source, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(source, 0, 0, width, height);
  return toBlob(canvas, "image/jpeg", 0.92);
}

export function toBlob(canvas, type, quality) {
  return new Promise((resolve, reject) => {
    const tooMuch = { title: "No picture", detail: "The image has more pixels than this browser can draw on." };
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(tooMuch)), type, quality);
  });
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
