// What the pages need beside htmx: the theme, live updates, answers to actions, keys, the picture viewer.
"use strict";
(() => {
  const body = document.body;

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
    localStorage.setItem("theme", root.dataset.theme);
  });

  // Live: an event says that something has changed; each part that listens for "changed" then asks for itself.
  const mark = document.getElementById("live-mark");
  let source = null;
  const connect = () => {
    if (!body.dataset.events || source) return;
    source = new EventSource(body.dataset.events);
    let first = true;
    source.addEventListener("open", () => show(true));
    source.addEventListener("error", () => show(false));
    source.addEventListener("changed", () => {
      if (first && !body.dataset.late) { first = false; return; }
      first = false;
      delete body.dataset.late;
      refresh();
    });
  };
  const show = (works) => {
    mark.classList.toggle("broken", !works);
    if (!works) body.dataset.late = "yes";
    mark.title = works ? mark.dataset.title : body.dataset.broken;
  };
  const refresh = () => htmx.trigger(body, "changed");
  if (mark) mark.dataset.title = mark.title;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) {
      source.close();
      source = null;
      body.dataset.late = "yes";
    } else if (!document.hidden) connect();
  });
  window.addEventListener("pagehide", () => { if (source) source.close(); source = null; });
  window.addEventListener("pageshow", connect);
  connect();

  // Answers of actions, which are the API's: a sentence, or problem details.
  const toast = (text, bad) => {
    const line = document.createElement("p");
    line.className = bad ? "toast bad" : "toast";
    line.textContent = text;
    document.getElementById("toasts").append(line);
    setTimeout(() => line.remove(), bad ? 12000 : 6000);
  };
  body.addEventListener("htmx:afterRequest", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (!requestConfig || requestConfig.verb === "get" || !xhr.getResponseHeader("content-type")) return;
    if (!/json/.test(xhr.getResponseHeader("content-type"))) return;
    const answer = JSON.parse(xhr.responseText);
    const bad = xhr.status >= 400 || answer.works === false;
    toast(answer.text || answer.detail || answer.title, bad);
    const then = event.detail.elt.dataset.then;
    if (then && !bad) location.assign(then);
    else refresh();
  });
  body.addEventListener("htmx:sendError", () => toast(body.dataset.broken, true));

  // Forms whose answer is the API's: sent as JSON. What was typed stays where the node refuses it.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!("json" in form.dataset)) return;
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      const headers = { "Content-Type": "application/json", ...JSON.parse(body.getAttribute("hx-headers")) };
      const sent = await fetch(form.action, { method: "POST", headers, body: JSON.stringify(Object.fromEntries(new FormData(form))) });
      const answer = await sent.json();
      toast(sent.ok ? form.dataset.done : answer.errors?.[0]?.detail || answer.detail || answer.title, !sent.ok);
      if (sent.ok) form.reset();
      refresh();
    } catch { toast(body.dataset.broken, true); }
    button.disabled = false;
  });

  // The choice of a language takes effect at once, and leads back to what the page shows by now.
  document.addEventListener("change", (event) => {
    if (!("submit" in event.target.dataset)) return;
    event.target.form.elements.next.value = location.pathname + location.search;
    event.target.form.submit();
  });

  // Uploads: with their progress; the answer names the page that shows how the reading goes on.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!("upload" in form.dataset)) return;
    event.preventDefault();
    const [bar, told, button] = ["progress", "[role=alert]", "[type=submit]"].map((one) => form.querySelector(one));
    const say = (text) => { bar.hidden = true; told.hidden = false; told.textContent = text; button.disabled = false; };
    const sent = new XMLHttpRequest();
    sent.open("POST", form.action);
    for (const [name, value] of Object.entries(JSON.parse(body.getAttribute("hx-headers")))) sent.setRequestHeader(name, value);
    sent.upload.onprogress = (now) => { bar.value = now.loaded / now.total; };
    sent.onerror = () => say(body.dataset.broken);
    sent.onload = () => {
      const answer = JSON.parse(sent.responseText);
      if (sent.status === 202) location.assign(`/try/${answer.analysis_id}`);
      else say(answer.detail || answer.title);
    };
    [bar.hidden, told.hidden, button.disabled] = [false, true, true];
    sent.send(new FormData(form));
  });
  document.addEventListener("change", (event) => {
    const name = event.target.closest("[data-upload]")?.querySelector("[data-chosen]");
    if (name && event.target.type === "file") name.textContent = event.target.files[0]?.name ?? "";
  });

  // Several studies at once. What is selected stays when the list updates itself.
  const bulk = document.getElementById("bulk");
  const picked = new Set();
  let all = false;
  const filter = () => Object.fromEntries([...new URLSearchParams(location.search)].filter(([name, value]) => value && name !== "cursor" && name !== "order"));
  const showBulk = () => {
    if (!bulk) return;
    const filtered = Object.keys(filter()).length > 0;
    all = all && filtered;
    for (const box of document.querySelectorAll(".pick")) box.checked = all || picked.has(box.value);
    bulk.hidden = !picked.size && !filtered;
    bulk.querySelector("[data-bulk=all]").hidden = all || !filtered;
    bulk.querySelector("[data-bulk=none]").hidden = !all && !picked.size;
    for (const one of ["retry", "cancel", "discard"]) bulk.querySelector(`[data-bulk=${one}]`).disabled = !all && !picked.size;
    const told = bulk.querySelector("[data-count]");
    told.textContent = all ? told.dataset.all : told.dataset.count.replace("{count}", picked.size);
  };
  document.addEventListener("change", (event) => {
    if (!event.target.matches(".pick")) return;
    if (all) for (const box of document.querySelectorAll(".pick")) picked.add(box.value);
    all = false;
    event.target.checked ? picked.add(event.target.value) : picked.delete(event.target.value);
    showBulk();
  });
  const act = async (asked) => {
    const headers = { "Content-Type": "application/json", ...JSON.parse(body.getAttribute("hx-headers")) };
    const sent = await fetch("/api/v1/jobs/actions", { method: "POST", headers, body: JSON.stringify(asked) });
    const answer = await sent.json();
    if (!sent.ok) throw new Error(answer.detail || answer.title);
    return answer;
  };
  bulk?.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-bulk]");
    if (!button) return;
    const action = button.dataset.bulk;
    if (action === "all" || action === "none") {
      all = action === "all";
      picked.clear();
      showBulk();
      return;
    }
    const asked = { action, ...(all ? { filter: filter() } : { studies: [...picked] }) };
    try {
      const found = await act(asked);
      const sure = bulk.dataset.sure.replace("{action}", button.dataset.name).replace("{jobs}", found.jobs).replace("{studies}", found.studies);
      if (!found.jobs) toast(bulk.dataset.none);
      else if (confirm(found.more ? `${sure} ${bulk.dataset.further}` : sure)) {
        const done = await act({ ...asked, confirmed: found.jobs });
        toast(done.text, done.failed.length > 0);
        picked.clear();
        refresh();
        showBulk();
      }
    } catch (error) { toast(error.message || body.dataset.broken, true); }
  });
  body.addEventListener("htmx:afterSwap", showBulk);
  window.addEventListener("popstate", showBulk);
  showBulk();

  // Keys: / searches, j and k walk through the rows, x selects one, Escape leaves the search.
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      const search = document.getElementById("q");
      if (search) { event.preventDefault(); search.focus(); }
    }
    if (event.key === "x") document.activeElement.closest("tr")?.querySelector(".pick")?.click();
    if (event.key === "j" || event.key === "k") {
      const rows = [...document.querySelectorAll("a.row")];
      const at = rows.indexOf(document.activeElement);
      const next = rows[Math.min(rows.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
      if (next) next.focus();
    }
    const viewer = document.querySelector("[data-viewer]");
    if (viewer && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const thumbs = [...viewer.querySelectorAll("[data-picture]")];
      const at = thumbs.findIndex((one) => one.getAttribute("aria-current"));
      const next = thumbs[at + (event.key === "ArrowRight" ? 1 : -1)];
      if (next) next.click();
    }
  });

  // Pictures: a small one chosen is shown large. What was chosen stays when the page updates itself.
  const chosen = new Map();
  const choose = (viewer, thumb) => {
    const large = viewer.querySelector("a img");
    large.src = large.parentElement.href = thumb.dataset.picture;
    large.alt = thumb.getAttribute("aria-label");
    chosen.set(large.id, thumb.dataset.picture);
    for (const one of viewer.querySelectorAll("[data-picture]")) one.removeAttribute("aria-current");
    thumb.setAttribute("aria-current", "true");
  };
  document.addEventListener("click", (event) => {
    const more = event.target.closest("[data-more]");
    if (more) more.setAttribute("aria-expanded", more.closest("form").classList.toggle("open"));
    const thumb = event.target.closest("[data-picture]");
    if (thumb) choose(thumb.closest("[data-viewer]"), thumb);
  });
  const opened = new Set();
  document.addEventListener("toggle", (event) => {
    const name = event.target.querySelector && event.target.querySelector("summary")?.textContent;
    if (name) event.target.open ? opened.add(name) : opened.delete(name);
  }, true);
  body.addEventListener("htmx:afterSwap", () => {
    for (const viewer of document.querySelectorAll("[data-viewer]")) {
      const kept = chosen.get(viewer.querySelector("a img").id);
      const thumb = kept && [...viewer.querySelectorAll("[data-picture]")].find((one) => one.dataset.picture === kept);
      if (thumb) choose(viewer, thumb);
    }
    for (const part of document.querySelectorAll("#live details")) {
      if (opened.has(part.querySelector("summary").textContent)) part.open = true;
    }
  });
})();
