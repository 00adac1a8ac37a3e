// The figures: each function takes what is chosen and gives plotly's traces, a layout, rows of data and a label.
"use strict";
const Figures = (function () {
  const { human, tenths, change, label, short } = Format;
  const ROW = 30;
  const CELLS_SHOWN = 80;
  const LEVELS_SHOWN = 60;
  const CYCLE = ["blue", "vermillion", "green", "purple", "orange", "sky", "grey"];
  const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "x", "star"];

  const KINDS = {
    better: { name: "better", colour: "green", symbol: "circle" },
    worse: { name: "worse", colour: "vermillion", symbol: "diamond" },
    other: { name: "different", colour: "blue", symbol: "square" },
    none: { name: "no difference shown", colour: "grey", symbol: "circle-open" }
  };

  function kind(effect, metric) {
    if (!effect.shown) { return "none"; }
    if (!metric.better) { return "other"; }
    return (effect.value < 0) === (metric.better === "lower") ? "better" : "worse";
  }

  function note(text, y, colour) { // words to the right of a row
    return { text: text, x: 1, xref: "paper", xanchor: "left", xshift: 12, y: y, yref: "y", yanchor: "middle", showarrow: false, font: { size: 12, color: colour } };
  }

  function rowsLayout(count, ticks, right, extra) {
    return Object.assign({
      height: count * ROW + 92,
      margin: { l: 20, r: right, t: 34, b: 48 },
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", xanchor: "left" },
      yaxis: { range: [count - 0.4, -0.6], tickvals: ticks.map(row => row.y), ticktext: ticks.map(row => row.text), showgrid: false, zeroline: false, fixedrange: true, ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)" },
      hovermode: "closest"
    }, extra);
  }

  // Marks of a ratio axis, thinned to what fits
  const RATIOS = [1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1,
    1.005, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 10, 20, 50, 100, 1e3, 1e4];

  function ratioAxis(low, high) {
    const gap = (high - low) * 0.085;
    const kept = [0];
    RATIOS.map(Math.log).filter(at => at >= low && at <= high).sort((a, b) => Math.abs(a) - Math.abs(b)).forEach(at => {
      if (kept.every(other => Math.abs(other - at) > gap)) { kept.push(at); }
    });
    const text = at => {
      if (at === 0) { return "0"; }
      const ratio = Math.exp(at);
      if (ratio >= 1.995 || ratio <= 0.505) { return Number(ratio.toPrecision(2)) + "x"; }
      return (at > 0 ? "+" : "−") + Number((Math.abs(ratio - 1) * 100).toPrecision(2)) + " %";
    };
    return { tickvals: kept, ticktext: kept.map(text) };
  }

  function valueAxis(metric, title) {
    const axis = { title: { text: title } };
    if (metric.unit === "s" || metric.unit === "bytes") {
      return Object.assign(axis, { tickformat: "~s", ticksuffix: metric.unit === "s" ? "s" : "B" });
    }
    return metric.unit === "share" ? Object.assign(axis, { tickformat: ".0~%" }) : Object.assign(axis, { tickformat: "~s" });
  }

  function effects(metric, look) {
    const told = metric.effects.filter(effect => effect.value !== null);
    if (!told.length) {
      const why = metric.effects.length ? metric.effects[0].verdict : metric.reason;
      return { empty: "No effect can be drawn: " + (why || "nothing was varied") + "." };
    }
    const ticks = [], notes = [], marks = {}, drawn = [];
    let y = 0, factor = null;
    metric.effects.forEach(effect => {
      if (effect.factor !== factor) {
        factor = effect.factor;
        ticks.push({ y: y, text: "<b>" + label(short(factor, 26)) + "</b> <i>against " + label(short(effect.baseline, 22)) + "</i>" });
        y += 1;
      }
      ticks.push({ y: y, text: label(short(effect.level, 34)) });
      if (effect.value !== null) {
        const which = kind(effect, metric);
        (marks[which] = marks[which] || []).push(Object.assign({ y: y }, effect));
        drawn.push(effect);
        const interval = effect.low === null ? "" : " (" + change(effect.low, metric) + " to " + change(effect.high, metric) + ")";
        const could = effect.detectable === null ? "" : "; could: " + change(effect.detectable, metric).replace("+", "");
        notes.push(note(label(effect.shown ? change(effect.value, metric) + interval : (effect.low === null && effect.value === 0 ? "the same in all runs" : effect.p === null ? "cannot be judged" : "none shown" + could)), y, look.colours[effect.shown ? "ink" : "grey"]));
      } else {
        notes.push(note("no matching cells", y, look.colours.grey));
      }
      y += 1;
    });
    // The axis follows what was found; an interval of very few runs may run out of it.
    const sure = drawn.flatMap(effect => effect.low === null || effect.high - effect.low > 12 * Math.abs(effect.value) + (metric.scale === "log" ? 1 : Infinity) ? [effect.value] : [effect.value, effect.low, effect.high]);
    let low = Math.min(0, ...sure), high = Math.max(0, ...sure);
    const room = (high - low) * 0.06 || (metric.scale === "log" ? 0.01 : 1e-9);
    low -= room; high += room;
    const traces = Object.keys(KINDS).filter(which => marks[which]).map(which => {
      const rows = marks[which], style = KINDS[which], colour = look.colours[style.colour];
      return {
        type: "scatter", mode: "markers", name: style.name, x: rows.map(row => row.value), y: rows.map(row => row.y),
        marker: { color: colour, symbol: style.symbol, size: 11, line: { width: which === "none" ? 2 : 0, color: colour } },
        error_x: { type: "data", symmetric: false, color: colour, thickness: 2, width: 5,
          array: rows.map(row => row.high === null ? 0 : row.high - row.value),
          arrayminus: rows.map(row => row.low === null ? 0 : row.value - row.low) },
        customdata: rows.map(row => label(row.factor + " " + row.level + ": " + row.verdict) + "<br>" + row.pairs + " pairs of cells, " + row.processes + " runs"),
        hovertemplate: "%{customdata}<extra></extra>"
      };
    });
    const title = metric.scale === "log" ? "change of " + metric.title.toLowerCase() : "difference of " + metric.title.toLowerCase();
    const axis = metric.scale === "log" ? ratioAxis(low, high) : metric.unit === "share" ? { tickformat: "+.0~%" } : valueAxis(metric, "");
    const lines = [{ type: "line", x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper", line: { color: look.colours.grey, width: 1.5 }, layer: "below" }];
    return {
      traces: traces,
      layout: rowsLayout(y, ticks, 250, {
        xaxis: Object.assign({ range: [low, high], zeroline: false }, axis, { title: { text: title + (metric.better ? " (" + metric.better + " is better)" : "") } }),
        shapes: lines, annotations: notes
      }),
      label: drawn.map(effect => effect.factor + " " + effect.level + ": " + effect.verdict).join(". "),
      rows: [["Factor", "Level", "Against", "What was found", "p, corrected", "Pairs of cells", "Runs"]].concat(
        metric.effects.map(effect => [effect.factor, effect.level, effect.baseline, effect.verdict, probability(effect.p), effect.pairs, effect.processes]))
    };
  }

  function probability(p) {
    return p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(p < 0.1 ? 3 : 2);
  }

  function variance(metric, look) {
    if (!metric.variance.length) { return { empty: "The differences cannot be divided: " + (metric.variance_reason || "there are none") + "." }; }
    const rank = row => row[4] ? 0 : row[0].startsWith("between") ? 2 : 1;
    const shares = metric.variance.slice().sort((a, b) => rank(a) - rank(b) || b[1] - a[1]);
    const notes = shares.map((row, y) => note(
      tenths(row[1]) + " %" + (row[2] === null ? "" : " (" + tenths(row[2]) + " to " + tenths(row[3]) + ")"), y, look.colours.ink));
    const colour = row => look.colours[row[4] === 1 ? "blue" : row[4] === 2 ? "sky" : "grey"];
    return {
      traces: [{
        type: "bar", orientation: "h", x: shares.map(row => row[1]), y: shares.map((row, y) => y), width: 0.56, showlegend: false,
        marker: { color: shares.map(colour) },
        error_x: { type: "data", symmetric: false, color: look.colours.ink, thickness: 1.5, width: 4,
          array: shares.map(row => row[3] === null ? 0 : Math.max(row[3] - row[1], 0)), arrayminus: shares.map(row => row[2] === null ? 0 : Math.max(row[1] - row[2], 0)) },
        hovertemplate: "%{y}: %{x:.1%}<extra></extra>"
      }],
      layout: rowsLayout(shares.length, shares.map((row, y) => ({ y: y, text: label(short(row[0], 48)) })), 170, {
        showlegend: false, margin: { l: 20, r: 170, t: 8, b: 48 }, height: shares.length * ROW + 66,
        xaxis: { range: [0, 1], tickformat: ".0%", title: { text: "share of the differences between runs" } }, annotations: notes
      }),
      label: shares.map(row => row[0] + " " + tenths(row[1]) + " %").join(", "),
      rows: [["Of", "Share", "Low", "High"]].concat(shares.map(row => [row[0], tenths(row[1]) + " %", row[2] === null ? "–" : tenths(row[2]) + " %", row[3] === null ? "–" : tenths(row[3]) + " %"]))
    };
  }

  function mean(values, metric) {
    if (!values.length) { return null; }
    const sum = values.reduce((total, value) => total + (metric.scale === "log" ? Math.log(value) : value), 0) / values.length;
    return metric.scale === "log" ? Math.exp(sum) : sum;
  }

  // Black or white, whichever stands out more from the ramp's colour at a place (WCAG's relative luminance)
  function readable(ramp, place) {
    const number = Math.min(Math.floor(place * (ramp.length - 1)), ramp.length - 2);
    const part = place * (ramp.length - 1) - number;
    const channels = [1, 3, 5].map(at => {
      const [low, high] = [ramp[number][1], ramp[number + 1][1]].map(colour => parseInt(colour.slice(at, at + 2), 16) / 255);
      const value = low + (high - low) * part;
      return value <= 0.04045 ? value / 12.92 : Math.pow((value + 0.055) / 1.055, 2.4);
    });
    const light = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2];
    return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
  }

  function map(metric, look, study, cells, x, y) {
    const across = study.axes[x], down = study.axes[y];
    const rows = down.levels.slice(0, LEVELS_SHOWN), columns = across.levels.slice(0, LEVELS_SHOWN);
    const at = rows.map((_, row) => columns.map((__, column) => cells.filter(cell => cell.levels[x] === column && cell.levels[y] === row)));
    const values = at.map(row => row.map(group => mean(group.map(cell => cell.mean).filter(value => value !== null), metric)));
    const known = values.flat().filter(value => value !== null);
    if (!known.length) { return { empty: "No run of these cells gave this metric." }; }
    const scaled = value => value === null ? null : metric.scale === "log" ? Math.log(value) : value;
    const low = Math.min(...known), high = Math.max(...known);
    const marks = low === high ? [low] : [low, metric.scale === "log" ? Math.sqrt(low * high) : (low + high) / 2, high];
    // Colours span 10 % at least, so that a difference of nothing does not look like one
    const least = metric.scale === "log" ? 0.1 : 0.1 * Math.max(Math.abs(low), Math.abs(high)) || 1;
    const spare = Math.max(0, least - (scaled(high) - scaled(low))) / 2;
    const bottom = scaled(low) - spare, top = scaled(high) + spare;
    const place = value => (scaled(value) - bottom) / (top - bottom);
    const inside = values.flatMap((row, i) => row.map((value, j) => value === null ? null : {
      x: j, y: i, text: human(value, metric.unit), showarrow: false, font: { color: readable(look.ramp, place(value)) }
    })).filter(Boolean);
    const hover = at.map((row, i) => row.map((group, j) => {
      const having = group.filter(cell => cell.mean !== null);
      const where = label(across.name + " " + columns[j] + ", " + down.name + " " + rows[i]);
      return where + "<br>" + (having.length ? human(values[i][j], metric.unit) + ", mean of " + having.length + (having.length < group.length ? " of " + group.length : "") + " cells" : group.length ? "no figures: see what is missing" : "not part of the study");
    }));
    return {
      traces: [{
        type: "heatmap", z: values.map(row => row.map(scaled)), zmin: bottom, zmax: top,
        customdata: hover, hovertemplate: "%{customdata}<extra></extra>", hoverongaps: true, xgap: 3, ygap: 3, colorscale: look.ramp,
        colorbar: { thickness: 12, outlinewidth: 0, tickvals: marks.map(scaled), ticktext: marks.map(value => human(value, metric.unit)), ticks: "" }
      }],
      layout: {
        annotations: columns.length <= 12 && rows.length <= 24 ? inside : [],
        height: Math.max(rows.length * 54, 120) + 76, margin: { l: 20, r: 20, t: 10, b: 20 },
        xaxis: { tickvals: columns.map((_, i) => i), ticktext: columns.map(text => label(short(text, 24))), showgrid: false, zeroline: false, showline: false, ticks: "", title: { text: label(across.name) }, fixedrange: true },
        yaxis: { tickvals: rows.map((_, i) => i), ticktext: rows.map(text => label(short(text, 28))), showgrid: false, zeroline: false, autorange: "reversed", ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)", title: { text: label(down.name) }, fixedrange: true }
      },
      note: rows.length < down.levels.length || columns.length < across.levels.length ? "The first " + LEVELS_SHOWN + " levels are drawn." :
        at.flat().some(group => group.some(cell => cell.mean === null) && group.some(cell => cell.mean !== null)) ? "Some cells gave no figures; their neighbours' mean is then over other cells than the rest, and the box says so." : "",
      label: rows.map((row, i) => columns.map((column, j) => row + " " + column + " " + human(values[i][j], metric.unit)).join(", ")).join("; "),
      rows: [[down.name + " / " + across.name].concat(columns)].concat(rows.map((row, i) => [row].concat(values[i].map(value => human(value, metric.unit)))))
    };
  }

  function spread(metric, look, study, cells, by) {
    const known = cells.filter(cell => cell.mean !== null).sort((a, b) => metric.better === "higher" ? b.mean - a.mean : a.mean - b.mean);
    if (!known.length) { return { empty: "No run gave this metric." }; }
    const half = CELLS_SHOWN / 2;
    const shown = known.length > CELLS_SHOWN ? known.slice(0, half).concat(known.slice(-half)) : known;
    const axis = by >= 0 ? study.axes[by] : null;
    const groups = axis ? axis.levels.map((level, i) => ({ name: level, rows: [], number: i })) : [{ name: "runs", rows: [], number: 0 }];
    shown.forEach((cell, y) => cell.runs.forEach(run => {
      const group = groups[axis ? cell.levels[by] : 0];
      if (run.value !== null && group) { group.rows.push({ x: run.value, y: y, link: run.link, text: cell.name + ", repeat " + run.repeat + ": " + human(run.value, metric.unit) }); }
    }));
    const traces = groups.filter(group => group.rows.length).map(group => ({
      type: "scatter", mode: "markers", name: label(short(group.name, 30)), x: group.rows.map(row => row.x), y: group.rows.map(row => row.y),
      marker: { size: 9, opacity: 0.8, color: look.colours[CYCLE[group.number % CYCLE.length]], symbol: SYMBOLS[group.number % SYMBOLS.length] },
      customdata: group.rows.map(row => row.link), text: group.rows.map(row => label(row.text)), hovertemplate: "%{text}<extra></extra>"
    }));
    traces.push({
      type: "scatter", mode: "markers", name: "mean", x: shown.map(cell => cell.mean), y: shown.map((cell, y) => y), hoverinfo: "skip",
      marker: { symbol: "line-ns-open", size: 16, color: look.colours.ink, line: { width: 2, color: look.colours.ink } }
    });
    const wide = Math.max(known[known.length - 1].mean, known[0].mean) > 20 * Math.min(known[known.length - 1].mean, known[0].mean) && metric.scale === "log";
    const height = shown.length > 30 ? 20 : 26;
    const all = known.flatMap(cell => cell.runs.map(run => run.value)).filter(value => value !== null);
    const zero = !wide && Math.min(...all) >= 0 && Math.min(...all) < 0.4 * Math.max(...all);
    return {
      traces: traces,
      layout: rowsLayout(shown.length, shown.map((cell, y) => ({ y: y, text: label(short(cell.name, 52)) })), 24, {
        height: shown.length * height + 100,
        xaxis: Object.assign(valueAxis(metric, metric.title), wide ? { type: "log" } : zero ? { rangemode: "tozero" } : {}),
        yaxis: { range: [shown.length - 0.4, -0.6], tickvals: shown.map((_, y) => y), ticktext: shown.map(cell => label(short(cell.name, 52))), ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)", zeroline: false, fixedrange: true }
      }),
      note: shown.length < known.length ? "The first and the last " + half + " of " + known.length + " cells are drawn; the table has all." : "",
      label: shown.length + " cells from " + human(known[0].mean, metric.unit) + " to " + human(known[known.length - 1].mean, metric.unit),
      rows: [["Cell", "Mean", "Runs"]].concat(known.map(cell => [cell.name, human(cell.mean, metric.unit), cell.runs.filter(run => run.value !== null).map(run => human(run.value, metric.unit)).join(", ")]))
    };
  }

  return { effects, variance, map, spread, mean };
})();
