// The waterfall of one trace: as many rows in the page as one sees, out of as many as there are.
//
// Rows come from the server in the order of the tree, a parent before its children. What is
// shown of them is a list of lines: a span, or a fold that stands for siblings that did the
// same. Everything that one chooses is in the address: the span, what is shut, what is looked
// for, what is shown, and which time the bars are of.
"use strict";

(() => {
  const LINE = 26; // pixels; the style sheet's .fall
  const SPARE = 12; // lines above and below what one sees
  const CLOSED_MAX = 60; // in an address; what is shut beyond is not remembered
  const LATER_MS = 120; // a span is asked for when one has stopped at it
  const GRAIN = 1 / 1200; // of the time that is shown: marks nearer than that are drawn as one

  const box = document.getElementById("waterfall");
  if (!box) return;
  const panel = document.getElementById("span");
  const asked = new URLSearchParams(location.search);
  const state = {
    span: asked.get("span") || "",
    find: asked.get("find") || "",
    show: asked.get("show") || "all",
    fold: asked.get("fold") || "yes",
    zoom: asked.get("zoom") || "",
    closed: new Set((asked.get("closed") || "").split(",").filter(Boolean)),
  };

  let trace = null;
  let lines = []; // what is shown now
  let chosen = 0; // its line

  const make = (name, className, text) => {
    const one = document.createElement(name);
    if (className) one.className = className;
    if (text !== undefined) one.textContent = text;
    return one;
  };

  // As the server writes them: three figures and the unit.
  function duration(ns) {
    for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "us"]]) {
      if (Math.abs(ns) >= size) {
        const value = ns / size;
        return `${value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0)} ${unit}`;
      }
    }
    return `${Math.round(ns)} ns`;
  }

  // Letters that turn or hide others are shown as question marks, as the server does.
  const seen = (text) => text.replace(/[\p{C}]/gu, "?");

  // ---- what the server sent, as a tree ---------------------------------------------------

  function read(told) {
    const column = Object.fromEntries(told.columns.map((name, place) => [name, place]));
    const spans = told.rows.map((row, place) => ({
      place,
      depth: row[column.depth],
      name: seen(told.names[row[column.name]]) || "(no name)",
      service: seen(told.services[row[column.service]]),
      colour: (row[column.service] % 6) + 1,
      note: seen(told.notes[row[column.note]]),
      start: row[column.started_ns],
      took: row[column.duration_ns],
      own: row[column.self_ns],
      waited: row[column.waited_ns],
      failed: Boolean(row[column.flags] & 1),
      orphan: Boolean(row[column.flags] & 2),
      id: row[column.span_id],
      parent: null,
      children: [],
      path: [],
    }));
    const above = [];
    const roots = [];
    for (const span of spans) {
      above.length = span.depth;
      span.parent = above[span.depth - 1] || null;
      (span.parent ? span.parent.children : roots).push(span);
      above.push(span);
    }
    for (const [place, start, took] of told.path) spans[place].path.push([start, took]);
    const folds = new Map(); // by the span that is first
    for (const places of told.folds) {
      const inside = places.map((place) => spans[place]);
      const fold = { id: `fold-${inside[0].id}`, inside, parent: inside[0].parent };
      for (const span of inside) folds.set(span, fold);
    }
    const ids = new Map(spans.map((span) => [span.id, span]));
    return { spans, roots, folds, ids, took: Math.max(told.duration_ns, 1), services: told.services.map(seen) };
  }

  // ---- which lines are shown --------------------------------------------------------------

  function wanted(span) {
    if (state.show === "path" && !span.path.length) return false;
    if (state.show === "errors" && !span.failed) return false;
    const find = state.find.toLowerCase();
    return !find || `${span.name} ${span.service} ${span.note}`.toLowerCase().includes(find);
  }

  // A span stays where something below it is wanted; then it stands aside.
  function choose() {
    const kept = new Map();
    const all = state.show === "all" && !state.find;
    if (!all) {
      for (const span of trace.spans) {
        if (!wanted(span)) continue;
        kept.set(span, true);
        for (let up = span.parent; up && !kept.has(up); up = up.parent) kept.set(up, false);
      }
    }
    lines = [];
    const waiting = trace.roots.slice().reverse().map((span) => [span, 0]);
    const done = new Set();
    while (waiting.length) {
      const [one, depth] = waiting.pop();
      if (one.inside) {
        const spans = all ? one.inside : one.inside.filter((each) => kept.get(each));
        const open = state.closed.has(one.id);
        lines.push({ fold: one, spans, depth, wanted: true, open });
        if (open) for (const span of spans.slice().reverse()) waiting.push([{ span }, depth + 1]);
        continue;
      }
      const span = one.span || one;
      if (!all && !kept.has(span)) continue;
      const fold = !one.span && !state.find && state.fold === "yes" && trace.folds.get(span);
      if (fold && (all || fold.inside.filter((each) => kept.get(each)).length > 1)) {
        if (!done.has(fold)) waiting.push([fold, depth]);
        done.add(fold);
        continue;
      }
      const open = !all || !state.closed.has(span.id);
      const twists = all && span.children.length > 0;
      lines.push({ span, spans: [span], depth, open, wanted: all || kept.get(span), twists });
      if (open) {
        for (const child of span.children.slice().reverse()) waiting.push([child, depth + 1]);
      }
    }
    body.style.height = `${lines.length * LINE}px`;
    grid.setAttribute("aria-rowcount", lines.length + 1);
  }

  // ---- the parts of the page --------------------------------------------------------------

  const tools = make("div", "fall-tools");
  const grid = make("div", "falls");
  const head = make("div", "fall-head");
  const body = make("div");
  const said = make("span", "muted");

  function build() {
    grid.tabIndex = 0;
    grid.setAttribute("role", "treegrid");
    grid.setAttribute("aria-label", "Spans; arrows move, right opens, left shuts, Enter reads");
    const top = make("div");
    top.setAttribute("role", "rowgroup");
    head.setAttribute("role", "row");
    for (const [word, name] of [["span", ""], ["service", "who"], ["took", "n"], ["itself", "n own"]]) {
      const cell = make("span", name, word);
      cell.setAttribute("role", "columnheader");
      head.append(cell);
    }
    const axis = make("span", "axis");
    axis.setAttribute("role", "columnheader");
    axis.setAttribute("aria-label", "time");
    head.append(axis);
    top.append(head);
    body.setAttribute("role", "rowgroup");
    body.style.position = "relative";
    grid.append(top, body);
    box.replaceChildren(tools, grid, legend());
    buildTools();
  }

  function buildTools() {
    const find = make("input");
    find.type = "search";
    find.value = state.find;
    find.size = 18;
    find.placeholder = "name, statement";
    const label = make("label", "", "find ");
    label.append(find);
    find.addEventListener("input", () => change({ find: find.value.trim() }));
    const show = make("select");
    for (const [value, word] of [["all", "all spans"], ["path", "what was waited for"], ["errors", "what failed"]]) {
      const option = make("option", "", word);
      option.value = value;
      option.selected = value === state.show;
      show.append(option);
    }
    show.addEventListener("change", () => change({ show: show.value }));
    const showLabel = make("label", "", "show ");
    showLabel.append(show);
    const fold = make("input");
    fold.type = "checkbox";
    fold.checked = state.fold === "yes";
    fold.addEventListener("change", () => change({ fold: fold.checked ? "yes" : "no" }));
    const foldLabel = make("label", "", "");
    foldLabel.append(fold, " repeats as one");
    const zoom = make("button", "", "Zoom to the span");
    const whole = make("button", "", "Whole time");
    for (const button of [zoom, whole]) button.type = "button";
    zoom.addEventListener("click", () => change({ zoom: state.span }));
    whole.addEventListener("click", () => change({ zoom: "" }));
    said.setAttribute("role", "status");
    tools.replaceChildren(label, showLabel, foldLabel, zoom, whole, said);
    tools.find = find;
    tools.whole = whole;
  }

  function legend() {
    const one = make("p", "legend");
    trace.services.slice(0, 12).forEach((service, place) => {
      const item = make("span");
      item.append(make("span", `swatch c${(place % 6) + 1}`), service);
      one.append(item);
    });
    const path = make("span");
    path.append(make("span", "swatch path"), "what the request waited for");
    one.append(path);
    return one;
  }

  // The time that bars are of: all, or that of the span one zoomed to.
  function times() {
    const span = trace.ids.get(state.zoom);
    return span && span.took ? [span.start, span.took] : [0, trace.took];
  }

  function drawAxis() {
    const axis = head.lastElementChild;
    const [start, took] = times();
    const room = axis.clientWidth || 300;
    const steps = Math.max(1, Math.min(6, Math.floor(room / 80)));
    axis.replaceChildren();
    for (let step = 0; step < steps; step += 1) {
      const tick = make("span", "", duration(start + (took * step) / steps));
      tick.style.left = `${(100 * step) / steps}%`;
      axis.append(tick);
    }
    tools.whole.hidden = !state.zoom;
  }

  function bar(track, name, start, took) {
    const [from, whole] = times();
    const left = Math.max(0, (start - from) / whole);
    const right = Math.min(1, (start + took - from) / whole);
    if (right < 0 || left > 1) return;
    const one = make("i", name);
    one.style.left = `${100 * Math.min(left, 0.999)}%`;
    one.style.width = `${100 * Math.max(right - left, 0)}%`;
    track.append(one);
  }

  // Times as few marks: ten thousand of them in one bar nobody can tell apart.
  function merged(moments) {
    const grain = times()[1] * GRAIN;
    const found = [];
    for (const [start, took] of moments.slice().sort((a, b) => a[0] - b[0])) {
      const last = found[found.length - 1];
      if (last && start - (last[0] + last[1]) <= grain) {
        last[1] = Math.max(last[1], start + took - last[0]);
      } else {
        found.push([start, took]);
      }
    }
    return found;
  }

  function cell(row, name, text) {
    const one = make("span", name, text);
    one.setAttribute("role", "gridcell");
    row.append(one);
    return one;
  }

  function drawLine(place) {
    const line = lines[place];
    const { spans } = line;
    const first = spans[0];
    const failed = spans.some((span) => span.failed);
    const row = make("div", `fall${failed ? " failed" : ""}${line.wanted ? "" : " aside"}`);
    row.id = `line-${place}`;
    row.dataset.place = place;
    row.style.top = `${place * LINE}px`;
    row.setAttribute("role", "row");
    row.setAttribute("aria-level", line.depth + 1);
    row.setAttribute("aria-rowindex", place + 2);
    row.setAttribute("aria-selected", String(place === chosen));
    const twists = line.fold || line.twists;
    if (twists) row.setAttribute("aria-expanded", String(line.open));
    const name = cell(row, "", "");
    name.style.paddingLeft = `${Math.min(line.depth, 30) * (grid.clientWidth < 500 ? 5 : 12)}px`;
    const twist = make("span", "twist", twists ? (line.open ? "▾" : "▸") : "");
    twist.setAttribute("aria-hidden", "true");
    name.append(twist);
    if (line.fold) name.append(make("span", "times", `${spans.length} × `));
    name.append(make("span", "called", first.name));
    if (first.orphan) name.append(make("span", "warn", " (parent missing)"));
    if (first.note) name.append(" ", make("span", "told", first.note));
    name.title = `${first.name} ${first.note}`.trim();
    cell(row, "who muted", first.service);
    cell(row, "n", duration(spans.reduce((sum, span) => sum + span.took, 0)));
    cell(row, "n own muted", duration(spans.reduce((sum, span) => sum + span.own, 0)));
    const track = cell(row, "track", "");
    for (const look of [`c${first.colour}`, "failed"]) {
      const these = spans.filter((span) => span.failed === (look === "failed"));
      for (const [start, took] of merged(these.map((span) => [span.start, span.took]))) bar(track, look, start, took);
    }
    for (const [start, took] of merged(spans.flatMap((span) => span.path))) bar(track, "waited", start, took);
    track.setAttribute("aria-label", spans.some((span) => span.waited) ? "waited for" : "not waited for");
    return row;
  }

  // ---- drawing only what one sees ---------------------------------------------------------

  let drawn = [0, 0];

  function draw(anew) {
    const from = Math.max(0, Math.floor(grid.scrollTop / LINE) - SPARE);
    const until = Math.min(lines.length, Math.ceil((grid.scrollTop + grid.clientHeight) / LINE) + SPARE);
    if (!anew && drawn[0] === from && drawn[1] === until) return;
    const kept = new Map();
    if (!anew) for (const row of body.children) kept.set(Number(row.dataset.place), row);
    const rows = [];
    for (let place = from; place < until; place += 1) rows.push(kept.get(place) || drawLine(place));
    body.replaceChildren(...rows);
    drawn = [from, until];
  }

  function drawAll() {
    choose();
    chosen = Math.max(0, lines.findIndex(holds));
    drawAxis();
    draw(true);
    mark();
    const hidden = trace.spans.length - lines.length;
    said.textContent = lines.length ? (hidden > 0 ? `${lines.length.toLocaleString("en")} lines of ${trace.spans.length.toLocaleString("en")} spans` : "") : "no such span";
  }

  const holds = (line) =>
    (line.span || !line.open) && line.spans.some((one) => one.id === state.span);

  function mark() {
    for (const row of body.children) row.setAttribute("aria-selected", String(Number(row.dataset.place) === chosen));
    const there = document.getElementById(`line-${chosen}`);
    if (there) grid.setAttribute("aria-activedescendant", there.id);
    else grid.removeAttribute("aria-activedescendant");
  }

  function reveal(place) {
    const top = place * LINE;
    const room = grid.clientHeight - head.offsetHeight - LINE;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top > grid.scrollTop + room) grid.scrollTop = top - room;
    draw(false);
  }

  // ---- what one chooses -------------------------------------------------------------------

  let later = 0;

  function select(place) {
    if (!lines.length) return;
    chosen = Math.max(0, Math.min(place, lines.length - 1));
    reveal(chosen);
    mark();
    const span = lines[chosen].spans[0];
    if (span.id === state.span) return;
    state.span = span.id;
    remember();
    clearTimeout(later);
    later = setTimeout(() => ask(span.id), LATER_MS);
  }

  async function ask(id) {
    try {
      const answer = await fetch(`${box.dataset.spans}/${id}`, { headers: { Accept: "text/html" } });
      if (new URL(answer.url).pathname === "/login") return location.reload();
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (state.span !== id) return undefined;
      panel.replaceChildren(...document.adoptNode(page.getElementById("span")).childNodes);
      panel.scrollTop = 0;
    } catch (error) {
      said.textContent = `The span cannot be read: ${error.message}`;
    }
    return undefined;
  }

  function change(what) {
    Object.assign(state, what);
    remember();
    drawAll();
    if (lines.length) reveal(chosen);
  }

  // Open or shut a line; of a fold it is remembered where it is open, as folds begin shut.
  function twist(place, open) {
    const line = lines[place];
    if (!(line.fold || line.twists) || line.open === open) return false;
    const id = line.fold ? line.fold.id : line.span.id;
    if (open === Boolean(line.fold)) state.closed.add(id);
    else state.closed.delete(id);
    remember();
    choose(); // lines before this one stay as they are
    draw(true);
    select(place);
    return true;
  }

  function remember() {
    const url = new URL(location.href);
    const put = (key, value, usual) => {
      if (value === usual) url.searchParams.delete(key);
      else url.searchParams.set(key, value);
    };
    put("span", state.span, "");
    put("find", state.find, "");
    put("show", state.show, "all");
    put("fold", state.fold, "yes");
    put("zoom", state.zoom, "");
    put("closed", [...state.closed].slice(0, CLOSED_MAX).join(","), "");
    history.replaceState(null, "", url);
    for (const link of document.querySelectorAll("a[data-as]")) {
      const to = new URL(url);
      to.searchParams.set("format", link.dataset.as);
      link.href = to.pathname + to.search;
    }
  }

  function go(id) {
    const span = trace.ids.get(id);
    if (!span) return;
    for (let up = span.parent; up; up = up.parent) state.closed.delete(up.id);
    for (let up = span; up; up = up.parent) {
      const fold = trace.folds.get(up);
      if (fold && up !== span) state.closed.add(fold.id);
    }
    state.span = id;
    remember();
    drawAll();
    if (!lines.some(holds)) change({ show: "all", find: "", span: id });
    reveal(chosen);
    ask(id);
  }

  // ---- hands ------------------------------------------------------------------------------

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !lines.length) return;
    const line = lines[chosen];
    const page = Math.max(1, Math.floor(grid.clientHeight / LINE) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -lines.length, End: lines.length };
    if (event.key in moves) select(chosen + moves[event.key]);
    else if (event.key === "ArrowRight") {
      if (!twist(chosen, true) && (line.fold || line.twists)) select(chosen + 1);
    } else if (event.key === "ArrowLeft") {
      if (!twist(chosen, false)) {
        let up = chosen;
        while (up > 0 && lines[up].depth >= line.depth) up -= 1;
        select(up);
      }
    } else if (event.key === "Enter") panel.focus();
    else if (event.key === "z") change({ zoom: state.zoom === state.span ? "" : state.span });
    else if (event.key === "/") tools.find.focus();
    else return;
    event.preventDefault();
  }

  function listen() {
    grid.addEventListener("scroll", () => requestAnimationFrame(() => { draw(false); mark(); }), { passive: true });
    grid.addEventListener("keydown", keys);
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") grid.focus();
    });
    body.addEventListener("click", (event) => {
      const row = event.target.closest(".fall");
      if (!row) return;
      const place = Number(row.dataset.place);
      if (event.target.closest(".twist")) twist(place, !lines[place].open);
      else select(place);
    });
    body.addEventListener("dblclick", (event) => {
      const row = event.target.closest(".fall");
      if (row) twist(Number(row.dataset.place), !lines[Number(row.dataset.place)].open);
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-span]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(link.dataset.span);
      box.scrollIntoView({ block: "nearest" });
    });
    new ResizeObserver(() => { drawAxis(); draw(false); mark(); }).observe(grid);
  }

  async function begin() {
    try {
      const answer = await fetch(box.dataset.rows, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      trace = read(await answer.json());
    } catch (error) {
      box.prepend(make("p", "warn", `The waterfall cannot be drawn (${error.message}); here are the spans as a table.`));
      return;
    }
    if (!trace.ids.has(state.span)) state.span = trace.roots.length ? trace.roots[0].id : "";
    build();
    drawAll();
    reveal(chosen);
    mark();
    listen();
    box.dataset.ready = "yes";
  }

  begin();
})();
