import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type AcmeFake, openAcmeFake } from "../../support/acme-fake.ts";
import { type Sluice, startSluice } from "../../support/sluice.ts";

// Shows that OBS publishes over RTMPS to a certificate that it trusts, and refuses one that it does not. As root on Debian, with obs-studio and xvfb:
//   node infra/launch.mjs test/conformance/outside/obs-rtmps.ts
// For its run the machine trusts an authority of the test's own and knows one more name; both are taken back at the end.

const domain = "obs.example.test";
const anchor = "/usr/local/share/ca-certificates/sluice-obs-test.crt";
const display = ":97";
const patienceMs = 40_000;

const folder = mkdtempSync(join(tmpdir(), "sluice-obs-"));
const hosts = readFileSync("/etc/hosts", "utf8");
let fake: AcmeFake | undefined;
let sluice: Sluice | undefined;
try {
  appendFileSync("/etc/hosts", `127.0.0.1 ${domain}\n`);
  const portOf = (url: string) => Number(new URL(url).port);
  fake = await openAcmeFake({
    ports: () => ({ http: portOf(sluice!.ready.http), tls: portOf(sluice!.ready.https) }),
  });
  sluice = await startSluice({ args: ["--domain", domain, "--acme-directory", fake.directory] });
  await sluice.said(/certificate issued[\s\S]*certificate reloaded[\s\S]*certificate reloaded/);
  say("a certificate is there", await publishes(10_000), "refused by OBS, which does not know who signed it");
  writeFileSync(anchor, fake.root);
  execFileSync("update-ca-certificates", { stdio: "ignore" });
  say("OBS knows who signed it", !(await publishes(patienceMs)), "OBS is on air over RTMPS");
} finally {
  writeFileSync("/etc/hosts", hosts);
  rmSync(anchor, { force: true });
  execFileSync("update-ca-certificates", ["--fresh"], { stdio: "ignore" });
  await sluice?.stop();
  await fake?.close();
  rmSync(folder, { recursive: true, force: true });
}

function say(when: string, wrong: boolean, right: string): void {
  console.log(`${wrong ? "✗ not so" : "✓"}: ${when}: ${right}`);
  if (wrong) process.exitCode = 1;
}

/** Whether a real OBS comes on air within the time; it is ended in any case. */
async function publishes(ms: number): Promise<boolean> {
  const { ready } = sluice!;
  const { port } = new URL(ready.rtmps.replace("rtmps:", "https:"));
  const home = profile(`rtmps://${domain}:${port}/live`, ready.streamKey);
  const screen = spawn("Xvfb", [display, "-screen", "0", "1280x800x24", "-nolisten", "tcp"], {
    stdio: "ignore",
  });
  await wait(1_000);
  const args = [
    "--multi",
    "--profile",
    "test",
    "--collection",
    "test",
    "--startstreaming",
    "--minimize-to-tray",
  ];
  const obs = spawn("obs", [...args, "--disable-updater", "--disable-missing-files-check", "--verbose"], {
    env: {
      ...process.env,
      ...{ HOME: home, XDG_CONFIG_HOME: join(home, ".config"), XDG_RUNTIME_DIR: join(home, "run") },
      ...{ DISPLAY: display, LIBGL_ALWAYS_SOFTWARE: "1", QT_QPA_PLATFORM: "xcb" },
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  for (const output of [obs.stdout, obs.stderr])
    output.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
  const until = performance.now() + ms;
  let live = false;
  while (!live && performance.now() < until) {
    await wait(500);
    const answer = await fetch(`${ready.http}/${ready.uid}/lifecycle`);
    ({ live } = (await answer.json()) as { live: boolean });
  }
  for (const line of log
    .split("\n")
    .filter((one) => /rtmp|tls|certificate|connect/i.test(one))
    .slice(-8))
    console.log(`  OBS: ${line.trim()}`);
  obs.kill("SIGINT");
  const late = setTimeout(() => obs.kill("SIGKILL"), 5_000);
  if (obs.exitCode === null && obs.signalCode === null)
    await new Promise((resolve) => obs.once("exit", resolve));
  clearTimeout(late);
  screen.kill();
  return live;
}

/** A home folder in which OBS has been set up for a custom server. */
function profile(server: string, key: string): string {
  const home = mkdtempSync(join(folder, "home-"));
  const config = join(home, ".config/obs-studio");
  for (const one of ["basic/profiles/test", "basic/scenes"])
    mkdirSync(join(config, one), { recursive: true });
  mkdirSync(join(home, "run"), { mode: 0o700 });
  const ini = (sections: Record<string, Record<string, string | number>>) =>
    Object.entries(sections)
      .map(
        ([name, values]) =>
          `[${name}]\n${Object.entries(values)
            .map(([k, v]) => `${k}=${v}\n`)
            .join("")}`,
      )
      .join("");
  writeFileSync(
    join(config, "global.ini"),
    ini({
      General: { FirstRun: "true", LastVersion: 486539266, InfoIncrement: 0, EnableAutoUpdates: "false" },
      Basic: { Profile: "test", ProfileDir: "test", SceneCollection: "test", SceneCollectionFile: "test" },
      BasicWindow: { WarnBeforeStartingStream: "false", WarnBeforeStoppingStream: "false" },
    }),
  );
  writeFileSync(
    join(config, "basic/profiles/test/basic.ini"),
    ini({
      General: { Name: "test" },
      Video: { BaseCX: 640, BaseCY: 360, OutputCX: 640, OutputCY: 360, FPSType: 0, FPSCommon: 30 },
      Output: { Mode: "Simple", Reconnect: "true", RetryDelay: 2, MaxRetries: 25 },
      SimpleOutput: { StreamEncoder: "x264", VBitrate: 800, ABitrate: 96, Preset: "ultrafast" },
    }),
  );
  writeFileSync(
    join(config, "basic/profiles/test/service.json"),
    JSON.stringify({ type: "rtmp_custom", settings: { server, key, use_auth: false, bwtest: false } }),
  );
  writeFileSync(
    join(config, "basic/scenes/test.json"),
    JSON.stringify({
      ...{ name: "test", current_scene: "S", current_program_scene: "S", scene_order: [{ name: "S" }] },
      ...{ current_transition: "Cut", transition_duration: 300, sources: [sceneOf("S")] },
    }),
  );
  return home;
}

function sceneOf(name: string) {
  return {
    ...{ id: "scene", versioned_id: "scene", name, uuid: "00000000-0000-0000-0000-000000000004" },
    ...{ settings: { id_counter: 0, custom_size: false, items: [] }, enabled: true },
  };
}
