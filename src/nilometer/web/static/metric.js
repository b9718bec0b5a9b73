// Charts of one metric: fetched as JSON, drawn by Bokeh, renewed in place while their time goes
// on. What is chosen by a box or a brush goes into the address, so that it can be shared; a
// cell of the heat map leads to the traces in it.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const SETTLED_MS = 400;
  const box = document.getElementById("charts");
  if (!box) return;
  const said = document.getElementById("charts-said");
  const zoomed = document.getElementById("zoomed");
  const pause = document.querySelector("[data-live-pause]");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const asked = location.search;
  let drawn = null; // document, range of time, how the charts are made up
  let whole = null; // the range that was asked for
  let settling = 0;
  let again = 0;
  let leaving = false;
  let isTouched = matchMedia("(pointer: coarse)").matches;

  const address = (more) => {
    const url = new URL(box.dataset.charts, location.href);
    for (const [key, value] of Object.entries(more)) url.searchParams.set(key, value);
    return url;
  };

  async function fetched(more) {
    const answer = await fetch(address(more), { headers: { Accept: "application/json" } });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      const error = new Error(told.detail || `status ${answer.status}`);
      error.isRefused = answer.status < 500; // asked again, it would be so again
      throw error;
    }
    return answer.json();
  }

  async function draw() {
    try {
      const told = await fetched({
        theme: dark.matches ? "dark" : "light",
        narrow: box.clientWidth < 600,
        touched: isTouched,
      });
      const before = drawn && isZoomed() ? [drawn.time.start, drawn.time.end] : null;
      box.replaceChildren();
      const views = await Bokeh.embed.embed_item(told.item, box.id);
      const root = views.roots ? views.roots[0] : [...views][0];
      const doc = root.model.document;
      drawn = { doc, time: doc.get_model_by_name("time"), fit: told.fit };
      whole = { start: drawn.time.start, end: drawn.time.end };
      if (before) drawn.time.setv({ start: before[0], end: before[1] });
      grip();
      touchable(box);
      drawn.time.change.connect(moved);
      const cells = doc.get_model_by_name("cells");
      if (cells) cells.selected.properties.indices.change.connect(() => follow(cells));
      said.hidden = true;
    } catch (error) {
      said.hidden = false;
      said.textContent = `The charts cannot be drawn: ${error.message}`;
      clearTimeout(again);
      if (!drawn && !error.isRefused) again = setTimeout(draw, EVERY_MS);
    }
  }

  // Up and down a finger scrolls the page, as if there were no chart under it; across it chooses
  // a time. Bokeh would have both, and nobody could get past the charts of a phone's page.
  function touchable(within) {
    for (const one of within.querySelectorAll("*")) {
      if (one.classList.contains("bk-events")) one.style.touchAction = "pan-y pinch-zoom";
      if (one.shadowRoot) touchable(one.shadowRoot);
    }
  }

  // On a screen that is touched beside a mouse: from the first touch on no box is drawn by a drag,
  // unless that is chosen above the chart, else a finger that scrolls would choose a time.
  function touchedFirst(event) {
    if (event.pointerType !== "touch" || !drawn) return;
    removeEventListener("pointerdown", touchedFirst, true);
    isTouched = true;
    for (const root of drawn.doc.roots())
      for (const model of root.references()) if (model.type === "BoxZoomTool") model.active = false;
  }

  // The brush rounds to dots of the screen: what differs by less than that was not chosen.
  const isZoomed = () => {
    const dot = (whole.end - whole.start) / Math.max(200, box.clientWidth);
    return Math.abs(drawn.time.start - whole.start) > 2 * dot || Math.abs(drawn.time.end - whole.end) > 2 * dot;
  };

  function moved() {
    clearTimeout(settling);
    settling = setTimeout(tell, SETTLED_MS);
  }

  const second = (ms, up) => {
    const whole_s = up ? Math.ceil(ms / 1000) : Math.floor(ms / 1000);
    return new Date(whole_s * 1000).toISOString().replace(".000", "");
  };

  // What covers all of the time would be moved by a drag in it: there one begins a new one.
  function grip() {
    const brush = drawn.doc.get_model_by_name("brush");
    if (brush) brush.movable = isZoomed() ? "x" : "none";
  }

  function tell() {
    grip();
    const url = new URL(location.href);
    if (isZoomed()) {
      url.searchParams.set("since", second(drawn.time.start, false));
      url.searchParams.set("until", second(drawn.time.end, true));
    } else {
      url.search = asked;
    }
    history.replaceState(null, "", url);
    for (const name of ["since", "until"]) {
      for (const field of document.getElementsByName(name)) field.value = url.searchParams.get(name) || "";
    }
    zoomed.hidden = !isZoomed();
    if (isZoomed()) {
      const words = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");
      zoomed.querySelector("[data-zoomed]").textContent = `${words(drawn.time.start)} to ${words(drawn.time.end)} UTC`;
      zoomed.querySelector("[data-zoomed-link]").href = url.href;
    }
  }

  // As heat.py does for the table of cells: what ended in the cell's time began so long before.
  function follow(cells) {
    const [at] = cells.selected.indices;
    if (at === undefined || leaving || !box.dataset.traces) return;
    const { left, right, low, high } = cells.data;
    const url = new URL(box.dataset.traces, location.href);
    const before_ms = Number(box.dataset.intervalMs) + high[at] / 1e6;
    url.searchParams.set("since", second(left[at] - before_ms, false));
    url.searchParams.set("until", second(right[at], true));
    url.searchParams.set(box.dataset.least, `${low[at]}ns`);
    if (box.dataset.most) url.searchParams.set(box.dataset.most, `${high[at]}ns`);
    leaving = true;
    location.assign(url);
  }

  async function renew() {
    const halted = document.hidden || (pause && pause.getAttribute("aria-pressed") === "true");
    if (drawn && !halted && !isZoomed()) {
      try {
        const told = await fetched({ plain: true });
        if (told.fit !== drawn.fit) await draw();
        else if (!isZoomed()) replace(told);
      } catch {
        // What is renewed beside the charts says that the collector does not answer.
      }
    }
    setTimeout(renew, EVERY_MS);
  }

  function replace(told) {
    for (const [name, columns] of Object.entries(told.columns)) {
      const source = drawn.doc.get_model_by_name(name);
      const data = Object.fromEntries(
        Object.entries(columns).map(([key, values]) => [key, key === "value" ? values.map((v) => v ?? NaN) : values]),
      );
      if (source) source.data = data;
      if (name === "line-0-0") {
        const overview = drawn.doc.get_model_by_name("overview");
        if (overview) overview.data = { at: data.at, value: data.value };
      }
    }
    whole = { start: told.since_ms, end: told.until_ms };
    for (const range of [drawn.time, drawn.doc.get_model_by_name("whole")]) {
      if (range) range.setv({ start: told.since_ms, end: told.until_ms, reset_start: told.since_ms, reset_end: told.until_ms });
    }
  }

  if (!isTouched) addEventListener("pointerdown", touchedFirst, true);
  zoomed.querySelector("[data-zoomed-all]").addEventListener("click", () => drawn.time.setv(whole));
  dark.addEventListener("change", draw);
  addEventListener("pageshow", () => {
    leaving = false; // who comes back finds the page as it was
  });
  draw().then(() => {
    if (pause) setTimeout(renew, EVERY_MS);
  });
})();
