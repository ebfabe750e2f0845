// Elements and their text. All text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children. */
export function element(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

/** The same for a part of an SVG. */
export function shape(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

function build(node, attributes, children) {
  setAttributes(node, attributes);
  node.append(...children.flat());
  return node;
}

export function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

/** Text that did not change stays as it is: it may be selected. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Fills a `tbody`. A row is a list of cells, the first of them its header; a cell is a text or
 * `{ text, value, share, below, colour }`: the exact value for programs, a share of 1 as a bar, a
 * second line, and the number of the line that a chart draws for the row.
 */
export function fillTable(body, rows, nothing) {
  if (rows.length === 0) rows = [[nothing]];
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  rows.forEach((cells, index) => {
    let row = body.rows[index];
    if (row?.cells.length !== cells.length) {
      const fresh = element("tr", {}, cells.map(makeCell));
      if (row) row.replaceWith(fresh);
      else body.append(fresh);
      row = fresh;
    }
    cells.forEach((cell, at) => fillCell(row.cells[at], cell));
    if (cells.length === 1) row.cells[0].colSpan = body.parentNode.tHead.rows[0].cells.length;
  });
}

function makeCell(cell, at) {
  const own = element("data");
  const parts = [own];
  if (cell.colour !== undefined) parts.unshift(swatch(cell.colour));
  if (cell.share !== undefined) parts.push(element("span", { class: "share" }, element("span")));
  if (cell.below !== undefined) parts.push(element("small"));
  return at === 0 ? element("th", { scope: "row" }, parts) : element("td", {}, parts);
}

function fillCell(node, cell) {
  const { text, value, share, below } = typeof cell === "string" ? { text: cell } : cell;
  const own = node.querySelector("data");
  setText(own, text);
  if (value !== undefined) own.value = value;
  if (share !== undefined) {
    node.querySelector(".share > span").style.width = `${Math.min(1, share) * 100}%`;
  }
  if (below !== undefined) setText(node.querySelector("small"), below);
}

/** A piece of the line that a chart draws in this colour. */
export function swatch(colour) {
  const box = { class: "swatch", viewBox: "0 0 22 10", width: 22, height: 10 };
  const line = shape("path", { class: `line c${colour}`, d: "M1 5H21" });
  return shape("svg", { ...box, "aria-hidden": "true" }, line);
}
