// The explorer alone, in a frame of a notebook. The page cannot see what is around it: the frame's height says dark or light.

async function main() {
  const dark = window.matchMedia(`(min-height: ${document.documentElement.dataset.darkFrom}px)`);
  const explorer = new Explorer(document.getElementById("explorer"), await embeddedRecords());
  const recolour = () => {
    document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
    explorer.show(explorer.frame);
  };
  dark.addEventListener("change", recolour);
  recolour();
  window.backpropRef = { explorer };
  document.documentElement.dataset.ready = "yes";
}

main().catch(failed);
