// A login proxy in front of the panel, as many companies use for a whole origin: without its cookie every request ends
// at the login page.

import { once } from "node:events";
import { createServer, request as ask } from "node:http";

const PAGE = "<!doctype html><html lang=\"en\"><title>Log in</title><h1>Log in</h1></html>";
export const SESSION = "session=4f1c2d";

export class Login {
  /** Forwarded requests, with their headers. */
  passed = [];
  /** Requests that ended at the login page. */
  turnedAway = [];
  #server;
  origin;

  /**
   * `how` selects the answer to a request without a session: "redirect" to a login page, the "page" itself, or "401".
   */
  static async start(panel, how = "redirect") {
    const login = new Login();
    const inside = new URL(panel);
    login.#server = createServer((comer, answer) => {
      const path = comer.url.split("?")[0];
      // The login page is the proxy's own, also for a user who has just logged in.
      if (path === "/login" || !comer.headers.cookie?.includes(SESSION)) {
        if (path === "/login" || how === "page") answer.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
        else if (how === "401") answer.writeHead(401, { "Content-Type": "text/html" }).end(PAGE);
        else answer.writeHead(302, { Location: "/login" }).end();
        if (path !== "/login") login.turnedAway.push(path);
        comer.resume();
        return;
      }
      login.passed.push({ path, headers: comer.headers });
      // Like a proxy that is configured for it: the panel sees its own host name.
      const headers = { ...comer.headers, host: inside.host };
      if (headers.origin) headers.origin = inside.origin;
      const further = ask(panel + comer.url, { method: comer.method, headers }, (back) => {
        answer.writeHead(back.statusCode, back.headers);
        back.pipe(answer);
      });
      further.on("error", () => answer.destroy());
      comer.pipe(further);
    });
    login.#server.listen(0, "127.0.0.1");
    await once(login.#server, "listening");
    login.origin = `http://127.0.0.1:${login.#server.address().port}`;
    return login;
  }

  async stop() {
    const closed = new Promise((done) => this.#server.close(done));
    this.#server.closeAllConnections();
    await closed;
  }
}
