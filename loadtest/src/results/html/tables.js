// Tables, and lists of facts that need no words of their own.

/** The fields of each run's object as rows of facts; objects and lists inside included. */
function flat(prefix, objects) {
  const names = [...new Set(objects.flatMap((object) => Object.keys(object)))];
  return names.flatMap((name) => {
    const values = objects.map((object) => object[name]);
    const nested = values.filter(
      (value) => value && typeof value === "object" && !Array.isArray(value),
    );
    if (nested.length)
      return flat(
        name === "load" ? "" : prefix,
        values.map((value) => value ?? {}),
      );
    if (values.every((value) => value === undefined || value === null)) return [];
    const label = values.some((value) => typeof value === "number")
      ? wordsWithoutUnit(name)
      : words(name);
    return [[prefix + label, values.map((value) => factText(name, value))]];
  });
}

function factText(name, value) {
  if (value === undefined || value === null) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "masking_key")
    return value.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  if (Array.isArray(value)) return value.join(", ") || "none";
  return typeof value === "number" ? byName(name, value) : String(value);
}

/** A list of facts; of several runs a table, a column each, with a mark where they differ. */
function addFacts(parent, rows) {
  if (rows.length === 0) return;
  if (single) {
    parent.append(
      element(
        "dl",
        {},
        rows.map(([label, [value]]) =>
          element("div", {}, element("dt", {}, label), element("dd", {}, value)),
        ),
      ),
    );
    return;
  }
  const body = rows.map(([label, values]) => {
    const differs = new Set(values).size > 1;
    const cells = values.map((value) => element("td", {}, value));
    return element(
      "tr",
      { class: differs && "differs" },
      element("th", { scope: "row" }, label),
      cells,
    );
  });
  parent.append(
    scroll(element("table", { class: "facts" }, runHeads(), element("tbody", {}, body))),
  );
}

function runHeads(numbers = false) {
  const heads = runs.map((run) =>
    element("th", { scope: "col", class: numbers && "number" }, ...runCell(run)),
  );
  return element("thead", {}, element("tr", {}, element("td"), heads));
}

/** The name of a run with its line, where there are several. */
function runCell(run) {
  return single ? [] : [element("span", { class: "run" }, swatch(run.style), run.name)];
}

/** A table; `numbers` says how many columns hold numbers, or which. */
function addTable(parent, heads, rows, numbers, perRun = true) {
  if (rows.length === 0) return;
  const shift = single || !perRun ? 0 : 1;
  const isNumeric =
    typeof numbers === "function"
      ? numbers
      : (column) => column >= shift && column < shift + numbers;
  const all = shift ? ["run", ...heads] : heads;
  const kind = (column) => ({ class: isNumeric(column) && "number" });
  const head = all.map((text, column) => element("th", { scope: "col", ...kind(column) }, text));
  const body = rows.map((row) =>
    element(
      "tr",
      {},
      row.map((value, column) => element("td", kind(column), value)),
    ),
  );
  parent.append(
    scroll(
      element(
        "table",
        { class: "data" },
        element("thead", {}, element("tr", {}, head)),
        element("tbody", {}, body),
      ),
    ),
  );
}

function scroll(table) {
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "table" },
    table,
  );
}

function bar(share) {
  const inside = element("span");
  inside.style.width = `${Math.min(100, Math.max(0, share * 100))}%`;
  return element("span", {}, element("span", { class: "bar" }, inside), percent(share));
}
