import { cmcdOf, maxCmcdBytes, parseCmcd } from "../../services/lib/cmcd.ts";
import type { Target } from "./target.ts";

const text = new TextEncoder();

/** What players say of themselves, in a header, a query or a report. */
export const cmcd: Target = {
  name: "cmcd",
  seeds: [
    'bl=21300,br=3200,bs,cid="faec",d=4004,mtp=25400,nor="..%2Fa.m4v",ot=v,sf=h,sid="6e2fb550-c457-11e9-bb97-0800200c9a66",st=l,su',
    'bl=(4000;a 3100;v),br=(128;a 2400;v),e=t,ltc=1890,msd=640,mtp=(8000),pr=1.05,sid="a\\"b",sta=p,ts=1763846400123,v=2',
    "_HLS_msn=1&CMCD=br%3D2%2Csid%3D%22a%22&_HLS_part=3",
  ].map((line) => text.encode(line)),
  run: (bytes) => {
    const given = Buffer.from(bytes).toString("latin1");
    for (const said of [parseCmcd(given), cmcdOf(given, {}), cmcdOf("", { "cmcd-object": given })]) {
      for (const [key, value] of Object.entries(said ?? {})) {
        if (typeof value === "number" && !(value >= 0 && value <= 8.64e15))
          throw new Error(`${key} ${value}`);
        if (typeof value === "string" && (value.length > 64 || !/^[\x20-\x7e]+$/.test(value)))
          throw new Error(`${key} ${value}`);
      }
      if (given.length > 3 * maxCmcdBytes + 5 && Object.keys(said ?? {}).length > 0)
        throw new Error("more than any player says was read");
    }
  },
};
