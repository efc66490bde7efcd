// The relay's processes: started and stopped through their own handles, and never left behind.

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

const START_MS = 30_000;
const STOP_MS = 10_000;
// Below the ephemeral port range (from 32768 on Linux), so that no connection takes one while a process is away for a
// moment.
const PORTS = { first: 20_000, count: 12_000 };

const root = fileURLToPath(new URL("../../..", import.meta.url));
export const relayBinary = resolve(root, process.env.FEEDBACK_RELAY_BIN ?? "target/debug/feedback-relay");

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]]) process.once(signal, () => process.exit(code));

/**
 * A port that is free now and can be bound again later. Files of tests run in several processes: each keeps the UDP port
 * of the same number, so that no other is given a port that its process is yet to listen on.
 */
export async function freePort() {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const reservation = createSocket("udp4").unref();
    if (!(await binds(reservation, () => reservation.bind(port, "127.0.0.1")))) continue;
    const server = createServer();
    const isFree = await binds(server, () => server.listen(port, "127.0.0.1"));
    server.close();
    if (isFree) return port;
  }
}

/** Whether the address of a server or socket was free. */
function binds(socket, bind) {
  return new Promise((answer) => {
    socket.once("error", () => answer(false)).once("listening", () => answer(true));
    bind();
  });
}

/** A process that runs until it is stopped. */
export class Service {
  #process;
  #log;
  #ended;

  /** Starts it and waits for a line `ready <listener> <url>` for each listener. */
  static async start(args, listeners, log) {
    const service = new Service();
    service.#log = log;
    service.#process = spawn(relayBinary, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, RUST_LOG: "info" } });
    // Unlike "exit", "close" comes when the log is complete.
    service.#ended = once(service.#process, "close");
    running.add(service.#process);
    service.#process.once("exit", () => running.delete(service.#process));
    service.#process.stderr.setEncoding("utf8").on("data", (text) => log.push(text));
    await service.#ready(args[0], listeners);
    return service;
  }

  async #ready(name, listeners) {
    const missing = new Set(listeners);
    const lines = createInterface({ input: this.#process.stdout });
    const listening = new Promise((done) => {
      lines.on("line", (line) => {
        this.#log.push(`${line}\n`);
        const [, listener] = /^ready (.+) https?:\/\/\S+$/.exec(line) ?? [];
        missing.delete(listener);
        if (missing.size === 0) done();
      });
    });
    const gone = this.#ended.then(([code, signal]) => {
      throw new Error(`${name} ended before it was ready (${signal ?? code}):\n${this.#log.join("")}`);
    });
    await bounded(Promise.race([listening, gone]), START_MS, `${name} to be ready`);
    // From here on the waiting code handles the end of the process.
    gone.catch(() => {});
  }

  /** Asks it to stop, and returns its exit code. */
  async stop() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill("SIGTERM");
    const [code, signal] = await bounded(this.#ended, STOP_MS, "a process to stop");
    return signal ?? code;
  }

  /** Kills it like a crash or a power cut: without a chance to clean up. */
  async kill() {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }
}

/** Runs a command of the relay to its end and returns its output. */
export async function run(args, input = "") {
  const child = spawn(relayBinary, args, { stdio: ["pipe", "pipe", "pipe"] });
  running.add(child);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text));
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const [code] = await bounded(once(child, "close"), START_MS, `${args[0]} to end`);
  running.delete(child);
  if (code !== 0) throw new Error(`feedback-relay ${args.join(" ")} ended with ${code}:\n${said}`);
  return said;
}

async function bounded(promise, ms, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited ${ms / 1000} s in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
