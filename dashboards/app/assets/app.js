// The address bar is the only state of a view: links, choices and zooming change it, and pages are made from it.
"use strict";
(function () {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const set = (id, data) => window.dash_clientside.set_props(id, { data });
  const address = () => window.location.pathname + window.location.search;

  // A new view: the page is made anew
  function go(href) {
    window.history.pushState(null, "", href);
    set("address", address());
    window.scrollTo(0, 0);
  }

  // The same page with one parameter of its address changed
  function having(name, value) {
    const search = new URLSearchParams(window.location.search);
    search.delete(name);
    for (const item of [].concat(value)) { if (item) { search.append(name, item); } }
    const text = search.toString();
    return window.location.pathname + (text ? "?" + text : "");
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) { return; }
    const url = new URL(link.href);
    if (url.origin !== window.location.origin || link.target || link.hasAttribute("download")) { return; }
    if (url.hash && url.pathname + url.search === address()) { return; } // within the page
    event.preventDefault();
    go(url.pathname + url.search);
  });
  document.addEventListener("change", (event) => {
    const name = event.target.getAttribute("data-parameter");
    if (name) { go(having(name, event.target.value)); }
  });
  window.addEventListener("popstate", () => set("address", address()));

  // Figures come in the light colours; a colour's dark partner is found by its text.
  function recolour(value) {
    if (typeof value === "string") {
      if (themes.partners[value]) { return themes.partners[value]; }
      if (!value.startsWith("rgba(")) { return value; }
      const cut = value.lastIndexOf(",") + 1;
      const partner = themes.partners[value.slice(0, cut)];
      return partner ? partner + value.slice(cut) : value;
    }
    if (Array.isArray(value)) { return value.map(recolour); }
    if (!value || typeof value !== "object" || value.bdata || ArrayBuffer.isView(value)) { return value; }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recolour(item)]));
  }

  function coloured(drawing) {
    if (!drawing) { return [{ data: [], layout: {} }, { display: "none" }]; }
    const figure = Theme.dark() ? recolour(drawing) : structuredClone(drawing);
    const height = figure.layout.height || 360;
    delete figure.layout.height; // the place has it, so that the width may follow the window's
    figure.layout = { ...figure.layout, template: Theme.dark() ? themes.dark : themes.light, uirevision: "kept" };
    return [figure, { height: height + "px" }];
  }

  // A zoom on the run's time is the view's window: all figures of the page follow it
  function zoomed() {
    const event = (window.dash_clientside.callback_context.triggered[0] || {}).value;
    if (!event) { return window.dash_clientside.no_update; }
    const range = {};
    for (const [key, value] of Object.entries(event)) {
      const match = /^xaxis\d*\.(range\[0\]|range\[1\]|range|autorange)$/.exec(key);
      if (match) { range[match[1]] = value; }
    }
    const ends = range.range || [range["range[0]"], range["range[1]"]];
    if (!range.autorange && !ends.every((end) => Number.isFinite(Number(end)) && end !== undefined)) {
      return window.dash_clientside.no_update;
    }
    const window_ = range.autorange ? "" : ends.map((end) => Number(Number(end).toPrecision(9))).join(",");
    const href = having("t", window_).replaceAll("%2C", ",");
    if (href !== address()) {
      window.history.replaceState(null, "", href);
      set("view", href);
    }
    return window.dash_clientside.no_update;
  }

  // What a new page needs besides its content: the window's title, the menu's mark, focus for who does not see it
  let begun = false;
  function arrived() {
    const title = document.getElementById("title");
    if (!title || title.dataset.arrived === address()) { return; }
    document.title = title.dataset.title + " · edgeprof";
    document.querySelectorAll("#menu a").forEach((link) => {
      const here = link.pathname === window.location.pathname;
      if (here) { link.setAttribute("aria-current", "page"); } else { link.removeAttribute("aria-current"); }
    });
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    edgeprof: {
      begin: () => {
        Theme.start(() => { if (begun) { set("theme-state", Theme.dark()); } });
        begun = true;
        new MutationObserver(arrived).observe(document.getElementById("page"), { childList: true, subtree: true });
        return address();
      },
      coloured, zoomed,
    },
  });
})();
