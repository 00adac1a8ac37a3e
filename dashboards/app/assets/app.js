// The address bar is the only state of a view: links, choices and zooming change it, and pages are made from it.
"use strict";
(function () {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const nothing = () => window.dash_clientside.no_update;
  const set = (id, data) => window.dash_clientside.set_props(id, { data });
  const address = () => window.location.pathname + window.location.search;

  // ---- Moving from view to view

  function go(href) { // a new view: the page is made anew
    if (href !== address()) { window.history.pushState(null, "", href); }
    set("address", address());
    window.scrollTo(0, 0);
  }

  // The address of this page, or of another, with parameters changed: name -> a value, a list of them, or nothing
  function having(changes, path) {
    const search = new URLSearchParams(path ? "" : window.location.search);
    for (const [name, value] of Object.entries(changes)) {
      search.delete(name);
      for (const item of [].concat(value)) { if (item) { search.append(name, item); } }
    }
    return (path || window.location.pathname) + plain(search);
  }

  // As the server writes addresses
  function plain(search) {
    const text = search.toString().replace(/%2C|%3A|%2F|%7E/g, decodeURIComponent);
    return text ? "?" + text : "";
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) { return; }
    const url = new URL(link.href);
    if (url.origin !== window.location.origin || link.target || link.hasAttribute("download")) { return; }
    if (url.hash && url.pathname + url.search === address()) { return; } // within the page
    event.preventDefault();
    if (link.closest(".tabs")) { // the run's other pages show the same time
      url.searchParams.delete("t");
      const shown = new URLSearchParams(window.location.search).get("t");
      if (shown) { url.searchParams.set("t", shown); }
    }
    const href = url.pathname + plain(url.searchParams);
    if (link.hasAttribute("data-window")) { stay(href); } else { go(href); } // only the window of time is another
  });
  document.addEventListener("change", (event) => {
    const name = event.target.getAttribute("data-parameter");
    if (name) { go(having({ [name]: event.target.value, page: "" })); }
  });
  document.addEventListener("submit", (event) => {
    event.preventDefault();
    go(having({ ...Object.fromEntries(new FormData(event.target)), page: "" }));
  });
  window.addEventListener("popstate", () => set("address", address()));

  function tell(place, text) { // only what is new: `arrived` is called at each change of the page
    if (place.textContent !== text) { place.textContent = text; }
  }

  // ---- Boxes to tick, and buttons that gather what is ticked; what is chosen for comparison outlasts its page

  const chosen = new Set(JSON.parse(window.sessionStorage.getItem("edgeprof-compare") || "[]"));
  const boxes = (group) => [...document.querySelectorAll(`[data-check="${group}"]`)];
  const ticked = (box) => box.getAttribute("aria-checked") === "true";

  document.addEventListener("click", (event) => {
    const box = event.target.closest("[data-check]");
    if (box) {
      box.setAttribute("aria-checked", String(!ticked(box)));
      if (box.dataset.check === "compare") {
        if (ticked(box)) { chosen.add(box.dataset.value); } else { chosen.delete(box.dataset.value); }
        keepChosen();
      }
    }
    const button = event.target.closest("[data-gather]");
    if (button) {
      const group = button.dataset.gather;
      const values = group === "compare" ? [...chosen] : boxes(group).filter(ticked).map((item) => item.dataset.value);
      const value = button.dataset.joined ? values.join(",") : values;
      go(having({ [button.dataset.parameter || group]: value }, button.dataset.path));
    }
    if (event.target.closest("[data-forget]")) {
      chosen.clear();
      keepChosen();
      tellChosen();
    }
  });

  function keepChosen() {
    window.sessionStorage.setItem("edgeprof-compare", JSON.stringify([...chosen]));
    tellChosen();
  }

  function tellChosen() {
    for (const box of boxes("compare")) { box.setAttribute("aria-checked", String(chosen.has(box.dataset.value))); }
    for (const button of document.querySelectorAll('[data-gather="compare"]')) {
      button.disabled = chosen.size < 2;
      tell(button, chosen.size ? `Compare ${chosen.size} chosen` : "Compare: choose two or more runs");
    }
    for (const button of document.querySelectorAll("[data-forget]")) { button.hidden = !chosen.size; }
  }

  // ---- Figures

  // They come in the light colours; a colour's dark partner is found by its text.
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
    const figure = Theme.dark() ? recolour(drawing) : structuredClone(drawing); // plotly writes into what it draws
    const height = figure.layout.height || 360;
    delete figure.layout.height; // the place has it, so that the width may follow the window's
    Object.assign(figure.layout, { template: Theme.dark() ? themes.dark : themes.light, uirevision: "kept" });
    return [figure, { height: height + "px" }];
  }

  const SHARP = 3; // pixels of a PNG for one of the page: sharp in print and on a projector

  document.addEventListener("click", (event) => { // a figure as an image: as it is shown, on its page's background
    const button = event.target.closest("[data-image]");
    if (!button) { return; }
    const figure = button.closest("figure"), plot = figure.querySelector(".js-plotly-plot");
    const layout = { ...plot.layout, paper_bgcolor: window.getComputedStyle(figure).backgroundColor };
    window.Plotly.downloadImage({ data: plot.data, layout }, {
      format: button.dataset.image, filename: button.dataset.name,
      width: plot.clientWidth, height: plot.clientHeight, scale: button.dataset.image === "png" ? SHARP : 1,
    });
  });

  // ---- The window of time: all figures of a page show it, and it stands in the address

  function stay(href) { // the page follows in place
    if (href === address()) { return; }
    window.history.replaceState(null, "", href);
    set("view", href);
  }

  function look(begin, end) { // seconds; null for the whole run
    const rounded = (time) => String(Number(Number(time).toPrecision(9)));
    stay(having({ t: begin === null ? "" : `${rounded(begin)},${rounded(end)}` }));
  }

  function zoomed() {
    const event = (window.dash_clientside.callback_context.triggered[0] || {}).value || {};
    const range = {};
    for (const [key, value] of Object.entries(event)) {
      const match = /^xaxis\d*\.(range\[0\]|range\[1\]|range|autorange)$/.exec(key);
      if (match) { range[match[1]] = value; }
    }
    const ends = (range.range || [range["range[0]"], range["range[1]"]]).map((end) => Number.parseFloat(end));
    if (range.autorange) { look(null); } else if (ends.every(Number.isFinite) && ends[0] < ends[1]) { look(...ends); }
    return nothing();
  }

  // ---- What a new page needs besides its content: the window's title, the menu's mark, and focus for who is led by it

  let begun = false, last = null;
  function arrived() {
    const title = document.getElementById("title");
    tellChosen();
    if (!title || title === last) { return; }
    document.title = title.dataset.title + " · edgeprof";
    for (const link of document.querySelectorAll("#menu a")) {
      const here = link.pathname === window.location.pathname;
      if (here) { link.setAttribute("aria-current", "page"); } else { link.removeAttribute("aria-current"); }
    }
    if (last) { title.focus({ preventScroll: true }); }
    last = title;
  }

  function begin() {
    Theme.start(() => { if (begun) { set("theme-state", Theme.dark()); } });
    begun = true;
    new MutationObserver(arrived).observe(document.getElementById("page"), { childList: true, subtree: true });
    return address();
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { edgeprof: { begin, coloured, zoomed, look } });
})();
