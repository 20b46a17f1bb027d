"use strict";
// Elements of the page. Everything that comes from data becomes text: nothing here reads HTML.

/** An element with properties (class, text, on<event>, and attributes) and children. */
function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const readData = () => JSON.parse(document.getElementById("data").textContent);
const oneLine = (text) => text.replace(/\s+/g, " ").trim();

/** "3 models", "1 model". */
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** Words and the blanks between them. */
const words = (text) => text.match(/\s+|[^\s]+/g) || [];

const LONGEST = 4e6;

/**
 * For each part of `text` (words and blanks) whether it is also in `other`, in the same order: their
 * longest common subsequence. null where the texts are too long to compare.
 */
function common(text, other) {
  const [a, b] = [words(text), words(other)];
  if (a.length * b.length > LONGEST) return null;
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] = a[i] === b[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  const shared = a.map(() => false);
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) { shared[i] = true; i++; j++; }
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return shared;
}

/** A text in which words that `other` lacks are marked; without `other` just the text. */
function marked(text, other) {
  const shared = other === null ? null : common(text, other);
  if (shared === null) return [document.createTextNode(text)];
  return words(text).map((word, i) => shared[i] || !word.trim() ? document.createTextNode(word) : el("mark", {text: word}));
}
