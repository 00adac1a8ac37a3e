// Puts the page together: what the reader chose, the figures and the table in the theme that is on.
(function () {
  "use strict";
  const root = document.documentElement;
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const study = read("study"), themes = read("themes");
  const chosen = { metric: study.headline, x: 0, y: 0, by: -1, byHand: false };
  let axes = [];
  let printing = false;

  // Cells with their runs' values of a metric
  function cellsOf(metric) {
    const cells = study.cells.map((levels, number) => ({
      number, levels, runs: [], name: study.names[number]
    }));
    study.runs.forEach(([cell, repeat, link, failed], place) => cells[cell].runs.push({ repeat, link, failed, value: metric.values[place] }));
    cells.forEach(cell => {
      cell.runs.sort((one, other) => one.repeat - other.repeat);
      cell.mean = Figures.mean(cell.runs.map(run => run.value).filter(value => value !== null), metric);
    });
    return cells;
  }

  function show(key, figure, look) {
    const plot = document.querySelector('[data-figure="' + key + '"]');
    const part = document.getElementById("figure-" + key);
    const empty = part.querySelector("[data-empty]"), note = part.querySelector("[data-note]");
    empty.hidden = !figure.empty;
    empty.textContent = figure.empty || "";
    plot.parentElement.hidden = part.querySelector("details").hidden = part.querySelector("figcaption").hidden = Boolean(figure.empty);
    note.hidden = !figure.note;
    note.textContent = figure.note || "";
    if (figure.empty) {
      Plotly.purge(plot);
      return;
    }
    figure.layout.template = look.template;
    figure.layout.autosize = true;
    if (printing) { figure.layout.width = 680; }
    plot.style.height = figure.layout.height + "px"; // plotly takes it from here when the window changes
    plot.setAttribute("aria-label", part.querySelector("h3").firstChild.textContent.trim() + ". " + figure.label);
    CellTable.plain(part.querySelector("[data-rows]"), figure.rows);
    Plotly.react(plot, figure.traces, figure.layout, {
      responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { format: "svg" }
    });
  }

  function pairs(metric) {
    const list = document.getElementById("pairs-list");
    const sure = metric.interactions.filter(pair => pair.shown);
    const rows = sure.map(pair => CellTable.element("li", {}, pair.factors.join(" and ") + ": " + pair.levels[0] + " against " + pair.baselines[0] + " is " + pair.verdict.replace(", p", " with " + pair.levels[1] + " than with " + pair.baselines[1] + ", p") + "."));
    const why = metric.interactions.length ? "None was shown: the effect of each factor is the same, as far as this study can tell, whatever the others are." : "None could be computed: no four cells that differ in two factors alone have two runs or more each.";
    list.replaceChildren(...(rows.length ? rows : [CellTable.element("li", {}, why)]));
  }

  function draw() {
    const metric = study.metrics[chosen.metric];
    if (!metric) { return; }
    const look = !printing && Theme.dark() ? themes.dark : themes.light;
    if (!chosen.byHand && axes.length) { suggest(metric); }
    const cells = cellsOf(metric);
    document.querySelectorAll(".of").forEach(part => { part.textContent = metric.title.toLowerCase(); });
    document.getElementById("metric-about").textContent = (metric.better ? metric.better + " is better" : "neither high nor low is better") + "; compared as " + (metric.scale === "log" ? "ratios" : "differences");
    show("effects", Figures.effects(metric, look), look);
    show("variance", Figures.variance(metric, look), look);
    show("map", Figures.map(metric, look, study, cells, chosen.x, chosen.y), look);
    show("spread", Figures.spread(metric, look, study, cells, chosen.by), look);
    pairs(metric);
    CellTable.draw(study, metric, cells);
    root.setAttribute("data-drawn", "all");
  }

  // Until the reader chooses, the factors that explain most of this metric
  function suggest(metric) {
    const ranked = metric.variance.filter(row => row[4] === 1).sort((a, b) => b[1] - a[1]).map(row => axes.find(axis => axis.text === row[0])).filter(Boolean);
    const order = ranked.concat(axes.filter(axis => !ranked.includes(axis)));
    chosen.x = chosen.by = order[0].value;
    chosen.y = (order[1] || order[0]).value;
    [["map-x", chosen.x], ["map-y", chosen.y], ["colour-by", chosen.by]].forEach(([id, value]) => { document.getElementById(id).value = String(value); });
  }

  function choose(id, options, value, changed) {
    const list = document.getElementById(id);
    options.forEach(option => list.append(CellTable.element("option", { value: option.value }, option.text)));
    list.value = String(value);
    list.addEventListener("change", () => { changed(Number(list.value)); draw(); });
  }

  function start() {
    const all = study.axes.map((axis, place) => ({ value: place, text: axis.name, varied: axis.varied }));
    axes = all.some(axis => axis.varied) ? all.filter(axis => axis.varied) : all;
    if (study.metrics.length && axes.length) {
      choose("metric", study.metrics.map((metric, place) => ({ value: place, text: metric.title })), chosen.metric, value => { chosen.metric = value; });
      choose("map-x", axes, chosen.x, value => { chosen.x = value; chosen.byHand = true; });
      choose("map-y", axes, chosen.y, value => { chosen.y = value; chosen.byHand = true; });
      choose("colour-by", [{ value: -1, text: "nothing" }].concat(axes), chosen.by, value => { chosen.by = value; chosen.byHand = true; });
    }
    Theme.start(draw);
    const plot = document.querySelector('[data-figure="spread"]');
    if (plot && plot.on) {
      plot.on("plotly_click", event => {
        const link = event.points[0].customdata;
        if (link) { window.location.href = link; }
      });
    }
    if (!study.metrics.length) { root.setAttribute("data-drawn", "all"); }
  }

  window.addEventListener("beforeprint", () => { printing = true; draw(); });
  window.addEventListener("afterprint", () => { printing = false; draw(); });
  start();
})();
