// Draws the report's figures one after the other, in the theme that the reader's system or button chose.
(function () {
  "use strict";
  var root = document.documentElement;
  var themes = read("themes");
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  var drawn = [];
  var printing = false;

  function read(id) {
    return JSON.parse(document.getElementById(id).textContent);
  }

  function dark() {
    return !printing && Theme.dark();
  }

  // Figures come in the light colours; a colour's dark partner is found by its text.
  function recolour(value) {
    if (typeof value === "string") {
      var partner = themes.partners[value];
      if (partner) { return partner; }
      if (value.slice(0, 5) === "rgba(") {
        var cut = value.lastIndexOf(",") + 1;
        partner = themes.partners[value.slice(0, cut)];
        return partner ? partner + value.slice(cut) : value;
      }
      return value;
    }
    if (Array.isArray(value)) { return value.map(recolour); }
    if (value && typeof value === "object") {
      if (value.bdata) { return value; }
      var copy = {};
      Object.keys(value).forEach(function (key) { copy[key] = recolour(value[key]); });
      return copy;
    }
    return value;
  }

  // ... and the zoom, whether it came from the mouse or from a button
  function keepRanges(shown, layout) {
    Object.keys(shown).forEach(function (key) {
      if (/^[xy]axis\d*$/.test(key) && shown[key].range && !shown[key].autorange) {
        layout[key] = layout[key] || {};
        layout[key].range = shown[key].range.slice();
      }
    });
  }

  function render(plot) {
    var spec = read("spec-" + plot.getAttribute("data-figure"));
    if (dark()) { spec = recolour(spec); }
    spec.layout.template = dark() ? themes.dark : themes.light;
    spec.layout.uirevision = "kept"; // a change of theme keeps what was hidden by its legend
    keepRanges(plot.layout || {}, spec.layout);
    spec.layout.autosize = true;
    return Plotly.react(plot, spec.data, spec.layout, {
      responsive: true,
      displaylogo: false, showSendToCloud: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg" }
    });
  }

  function drawNext() {
    var plot = plots[drawn.length];
    if (!plot) {
      root.setAttribute("data-drawn-at", String(window.performance.now()));
      root.setAttribute("data-drawn", "all");
      return;
    }
    render(plot);
    drawn.push(plot);
    window.setTimeout(drawNext, 0); // the page answers between two figures
  }

  function range(plot) {
    return plot.layout.xaxis.range.map(Number);
  }

  function zoom(kind) {
    var plot = document.querySelector('[data-figure="timeline"]');
    var whole = read("spec-timeline").layout.xaxis.range;
    var now = range(plot), width = now[1] - now[0], middle = (now[0] + now[1]) / 2;
    if (kind === "in") { width /= 2; }
    if (kind === "out") { width = Math.min(width * 2, whole[1] - whole[0]); }
    if (kind === "left") { middle -= width / 4; }
    if (kind === "right") { middle += width / 4; }
    if (kind === "all") { width = whole[1] - whole[0]; }
    var start = Math.max(whole[0], Math.min(middle - width / 2, whole[1] - width));
    Plotly.relayout(plot, { "xaxis.range": [start, start + width] });
  }

  document.querySelectorAll(".zoom").forEach(function (group) {
    group.hidden = false;
    group.addEventListener("click", function (event) {
      var kind = event.target.getAttribute("data-zoom");
      if (kind && drawn.length) { zoom(kind); }
    });
  });
  window.addEventListener("beforeprint", function () {
    printing = true;
    while (drawn.length < plots.length) {
      render(plots[drawn.length]);
      drawn.push(plots[drawn.length]);
    }
    drawn.forEach(function (plot) { render(plot); Plotly.relayout(plot, { width: 680 }); });
  });
  window.addEventListener("afterprint", function () {
    printing = false;
    drawn.forEach(function (plot) { delete plot.layout.width; render(plot); });
  });
  Theme.start(function () { drawn.forEach(render); });
  window.setTimeout(drawNext, 0);
})();
