"use strict";

// Charts are drawn by Plotly; the name of a trace's method is its meta.
const charts = () => document.querySelectorAll(".js-plotly-plot");
const shown = new Map();

function show(method, on) {
  shown.set(method, on);
  const name = CSS.escape(method);
  for (const part of document.querySelectorAll(`tr[data-name="${name}"], section[data-method="${name}"]`))
    part.hidden = !on;
}

function redraw() {
  for (const chart of charts()) {
    const traces = [...chart.data.keys()].filter(index => shown.has(chart.data[index].meta));
    if (traces.length)
      Plotly.restyle(chart, { visible: traces.map(index => shown.get(chart.data[index].meta)) }, traces);
    if (chart.offsetWidth) Plotly.Plots.resize(chart);
  }
}

const boxes = [...document.querySelectorAll("input[data-method]")];

function switched() {
  for (const box of boxes) show(box.dataset.method, box.checked);
  if (chooser) choose();
  redraw();
}

const chooser = document.getElementById("chooser");

function choose() {
  for (const panel of document.querySelectorAll("#weights > section"))
    panel.hidden = panel.dataset.method !== chooser.value;
}

for (const box of boxes) box.addEventListener("change", switched);
for (const button of document.querySelectorAll("[data-all], [data-none]"))
  button.addEventListener("click", () => {
    for (const box of boxes) box.checked = "all" in button.dataset;
    switched();
  });
if (chooser) {
  chooser.addEventListener("change", () => { choose(); redraw(); });
  choose();
}

// A cell is sorted by the number that it begins with; cells without one come last.
function value(cell) {
  const number = parseFloat(cell.textContent.replace("−", "-").replace(/^[^0-9.+-]+/, ""));
  return Number.isNaN(number) ? null : number;
}

function compare(one, other, sign) {
  const [a, b] = [value(one), value(other)];
  if (a === null && b === null) return sign * one.textContent.localeCompare(other.textContent);
  if (a === null || b === null) return a === null ? 1 : -1;
  return sign * (a - b);
}

function sort(heading) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = heading.closest("table").tBodies[0];
  const rows = [...body.rows];
  const column = heading.cellIndex;
  const text = column === 0;
  rows.sort((one, other) => text
    ? (up ? 1 : -1) * one.cells[0].textContent.localeCompare(other.cells[0].textContent, undefined, { numeric: true })
    : compare(one.cells[column], other.cells[column], up ? 1 : -1));
  body.append(...rows);
}

for (const heading of document.querySelectorAll(".sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sort(heading));
  heading.replaceChildren(button);
}

document.getElementById("filter")?.addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll("#tasks tbody tr"))
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
});
