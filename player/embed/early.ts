import { triesMoq } from "../engines/moq/chance.ts";
import { dialEarly, newSession } from "../engines/moq/dial.ts";
import { wantsOf } from "../engines/moq/opening.ts";
import { AUTO } from "../engines/quality.ts";
import { firstOf } from "../first.ts";
import { recallText } from "../memory.ts";
import { isYes, playbackOf } from "./place.ts";

// Stands in the page itself, before the player has come: the session that it will want is opened meanwhile.

const moq = firstOf(document)?.answer.moq;
const asked = new URLSearchParams(location.search).get("autoplay");
// Who has to press play first may never do so.
const plays = asked === null ? location.pathname.endsWith("/watch") : isYes(asked);
const choice = recallText("quality") ?? AUTO;
if (plays && moq && triesMoq({ moq, choice })) {
  // Where there is no player yet, its picture is as large as fits.
  const wants = wantsOf(moq, choice, Math.min(innerHeight, (innerWidth * 9) / 16) * devicePixelRatio);
  dialEarly({ base: playbackOf(location.pathname), way: moq, session: newSession(), wants });
}
