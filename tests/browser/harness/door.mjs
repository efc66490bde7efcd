// A counting proxy in front of the receiver: proves that no connection was made.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Door {
  connections = 0;
  #server;
  #open = new Set();

  /** Forwards connections to `port`, and counts them. */
  static async start(port) {
    const door = new Door();
    door.#server = createServer((comer) => {
      door.connections += 1;
      const inside = connect(port, "127.0.0.1");
      for (const socket of [comer, inside]) {
        door.#open.add(socket);
        socket.once("close", () => door.#open.delete(socket));
      }
      comer.on("error", () => inside.destroy());
      inside.on("error", () => comer.destroy());
      comer.pipe(inside).pipe(comer);
    });
    door.#server.listen(0, "127.0.0.1");
    await once(door.#server, "listening");
    return door;
  }

  get address() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  async stop() {
    const closed = new Promise((done) => this.#server.close(done));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}
