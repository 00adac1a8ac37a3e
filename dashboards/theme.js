// The theme that is on: the system's, or the one that the reader's button chose and the browser remembers.
"use strict";
const Theme = (function () {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");

  function remembered(value) {
    try { // a browser may refuse storage to a local file
      if (value) { window.localStorage.setItem("edgeprof-theme", value); }
      return window.localStorage.getItem("edgeprof-theme");
    } catch (error) {
      return null;
    }
  }

  function dark() {
    const chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : system.matches;
  }

  // Calls `recolour` now, and whenever the theme changes
  function start(recolour) {
    function changed() {
      button.textContent = dark() ? "Light" : "Dark";
      button.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
      recolour();
    }
    const kept = remembered();
    if (kept === "dark" || kept === "light") { root.setAttribute("data-theme", kept); }
    button.hidden = false;
    button.addEventListener("click", () => {
      root.setAttribute("data-theme", dark() ? "light" : "dark");
      remembered(root.getAttribute("data-theme"));
      changed();
    });
    system.addEventListener("change", changed);
    changed();
  }

  return { dark, start };
})();
