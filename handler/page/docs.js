// The API's documentation, rendered from openapi.json.

import { $, element, prose } from "./dom.js";

const spec = await (await fetch("openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema);

function typeOf(schema) {
  const values = resolve(schema).enum;
  if (values) return values.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.filter(({ type }) => type !== "null").map(typeOf).join(" or ");
  if (schema.const) return JSON.stringify(schema.const);
  if (schema.prefixItems) return `${schema.prefixItems.length} ${typeOf(schema.prefixItems[0])}s`;
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return schema.type ?? "any";
}

// What holds where the parameter is left out.
function otherwise({ default: value }) {
  return value === undefined || value === null || value.length === 0 ? "" : `, default ${JSON.stringify(value)}`;
}

function field(name, type, description) {
  return element("div", {}, [
    element("dt", {}, [element("code", { textContent: name }), element("span", { textContent: type })]),
    element("dd", {}, prose(description ?? "")),
  ]);
}

// The fields of a schema; those that are schemas themselves with theirs below, each schema once on the page.
const described = new Set();
function fields(schema) {
  const { properties = {} } = resolve(schema) ?? {};
  return Object.entries(properties).map(([name, property]) => {
    const inner = property.$ref ?? property.items?.$ref;
    const made = field(name, typeOf(property), property.description ?? resolve({ $ref: inner })?.description);
    if (inner && !described.has(inner)) {
      described.add(inner);
      made.lastChild.append(element("dl", { className: "fields" }, fields({ $ref: inner })));
    }
    return made;
  });
}

// The kinds of problem that an operation can answer with: [slug, example].
function problemsOf({ responses }) {
  return Object.values(responses).flatMap(({ content }) => Object.entries(content["application/problem+json"]?.examples ?? {}));
}

function curl(path, operation) {
  const url = new URL(path.slice(1).replace("{task}", "detailed-caption"), new URL(".", location.href));
  const body = operation.requestBody?.content;
  if (!body) return `curl ${url}`;
  if (body["image/*"]) return `curl --data-binary @photo.jpg ${url}`;
  if (body["multipart/form-data"]) return `curl -F image=@photo.jpg -F image=@other.jpg ${url}`;
  return `curl --json '${JSON.stringify(resolve(body["application/json"].schema).examples[0])}' ${url}`;
}

function operation(method, path, about) {
  const [, success] = Object.entries(about.responses).find(([status]) => status.startsWith("2"));
  const answered = success.content["application/json"].schema;
  const schema = answered.anyOf?.[0] ?? answered; // the native form; the others are other people's
  const parameters = about.parameters ?? [];
  const problems = problemsOf(about);
  const part = (title, children) => (children.length ? [element("h3", { textContent: title }), ...children] : []);
  return element("section", {}, [
    element("h2", { id: about.operationId }, [
      element("span", { className: "method", textContent: method.toUpperCase() }),
      element("code", { textContent: path }),
    ]),
    element("p", {}, prose(about.description ?? "")),
    element("pre", { tabIndex: 0, textContent: curl(path, about) }),
    ...part("Parameters", parameters.length ? [
      element("dl", { className: "fields" }, parameters.map(({ name, schema: type, description, in: place }) => (
        field(name, `${typeOf(type)}, ${place}${otherwise(type)}`, description)
      ))),
    ] : []),
    ...part("Answer", [element("dl", { className: "fields" }, fields(schema.items ?? schema))]),
    ...part("Problems", problems.length ? [
      element("p", { className: "links" }, problems.map(([slug, { summary }]) => element("a", { href: `#${slug}`, textContent: summary }))),
    ] : []),
  ]);
}

const operations = Object.entries(spec.paths).flatMap(([path, item]) => (
  Object.entries(item).map(([method, about]) => [method, path, about])
));

$("version").textContent = `${spec.info.title} ${spec.info.version}`;
$("description").append(...prose(spec.info.description));
$("operations").append(...operations.map((each) => operation(...each)));
$("contents").append(
  ...operations.map(([method, path, about]) => element("a", { href: `#${about.operationId}` }, [
    element("span", { className: "method", textContent: method.toUpperCase() }),
    element("code", { textContent: path }),
  ])),
  element("a", { href: "#problems", textContent: "Problems" }),
);

const kinds = new Map(operations.flatMap(([, , about]) => problemsOf(about)));
$("kinds").append(...[...kinds].sort((a, b) => a[1].value.status - b[1].value.status).map(([slug, { description, value }]) => {
  const made = field(slug, value.status, description);
  made.id = slug;
  return made;
}));

// The place was not there yet when the browser looked for it.
if (location.hash) $(location.hash.slice(1))?.scrollIntoView();
