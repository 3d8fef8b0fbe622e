import "maplibre-gl/dist/maplibre-gl.css";
import "./style.css";
import { render } from "preact";

render(<main>earthwords</main>, document.getElementById("app")!);
