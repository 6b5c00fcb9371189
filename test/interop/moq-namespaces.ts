import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { findRedis } from "../../services/supervisor/programs.ts";
import { descendants } from "../bench/processes.ts";
import { publish } from "../support/ffmpeg.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

// The origin and two relays, each in a network namespace of its own behind a bridge, on links of 1500 bytes: what a relay that is
// killed, and one whose link is cut, cost a viewer behind it. `node infra/launch.mjs test/interop/moq-namespaces.ts`, as root on Linux.

const bridge = "sluicebr";
const net = "10.77.44";
const names = ["origin", "near", "far"] as const;
const [control, udp] = [7_001, 8_443];
const secret = "a long text that every machine knows";
const addressOf = (index: number) => `${net}.${index + 1}`;
const nodeOf = (index: number) => `${addressOf(index)}:${udp}`;
const track = "source.0";

const ip = (...args: string[]) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "pipe"] });
const quietly = (run: () => unknown) => {
  try {
    run();
    return true;
  } catch {
    return false;
  }
};

function layOut(): void {
  ip("link", "add", bridge, "type", "bridge");
  ip("addr", "add", `${net}.254/24`, "dev", bridge);
  ip("link", "set", bridge, "up");
  for (const [index, name] of names.entries()) {
    const space = `sluice-${name}`;
    ip("netns", "add", space);
    ip("link", "add", `sl-${name}`, "type", "veth", "peer", "name", "eth0", "netns", space);
    ip("link", "set", `sl-${name}`, "master", bridge, "up");
    ip("-n", space, "addr", "add", `${addressOf(index)}/24`, "dev", "eth0");
    for (const device of ["lo", "eth0"]) ip("-n", space, "link", "set", device, "up");
  }
}

function clear(): void {
  for (const name of names) quietly(() => ip("netns", "del", `sluice-${name}`));
  quietly(() => ip("link", "del", bridge));
}

async function startRedis() {
  const bind = ["--bind", `${net}.254`, "--port", "6379", "--protected-mode", "no", "--save", ""];
  const child = spawn(findRedis()!, bind, { stdio: ["ignore", "pipe", "ignore"] });
  await once(child.stdout, "data");
  return child;
}

/** How long nothing has come of the track at most, in ms, since the last call. */
function silenceOf(viewer: MoqViewer) {
  const count = () => (viewer.tracks.get(track) ?? []).reduce((sum, { objects }) => sum + objects.length, 0);
  let [longest, last, seen] = [0, performance.now(), count()];
  const timer = setInterval(() => {
    const now = performance.now();
    if (count() > seen) [seen, last] = [count(), now];
    longest = Math.max(longest, now - last);
  }, 5);
  return {
    count,
    take() {
      const found = Math.round(longest);
      longest = 0;
      return found;
    },
    end: () => clearInterval(timer),
  };
}

async function main(): Promise<number> {
  clear();
  if (!quietly(layOut)) {
    clear();
    console.log("SKIPPED: network namespaces cannot be made here; this needs Linux, ip and root");
    return 0;
  }
  const machines: Sluice[] = [];
  const redis = await startRedis();
  let encoder: ReturnType<typeof publish> | undefined;
  try {
    const start = async (index: number, more: Readonly<Record<string, string>>) => {
      const machine = await startSluice({
        namespace: `sluice-${names[index]}`,
        args: ["--moq-port", `${udp}`],
        env: {
          SLUICE_MOQ: "true",
          SLUICE_CONTROL_ADDRESS: `http://${addressOf(0)}:${control}`,
          SLUICE_REDIS_URL: `redis://${net}.254:6379`,
          SLUICE_INTERNAL_SECRET: secret,
          SLUICE_RELAY_NODE: nodeOf(index),
          ...more,
        },
      });
      machines.push(machine);
      return machine;
    };
    const origin = await start(0, {});
    const { rtmp, http, streamKey, uid } = origin.ready;
    const there = (url: string) => url.replace(/127\.0\.0\.1|localhost|0\.0\.0\.0/, addressOf(0));
    encoder = publish({ url: `${there(rtmp!)}/${streamKey}`, gop: 1 });
    const near = await start(1, { SLUICE_ROLES: "relay", SLUICE_RELAY_COSTS: `${nodeOf(0)}=1` });
    const costs = `${nodeOf(0)}=1000,${nodeOf(1)}=1`;
    await start(2, { SLUICE_ROLES: "relay", SLUICE_RELAY_COSTS: costs });
    await wayTo({ http: there(http) }, uid!);
    const netem = ["qdisc", "add", "dev", "sl-near", "root", "netem", "delay", "25ms", "loss", "1%"];
    const shaped = quietly(() => execFileSync("tc", netem, { stdio: "ignore" }));
    console.log(
      shaped ? "netem: 25 ms and 1 % loss to the near relay" : "netem: not to be had on this kernel",
    );
    const viewer = await MoqViewer.open(
      { port: udp, hashes: [], namespace: uid! },
      ...([`/${uid}`, "moqt-16", { host: addressOf(2) }] as const),
    );
    while (!viewer.tracks.get(track)?.length) {
      viewer.subscribe(uid!, track);
      await wait(300);
    }
    const silence = silenceOf(viewer);
    await wait(5_000);
    const calm = silence.take();
    const [pid] = descendants(near.pid, "role relay");
    process.kill(near.pid, "SIGKILL");
    process.kill(pid!, "SIGKILL");
    await wait(4_000);
    const killed = silence.take();
    await start(1, { SLUICE_ROLES: "relay", SLUICE_RELAY_COSTS: `${nodeOf(0)}=1` });
    // The cheaper way is taken again as soon as it is heard of.
    await wait(3_000);
    const back = silence.take();
    ip("link", "set", "sl-near", "down");
    await wait(5_000);
    const cut = silence.take();
    silence.end();
    const rows = {
      undisturbed: calm,
      "the near relay killed": killed,
      "the near relay back": back,
      "its link cut": cut,
    };
    for (const [name, ms] of Object.entries(rows)) console.log(`${name}: nothing came for ${ms} ms at most`);
    const groups = viewer.tracks.get(track)!.slice(0, -2);
    const whole = groups.filter(
      ({ objects, state }) => state === "whole" && objects.every(({ object }, i) => object === i),
    );
    console.log(`${whole.length} of ${groups.length} groups are whole, ${silence.count()} objects`);
    viewer.close();
    return Math.max(...Object.values(rows)) < 2_000 && viewer.done.size === 0 ? 0 : 1;
  } finally {
    await encoder?.kill();
    ip("link", "set", "sl-near", "up");
    await Promise.all(machines.map((machine) => machine.stop().catch(() => undefined)));
    redis.kill();
    clear();
  }
}

process.exit(await main());
