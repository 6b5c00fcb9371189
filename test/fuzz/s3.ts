import { BadMedia } from "../../services/packager/bad-media.ts";
import { parseListing, parseRefusal } from "../../services/storage/answers.ts";
import type { Target } from "./target.ts";

const text = new TextEncoder();

/** What a bucket answers in XML. */
export const s3: Target = {
  name: "s3",
  seeds: [
    `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated><Contents><Key>a%2Fb+c</Key><ETag>&quot;x&quot;</ETag><Size>12</Size></Contents><Contents><Key>d</Key><Size>0</Size></Contents><NextContinuationToken>t/&amp;=</NextContinuationToken></ListBucketResult>`,
    "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
    "<Error><Code>NoSuchBucket</Code><Message>&#x41;&#66; it&apos;s</Message><Region>eu-west-1</Region></Error>",
  ].map((xml) => text.encode(xml)),
  run: (bytes) => {
    const xml = Buffer.from(bytes).toString();
    const page = parseListing(xml);
    for (const { key, bytes: size } of page?.objects ?? [])
      if (key === "" || !Number.isSafeInteger(size)) throw new Error(`${key} of ${size}`);
    const refusal = parseRefusal(xml);
    if (refusal && refusal.code.length + refusal.message.length > 600) throw new Error("too long for a log");
    if (!page && !refusal) throw new BadMedia("bad_flv", "not an answer");
  },
};
