// The built-in policy as native code, compiled once per test process: that takes an unoptimised relay one to two
// seconds of processor time, and every test starts a relay. The relay keeps the code in its data folder.

import { rmSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./processes.mjs";

/** The folder of compiled policies in a data folder. */
const POLICIES = "policies";

let compiled;

/** Creates a relay's data folder with the compiled policy in it. */
export async function dataWithCompiledPolicy(data) {
  compiled ??= compile();
  await mkdir(data, { mode: 0o700 });
  await cp(await compiled, join(data, POLICIES), { recursive: true });
  // The relay trusts a folder only if others cannot write to it.
  await chmod(join(data, POLICIES), 0o700);
}

/** Has a command compile the policy, and returns the folder that it is in. */
async function compile() {
  const folder = await mkdtemp(join(tmpdir(), "feedback-policy-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const [config, data] = [join(folder, "relay.toml"), join(folder, "data")];
  await mkdir(data, { mode: 0o700 });
  await writeFile(config, 'data_dir = "data"\n[[site]]\ndomain = "panel.example.com"\n[upstream]\nurl = "http://127.0.0.1:9"\n');
  await run(["scrub", "--config", config]);
  return join(data, POLICIES);
}
