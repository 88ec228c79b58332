import { render } from "preact";
import { speakFor } from "../api";
import { Page } from "./page";

const place = document.querySelector<HTMLElement>("[data-island=annotate]");
const start = document.getElementById("annotate-start")?.textContent;
if (place && start) {
  const { api, home, name, login, person } = JSON.parse(start) as {
    api: string;
    home: string;
    name: string;
    login: string;
    person: string;
  };
  speakFor(person);
  place.replaceChildren();
  render(
    <>
      <h1 class="sr">{name}</h1>
      <Page api={api} home={home} login={login} person={person} />
    </>,
    place,
  );
}
