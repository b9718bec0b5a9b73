// Renews a page's parts while one looks at it: elements with an id and `data-live` are taken
// from the same address, fetched again. What did not change is not touched, so nothing flickers.
// A page that includes live.html is renewed. A part with `data-late` lacks what takes longer: it
// is asked for at once, with the parameter of that name.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const button = document.querySelector("[data-live-pause]");
  const late = document.querySelector("[data-late]")?.dataset.late;
  if (!button && !late) return;
  const said = document.querySelector("[data-live-said]");
  let paused = false;
  let timer = 0;
  let asking = null;

  const say = (text) => {
    if (said && said.textContent !== text) said.textContent = text;
  };

  const plan = () => {
    clearTimeout(timer);
    const isDue = button || document.querySelector("[data-late]"); // that was in vain so far
    if (isDue && !paused && !document.hidden) timer = setTimeout(renew, EVERY_MS);
  };

  const address = () => {
    const url = new URL(location.href);
    if (late) url.searchParams.set(late, "true");
    return url;
  };

  async function renew() {
    asking = new AbortController();
    try {
      const answer = await fetch(address(), { signal: asking.signal, headers: { Accept: "text/html" } });
      if (answer.redirected && new URL(answer.url).pathname === "/login") {
        location.reload();
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      say(!paused && replace(page) ? "Not renewed while you write or select here" : "");
    } catch (error) {
      if (error.name !== "AbortError") say("The collector does not answer; trying again");
    }
    asking = null;
    plan();
  }

  // Whether there is something new that was not shown.
  function replace(page) {
    let isLeft = false;
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const now = page.getElementById(part.id);
      if (!now || now.isEqualNode(part)) continue;
      const renewed = renewPart(part, now);
      if (renewed) renewed.dispatchEvent(new CustomEvent("renewed", { bubbles: true }));
      else isLeft = true;
    }
    return isLeft;
  }

  document.addEventListener("visibilitychange", plan);
  if (late) renew();
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
    if (paused && asking) asking.abort();
    if (paused) plan();
    else renew();
  });
  if (!late) plan();
})();
