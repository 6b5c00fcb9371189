import { mostTriplets, type Triplets, together } from "./codec/a53.ts";

/** CC1 to CC4 of CEA-608, SERVICE1 to SERVICE63 of CEA-708: INSTREAM-ID (rfc8216bis 4.4.6.1). */
export type Channel = string;

/** How long captions wait for the rungs of their pictures, in ticks of 90,000. */
const keptTicks = 10 * 90_000;
/** Pictures further apart than this are not two that follow each other: what lies between is not theirs. */
const nearTicks = 90_000 / 4;
/** Bytes of a packet of CEA-708 at the most (CTA-708-E 5). */
const maxPacket = 128;
/** Damage must not turn into a menu of 63 languages. */
const maxServices = 6;

/** Each once, in the order of their numbers: CEA-608 before CEA-708. */
export function inOrder(channels: Iterable<Channel>): Channel[] {
  const place = (channel: Channel): number =>
    Number(/\d+$/.exec(channel)) + (channel.startsWith("S") ? 4 : 0);
  return [...new Set(channels)].sort((a, b) => place(a) - place(b));
}

interface Captioned {
  readonly pts: number;
  readonly triplets: Triplets;
}

/** The captions that come with the pictures of one source: which channels there are, and what belongs to which picture. */
export class CaptionTrail {
  #kept: Captioned[] = [];
  /** How many of these have been heard: in the order in which they are shown, pictures come reordered. */
  #heard = 0;
  readonly #fields = new Set<Channel>();
  readonly #services = new Set<number>();
  #packet: number[] = [];
  #channels: readonly Channel[] = [];

  /** All channels so far, in the order of their numbers. The same array until there is another one. */
  get channels(): readonly Channel[] {
    return this.#channels;
  }

  /** Those of the next picture in decoding order. True when there is a channel that was not there. */
  add({ dts, pts, triplets }: Captioned & { readonly dts: number }): boolean {
    let at = this.#kept.length;
    while (at > this.#heard && this.#kept[at - 1]!.pts > pts) at--;
    this.#kept.splice(at, 0, { pts, triplets });
    const before = this.#fields.size + this.#services.size;
    // What is still to come is shown after the time at which this one is decoded.
    for (let next = this.#kept[this.#heard]; next && next.pts <= dts; next = this.#kept[this.#heard]) {
      this.#hear(next.triplets);
      this.#heard++;
    }
    const old = this.#kept.findIndex((one) => one.pts >= pts - keptTicks);
    if (old > 0) {
      this.#kept.splice(0, old);
      this.#heard = Math.max(0, this.#heard - old);
    }
    if (before === this.#fields.size + this.#services.size) return false;
    this.#channels = inOrder([...this.#fields, ...[...this.#services].map((number) => `SERVICE${number}`)]);
    return true;
  }

  /**
   * What a picture made of the one shown at `pts` should carry: that one's captions, and those of pictures that were left out
   * since the one `before`. Undefined for none.
   */
  upTo(pts: number, before: number | undefined): Triplets | undefined {
    const from = before === undefined || pts - before > nearTicks || before >= pts ? pts - 1 : before;
    const found: Triplets[] = [];
    for (let i = this.#kept.length - 1; i >= 0; i--) {
      const one = this.#kept[i]!;
      if (one.pts <= from) break;
      if (one.pts <= pts) found.unshift(one.triplets);
    }
    return together(found)?.subarray(0, 3 * mostTriplets);
  }

  #hear(triplets: Triplets): void {
    for (let at = 0; at + 2 < triplets.length; at += 3) {
      const type = triplets[at]! & 3;
      const [a, b] = [triplets[at + 1]!, triplets[at + 2]!];
      if (type === 0 || type === 1) this.#hearField(type, a & 0x7f);
      else if (type === 3) {
        this.#read();
        this.#packet = [a, b];
      } else if (this.#packet.length > 0 && this.#packet.length < maxPacket) this.#packet.push(a, b);
    }
  }

  /**
   * ANSI/CTA-608-E: bit 3 of a control code tells the two channels of a field apart. A field that is only filled is a channel
   * that waits for its first words; the second is always filled, for data about the programme too.
   */
  #hearField(field: 0 | 1, code: number): void {
    if (field === 0) this.#fields.add("CC1");
    if (code < 0x10 || code > 0x1f) return;
    this.#fields.add(`CC${1 + 2 * field + (code & 8 ? 1 : 0)}`);
  }

  /** CTA-708-E 5 and 6.2: the services that a packet has blocks of. */
  #read(): void {
    const packet = this.#packet;
    const code = (packet[0] ?? 0) & 63;
    const end = 1 + (code === 0 ? 127 : code * 2 - 1);
    if (packet.length < end) return;
    for (let at = 1; at < end; ) {
      const header = packet[at++]!;
      let service = header >> 5;
      const size = header & 31;
      if (service === 0) break;
      if (service === 7 && size > 0) service = packet[at++]! & 63;
      if (size > 0 && service > 0 && at + size <= end && this.#services.size < maxServices)
        this.#services.add(service);
      at += size;
    }
  }
}
