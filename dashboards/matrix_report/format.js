// Numbers as people read them; the same rules as edgeprof.profiler.units and edgeprof.profiler.statistics.words.
"use strict";
const Format = (function () {
  const LARGE = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const SMALL_TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
  const SYMBOLS = { bytes: "B", J: "J", W: "W", Hz: "Hz" };

  function digits(value) { // three significant ones, without exponent and trailing zeros
    if (value === 0) { return "0"; }
    const places = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
    const text = value.toFixed(places);
    return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  }

  function prefixed(value, symbol) {
    for (const [scale, prefix] of LARGE) {
      if (Math.abs(value) >= scale * 0.9995) { return digits(value / scale) + " " + prefix + symbol; }
    }
    if (value === 0 || Math.abs(value) >= 1 || symbol === "B") { return digits(value) + " " + symbol; }
    for (const [scale, prefix] of [[1e-3, "m"], [1e-6, "µ"]]) {
      if (Math.abs(value) >= scale) { return digits(value / scale) + " " + prefix + symbol; }
    }
    return Number(value.toPrecision(2)) + " " + symbol;
  }

  function seconds(value) {
    const size = Math.abs(value);
    const two = number => String(number).padStart(2, "0");
    if (size >= 3600) {
      const minutes = Math.round(value / 60);
      return Math.floor(minutes / 60) + " h " + two(minutes % 60) + " min";
    }
    if (size >= 120) { return Math.floor(Math.round(value) / 60) + " min " + two(Math.round(value) % 60) + " s"; }
    if (size === 0) { return "0 s"; }
    for (const [scale, symbol] of SMALL_TIMES) {
      if (size >= scale * 0.9995) { return digits(value / scale) + " " + symbol; }
    }
    return Number((value / 1e-9).toPrecision(2)) + " ns";
  }

  function human(value, unit) {
    if (value === null || value === undefined || !isFinite(value)) { return "–"; }
    const cut = unit.indexOf("/");
    const base = cut < 0 ? unit : unit.slice(0, cut);
    const per = cut < 0 ? "" : unit.slice(cut);
    if (base === "s") { return seconds(value) + per; }
    if (base === "share" && !per) { return digits(value * 100) + " %"; }
    if (base === "ratio" && !per) { return digits(value) + "x"; }
    if (SYMBOLS[base]) { return prefixed(value, SYMBOLS[base]) + per; }
    if (base === "" || base === "count") {
      if (Math.abs(value) >= 1e6) { return prefixed(value, "").trim() + per; }
      return (Number.isInteger(value) ? value.toLocaleString("en").replace(/,/g, "\u202f") : digits(value)) + per;
    }
    return digits(value) + " " + base + per;
  }

  function percent(share) { // without its sign
    const size = Math.abs(share) * 100;
    if (size === 0) { return "0 %"; }
    const places = size >= 20 ? 0 : size >= 1 ? 1 : Math.min(6, 1 - Math.floor(Math.log10(size)));
    return size.toFixed(places) + " %";
  }

  function tenths(share) { // in percent, to a tenth at most
    const size = share * 100;
    return size.toFixed(size >= 10 || size < 0.05 ? 0 : 1);
  }

  function times(ratio) {
    if (ratio >= 100) { return ratio < 1e6 ? Math.round(ratio).toLocaleString("en").replace(/,/g, "\u202f") : ratio.toPrecision(2); }
    return ratio < 0.1 ? String(Number(ratio.toPrecision(2))) : ratio.toFixed(ratio < 10 ? 2 : 1);
  }

  function signed(value, text) {
    return (value > 0 ? "+" : value < 0 ? "−" : "") + text;
  }

  // A difference on the metric's scale: a logarithm of a ratio, or a difference in its unit.
  function change(value, metric) {
    if (value === null) { return "–"; }
    if (metric.scale === "log") {
      if (Math.abs(value) >= Math.LN2) { return times(Math.exp(value)) + "x"; }
      const share = Math.expm1(value);
      return signed(share, percent(share));
    }
    if (metric.unit === "share") { return signed(value, percent(value).slice(0, -2) + " pts"); }
    return signed(value, human(Math.abs(value), metric.unit));
  }

  // Text for plotly, which reads tags and entities
  function label(text) {
    return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function short(text, limit) {
    text = String(text);
    const half = Math.floor(limit / 2);
    return text.length <= limit ? text : text.slice(0, half - 1) + "…" + text.slice(-half);
  }

  return { human, percent, tenths, change, label, short };
})();
