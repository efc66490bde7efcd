// A small web server for pages other than the demo's: another customer's page, and a broken one.

import { once } from "node:events";
import { createServer } from "node:http";

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8" };

export class Pages {
  #files = new Map();
  #server;
  origin;

  /** Starts one on loopback. Another host name makes it another site. */
  static async start(host = "127.0.0.1") {
    const pages = new Pages();
    pages.#server = createServer((request, response) => {
      const file = pages.#files.get(new URL(request.url, "http://pages").pathname);
      if (!file) {
        response.writeHead(404).end();
        return;
      }
      response.writeHead(200, { "Content-Type": file.type, "Cache-Control": "no-store", ...file.headers }).end(file.text);
    });
    pages.#server.listen(0, "127.0.0.1");
    await once(pages.#server, "listening");
    pages.origin = `http://${host}:${pages.#server.address().port}`;
    return pages;
  }

  /** Publishes a file and returns its URL. */
  put(path, text, headers = {}) {
    this.#files.set(path, { text, headers, type: TYPES[path.split(".").pop()] });
    return `${this.origin}${path}`;
  }

  async stop() {
    const closed = new Promise((done) => this.#server.close(done));
    this.#server.closeAllConnections();
    await closed;
  }
}
