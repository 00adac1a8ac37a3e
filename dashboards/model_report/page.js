// Draws the figures in the theme that is on.
(function () {
  "use strict";
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), themes = read("themes");

  function draw() {
    figures.forEach(figure => {
      const plot = document.getElementById("plot-" + figure.key);
      const look = themes[Theme.dark() ? "dark" : "light"];
      const layout = Object.assign({ autosize: true, template: look.template }, figure.layout);
      figure.traces.filter(trace => trace.type === "heatmap").forEach(trace => { trace.colorscale = look.ramp; });
      plot.style.height = layout.height + "px";
      Plotly.react(plot, figure.traces, layout, { responsive: true, displaylogo: false, showSendToCloud: false, toImageButtonOptions: { format: "svg" } });
    });
    document.documentElement.setAttribute("data-drawn", "all");
  }

  Theme.start(draw);
})();
