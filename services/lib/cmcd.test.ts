import { expect, test } from "vitest";
import { cmcdOf, maxCmcdBytes, parseCmcd } from "./cmcd.ts";

test.for([
  {
    name: "version 1 as the standard shows it",
    text: 'bl=21300,br=3200,bs,cid="faec5fc2-ac30-11ea-bb37-0242ac130002",d=4004,mtp=25400,nor="..%2F300kbps%2Fsegment35.m4v",nrr="12323-48763",ot=v,rtp=15000,sf=h,sid="6e2fb550-c457-11e9-bb97-0800200c9a66",st=l,su,tb=6000',
    said: {
      ...{ bufferMs: 21300, bitrateKbps: 3200, starved: true, throughputKbps: 25400, format: "hls" },
      session: "6e2fb550-c457-11e9-bb97-0800200c9a66",
    },
  },
  {
    name: "a report of version 2",
    text: 'bl=(4000;a 3100;v),br=(128;a 2400;v),e=t,ltc=1890,msd=640,mtp=(8000),pr=1.05,sf=d,sid="a",sta=p,ts=1763846400123,v=2',
    said: {
      ...{ bufferMs: 3100, bitrateKbps: 2400, event: "t", latencyMs: 1890, startupMs: 640 },
      ...{ throughputKbps: 8000, playbackRate: 1.05, format: "dash", session: "a", state: "p" },
      atMs: 1763846400123,
    },
  },
  {
    name: "a comma, a quote and a backslash in a string",
    text: 'sid="a,b=\\"c\\\\",br=1',
    said: { session: 'a,b="c\\', bitrateKbps: 1 },
  },
  { name: "blanks around members", text: "br=1 , sf=h", said: { bitrateKbps: 1, format: "hls" } },
  {
    name: "a session without quotes",
    text: "sid=6e2f-b550,sf=s",
    said: { session: "6e2f-b550", format: "other" },
  },
  { name: "a boolean that is written out", text: "bs=?0,br=2", said: { bitrateKbps: 2 } },
  {
    name: "what is no number, negative, or beyond reason",
    text: "br=x,bl=-1,mtp=9999999999,pr=1e3,ltc=",
    said: {},
  },
  { name: "unknown words", text: "sf=z,sta=playing,e=toolong,xyz=1,com.example-k=5", said: {} },
  { name: "a session too long for the standard", text: `sid="${"x".repeat(65)}"`, said: {} },
  { name: "a session of other characters", text: 'sid="é"', said: {} },
  { name: "a string without an end", text: 'br=1,sid="abc,bl=2', said: { bitrateKbps: 1 } },
  { name: "a list without an end", text: "br=(1 2,bl=3", said: { bitrateKbps: 1 } },
  { name: "nothing", text: "", said: {} },
  { name: "more than any player says", text: `br=1,${"x".repeat(maxCmcdBytes)}`, said: {} },
])("$name", ({ text, said }) => expect(parseCmcd(text)).toEqual(said));

test.for([
  {
    name: "in the query, alone",
    query: "CMCD=br%3D1%2Csid%3D%22a%22",
    said: { bitrateKbps: 1, session: "a" },
  },
  { name: "behind directives", query: "_HLS_msn=1&CMCD=br%3D2&_HLS_part=3", said: { bitrateKbps: 2 } },
  { name: "another parameter that ends alike", query: "XCMCD=br%3D2", said: undefined },
  { name: "torn escapes", query: "CMCD=%zz", said: undefined },
  { name: "none", query: "_HLS_msn=1", said: undefined },
  {
    name: "in headers",
    query: "",
    headers: { "cmcd-session": 'sid="a",sf=h', "cmcd-object": "br=3,ot=v", "cmcd-status": "bs" },
    said: { session: "a", format: "hls", bitrateKbps: 3, starved: true },
  },
])("$name", ({ query, headers = {}, said }) => expect(cmcdOf(query, headers)).toEqual(said));
