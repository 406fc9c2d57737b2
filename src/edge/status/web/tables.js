// Elements, made from texts that are never markup, and tables that stay where they are while their numbers change.

/** An element with texts and attributes. `data` becomes data-attributes; what is undefined is left out. */
export function make(tag, { text, data = {}, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  setData(element, data);
  for (const [name, value] of Object.entries(rest)) {
    if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function setData(element, data) {
  for (const [name, value] of Object.entries(data)) {
    if (value === undefined) delete element.dataset[name];
    else if (element.dataset[name] !== String(value)) element.dataset[name] = value;
  }
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes the children of `parent` those of `keys`, in this order; what is there already stays the element it is. */
export function keep(parent, keys, create, update) {
  const known = new Map([...parent.children].map((child) => [child.key, child]));
  let before = parent.firstElementChild;
  for (const key of keys) {
    let child = known.get(key);
    if (!child) {
      child = create(key);
      child.key = key;
    }
    known.delete(key);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
    update(child, key);
  }
  for (const child of known.values()) child.remove();
}

/**
 * A table of rows, each `{key, data, cells}`; a cell is `{text, value, field | metric, title, dim, head}`. `columns` are
 * `{name, label, number, sort}`; where `sort` is set, its heading is a button.
 */
export function table(element, columns, rows, order, onSort) {
  const head = element.tHead;
  if (head.dataset.columns !== columns.map((column) => column.name).join()) {
    head.dataset.columns = columns.map((column) => column.name).join();
    head.replaceChildren(make("tr", {}, ...columns.map((column) => heading(column, onSort))));
  }
  for (const [at, column] of columns.entries()) {
    if (!column.sort) continue;
    const sorted = order && order.by === column.name;
    head.rows[0].cells[at].setAttribute("aria-sort", sorted ? (order.down ? "descending" : "ascending") : "none");
  }
  const found = new Map(rows.map((row) => [row.key, row]));
  keep(element.tBodies[0], found.keys(), () => make("tr"), (line, key) => {
    const row = found.get(key);
    setData(line, row.data || {});
    line.classList.toggle("chosen", Boolean(row.chosen));
    while (line.cells.length > row.cells.length) line.lastElementChild.remove();
    for (const [at, cell] of row.cells.entries()) {
      let place = line.cells[at];
      if (!place) {
        place = make(cell.head ? "th" : "td", cell.head ? { scope: "row" } : {});
        line.append(place);
      }
      fill(place, cell, columns[at]);
    }
  });
}

function heading(column, onSort) {
  const th = make("th", { scope: "col", class: column.number ? "number" : undefined });
  if (!column.sort) {
    th.textContent = column.label;
    return th;
  }
  const button = make("button", { type: "button", text: column.label, data: { sort: column.name } });
  button.addEventListener("click", () => onSort(column));
  th.append(button);
  return th;
}

function fill(place, cell, column) {
  place.className = (column.number ? "number" : "") + (cell.dim ? " dim" : "") + (cell.wide ? " wide" : "");
  setData(place, { value: cell.value, metric: cell.metric, field: cell.field, low: cell.low, high: cell.high });
  if (cell.press) {
    let button = place.firstElementChild;
    if (!button) {
      button = make("button", { type: "button", class: "link" });
      place.append(button);
    }
    button.onclick = cell.press;
    setText(button, cell.text);
  } else {
    setText(place, cell.text);
  }
  if (cell.title) place.title = cell.title;
  else place.removeAttribute("title");
}
