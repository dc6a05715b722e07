// Builds elements. Text is always set as text, never parsed as HTML.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  put(element, ...children);
  return element;
}

export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Sets a text only when it differs, so that screen readers do not announce it again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let count = 0;

export function field(label, input, hint = "") {
  const id = `f${++count}`;
  input.id = id;
  const note = hint ? h("small", { id: `${id}h` }, hint) : null;
  if (note) input.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, note);
}

export function sheet(title, { aside = null, id = "" } = {}, ...children) {
  const heading = h("h2", { id: `${id}-title` }, title);
  return h("section", { class: "sheet", id, "aria-labelledby": `${id}-title` }, h("header", {}, heading, aside), ...children);
}
