import { triesMoq } from "../engines/moq/chance.ts";
import { dialEarly, newSession } from "../engines/moq/dial.ts";
import { AUTO } from "../engines/quality.ts";
import { firstOf } from "../first.ts";
import { recallText } from "../memory.ts";
import { playbackOf } from "./place.ts";

// Stands in the page itself, before the player has come: the session that it will want is opened meanwhile.

const moq = firstOf(document)?.answer.moq;
const asked = new URLSearchParams(location.search).get("autoplay");
// Who has to press play first may never do so.
const plays = location.pathname.endsWith("/watch") ? asked === null || isYes(asked) : isYes(asked);
if (plays && moq && triesMoq({ moq, choice: recallText("quality") ?? AUTO }))
  dialEarly({ base: playbackOf(location.pathname), way: moq, session: newSession() });

function isYes(value: string | null): boolean {
  return value !== null && /^(|1|true|yes)$/i.test(value);
}
