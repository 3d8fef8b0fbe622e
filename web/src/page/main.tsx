import "maplibre-gl/dist/maplibre-gl.css";
import "./style.css";
import { render } from "preact";
import { listen, loadJobs } from "./actions/jobs";
import { keepLink, openLink } from "./actions/link";
import { loadLibrary } from "./actions/open";
import { fail } from "./actions/run";
import { enter } from "./api";
import { connect } from "./effects";
import { App } from "./parts/App";
import { listenToKeys } from "./shortcuts";

async function begin(): Promise<void> {
  connect();
  try {
    await enter();
    await loadLibrary();
    await loadJobs();
    await openLink();
    listen();
  } catch (error) {
    fail(error);
  }
  keepLink();
  listenToKeys();
}

render(<App started={() => void begin()} />, document.getElementById("app")!);
