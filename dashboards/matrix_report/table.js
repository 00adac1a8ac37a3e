// The table of all cells: sorted by the buttons in its head, and a link to the report of each repeat.
"use strict";
const CellTable = (function () {
  const { human, percent } = Format;
  let order = { column: -1, down: false };

  function element(name, attributes, content) {
    const made = document.createElement(name);
    Object.entries(attributes || {}).forEach(([key, value]) => made.setAttribute(key, value));
    (Array.isArray(content) ? content : [content]).forEach(part => {
      if (part !== undefined && part !== null) { made.append(part); } // text stays text
    });
    return made;
  }

  function spread(values) { // standard deviation as a share of the mean
    if (values.length < 2) { return null; }
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
    return mean === 0 ? null : Math.sqrt(square) / Math.abs(mean);
  }

  // On the metric's scale; null where one of both has no figures
  function against(cell, base, metric) {
    if (!base || cell.mean === null || base.mean === null) { return null; }
    return metric.scale === "log" ? Math.log(cell.mean / base.mean) : cell.mean - base.mean;
  }

  function columns(study, metric, cells) {
    const base = cells.find(cell => cell.levels.every(level => level === 0));
    const axes = study.axes.map((axis, place) => ({ axis, place })).filter(entry => entry.axis.varied);
    const having = cell => cell.runs.map(run => run.value).filter(value => value !== null);
    return axes.map(entry => ({
      title: entry.axis.name, of: cell => cell.levels[entry.place], show: cell => entry.axis.levels[cell.levels[entry.place]] || "–"
    })).concat([
      { title: "Runs", number: true, of: cell => having(cell).length, show: cell => having(cell).length + " of " + cell.runs.length },
      { title: metric.title + ", mean", number: true, of: cell => cell.mean, show: cell => human(cell.mean, metric.unit) },
      { title: "Against the base cell", number: true, of: cell => against(cell, base, metric), show: cell => cell === base ? "base" : Format.change(against(cell, base, metric), metric) },
      { title: "Spread", number: true, of: cell => spread(having(cell)), show: cell => { const found = spread(having(cell)); return found === null ? "–" : "± " + percent(found); } }
    ]);
  }

  function reports(cell) {
    return element("div", { class: "reports" }, cell.runs.map(run => {
      const where = "repeat " + run.repeat + " of " + cell.name;
      if (run.failed) { return element("span", { class: "failed", title: run.failed, role: "img", "aria-label": where + " failed: " + run.failed }, run.repeat + " ✕"); }
      if (!run.link) { return element("span", { title: "no report was written", role: "img", "aria-label": where + " has no report" }, String(run.repeat)); }
      return element("a", { href: run.link, "aria-label": "Report of " + where }, String(run.repeat));
    }));
  }

  function draw(study, metric, cells) {
    const table = document.getElementById("table");
    const shown = columns(study, metric, cells);
    const head = element("tr", {}, shown.map((column, number) => {
      const sorted = order.column === number ? (order.down ? "descending" : "ascending") : "none";
      const button = element("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        order = { column: number, down: order.column === number && !order.down };
        draw(study, metric, cells);
        table.querySelectorAll("thead button")[number].focus();
      });
      return element("th", { scope: "col", class: "sortable" + (column.number ? " number" : ""), "aria-sort": sorted }, button);
    }).concat([element("th", { scope: "col" }, "Reports")]));
    const rows = cells.slice();
    if (order.column >= 0 && shown[order.column]) {
      const of = shown[order.column].of;
      rows.sort((one, other) => {
        const a = of(one), b = of(other);
        if (a === null || b === null) { return (a === null) - (b === null); } // what is not known stays below
        return (order.down ? b - a : a - b) || one.number - other.number;
      });
    }
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...rows.map(cell => element("tr", {}, shown.map((column, number) =>
      element(number === 0 ? "th" : "td", number === 0 ? { scope: "row" } : column.number ? { class: "number" } : {}, String(column.show(cell)))
    ).concat([element("td", {}, reports(cell))]))));
  }

  function plain(table, rows) {
    const line = (tag, cells, scope) => element("tr", {}, cells.map((cell, number) => element(number === 0 && tag === "td" ? "th" : tag, number === 0 || tag === "th" ? { scope: scope } : {}, String(cell))));
    table.replaceChildren(element("thead", {}, line("th", rows[0], "col")), element("tbody", {}, rows.slice(1).map(row => line("td", row, "row"))));
  }

  return { draw, plain, element };
})();
