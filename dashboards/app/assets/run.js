// Choosing the window of a run's page by a click on a step and by numbers.
"use strict";
(function () {
  const triggered = () => window.dash_clientside.callback_context.triggered;

  function drilled() {
    const event = (triggered()[0] || {}).value;
    const span = event && event.points && event.points[0] && event.points[0].customdata;
    if (Array.isArray(span) && span.length === 3 && span[2] > span[1]) { // a step: number, begin, end
      window.dash_clientside.edgeprof.look(span[1], span[2]);
    }
  }

  function typed(ends) { // not when the page itself has put them there
    const focus = document.activeElement;
    const [begin, end] = ends.map((text) => Number(String(text).trim().replace(",", ".") || NaN));
    if (!Number.isFinite(begin) || !Number.isFinite(end) || begin >= end || !focus || !focus.closest(".window")) { return; }
    window.dash_clientside.edgeprof.look(begin, end);
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { edgeprof_run: { drilled, typed } });
})();
