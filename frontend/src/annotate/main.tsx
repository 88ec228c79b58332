import { render } from "preact";
import { Page } from "./page";

const place = document.querySelector<HTMLElement>("[data-island=annotate]");
const given = document.getElementById("annotate-start")?.textContent;
if (place && given) {
  const { api, home, name } = JSON.parse(given) as { api: string; home: string; name: string };
  place.replaceChildren();
  render(<><h1 class="sr">{name}</h1><Page api={api} home={home} /></>, place);
}
