// Pointer comfort only: an immediate tip for every mark, and a button to copy a command. The page is complete without it.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest && event.target.closest(".mark");
    const title = mark && mark.querySelector("title");
    tip.hidden = !title;
    if (title) tip.textContent = title.textContent;
  });
  document.addEventListener("pointermove", (event) => {
    const left = Math.min(event.pageX + 14, window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${left}px`;
    tip.style.top = `${event.pageY + 16}px`;
  });
  for (const command of navigator.clipboard ? document.querySelectorAll(".command") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    command.append(button);
  }
})();
