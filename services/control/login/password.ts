import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

const derive = promisify(argon2);

/** The second recommended option of RFC 9106 4: 64 MiB, three passes, four lanes. */
const cost = { memoryKiB: 65_536, passes: 3, lanes: 4 } as const;
const saltBytes = 16;
const tagBytes = 32;
/** Costs what a right one costs, so that the time says nothing about whether there is a password. */
const nobody = `$argon2id$v=19$m=${cost.memoryKiB},t=${cost.passes},p=${cost.lanes}$${"A".repeat(22)}$${"A".repeat(43)}`;
const form = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([\w+/]{11,86})\$([\w+/]{43,86})$/;

/** The setting of the store that holds the administrator's, hashed. */
export const passwordSetting = "admin_password";

const leastLetters = 10;
const mostBytes = 256;

/** Each takes 64 MiB, so there is one at a time however many are asked for. */
let last: Promise<unknown> = Promise.resolve();

/** What is wrong with a new password, as a sentence; undefined when it will do. */
export function weakness(password: string): string | undefined {
  if ([...password].length < leastLetters) return `password must have at least ${leastLetters} characters.`;
  if (Buffer.byteLength(password) > mostBytes) return `password must be at most ${mostBytes} bytes.`;
  if (new Set(password).size < 4) return "password must not be the same few characters again and again.";
  return undefined;
}

/** The password as argon2id leaves it, in the PHC string format with its salt and cost. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltBytes);
  const tag = await tagOf(password, { salt, ...cost });
  return `$argon2id$v=19$m=${cost.memoryKiB},t=${cost.passes},p=${cost.lanes}$${base64(salt)}$${base64(tag)}`;
}

/** Whether `hash` is of this password; takes as long and answers false where there is no hash. */
export async function passwordIs(password: string, hash: string | undefined): Promise<boolean> {
  const [, memory, passes, lanes, salt, known] = (form.exec(hash ?? nobody) ?? form.exec(nobody)) as string[];
  const tag = await tagOf(password.slice(0, 4 * mostBytes), {
    salt: Buffer.from(salt!, "base64"),
    memoryKiB: Number(memory),
    passes: Number(passes),
    lanes: Number(lanes),
  });
  const wanted = Buffer.from(known!, "base64");
  return wanted.length === tag.length && timingSafeEqual(wanted, tag) && hash !== undefined;
}

function tagOf(
  password: string,
  how: {
    readonly salt: Buffer;
    readonly memoryKiB: number;
    readonly passes: number;
    readonly lanes: number;
  },
): Promise<Buffer> {
  const run = () =>
    // One letter may be typed as several code points; the same letter is the same password.
    derive("argon2id", {
      message: Buffer.from(password.normalize("NFKC")),
      nonce: how.salt,
      memory: how.memoryKiB,
      passes: how.passes,
      parallelism: how.lanes,
      tagLength: tagBytes,
    }) as Promise<Buffer>;
  const next = last.then(run, run);
  last = next.catch(() => undefined);
  return next;
}

function base64(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}
