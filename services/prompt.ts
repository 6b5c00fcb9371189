import { text } from "node:stream/consumers";
import { Failure } from "./lib/errors.ts";

/** What a person types without seeing it, or the first line of what is piped in. Throws `Failure` when it was given up. */
export async function readSecret(question: string): Promise<string> {
  const { stdin, stdout } = process;
  if (!stdin.isTTY) return (await text(stdin)).split(/\r?\n/, 1)[0]!;
  stdout.write(question);
  stdin.setRawMode(true).setEncoding("utf8").resume();
  try {
    let typed = "";
    for await (const piece of stdin.iterator({ destroyOnReturn: false }))
      for (const letter of String(piece)) {
        if (letter === "\r" || letter === "\n") return typed;
        // Ctrl-C and Ctrl-D reach a program that reads raw as letters.
        if (letter === "\u0003" || letter === "\u0004")
          throw new Failure("bad_request", "nothing was changed");
        if (letter === "\u007f" || letter === "\b") typed = [...typed].slice(0, -1).join("");
        else if (letter >= " ") typed += letter;
      }
    return typed;
  } finally {
    stdin.setRawMode(false).pause();
    stdout.write("\n");
  }
}
