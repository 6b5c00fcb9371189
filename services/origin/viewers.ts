import type { Cmcd } from "../lib/cmcd.ts";
import { measure, noSums, type Protocol, protocols, type Sums, stepMs } from "../live/tally.ts";
import type { Visitor } from "../live/visitor.ts";

/** What is watched. */
export interface Watched {
  readonly video: string;
  readonly input: string;
}

/** A player that reports does so every five seconds. */
const reportMs = 12_000;
/** A player that reports and has lost Media over QUIC asks for playlists or says what it does within this. */
const fallBackMs = 5_000;
/** Whoever is back within this goes on with his view. */
const backMs = 60_000;
/** Whoever watched for less has not viewed anything. */
const viewMs = 2_000;
/** Bounds against those who make viewers up: of one video, and of those the ones that one place may name. */
const maxSeats = 200_000;
const maxNames = 2_000;

const nobody: Readonly<Record<Protocol, number>> = { hls: 0, dash: 0, moq: 0 };
const playing = (state: string | undefined): boolean => state === undefined || state === "p";

/** Epoch ms that never go back, whatever becomes of the machine's clock. */
export function clockMs(): number {
  return performance.timeOrigin + performance.now();
}

interface Seat {
  readonly place: string;
  readonly named: boolean;
  protocol: Protocol;
  /** The last sign of it, up to where its time is counted, and until when the next is waited for. */
  seenMs: number;
  untilMs: number;
  watchedMs: number;
  viewed: boolean;
  /** Sessions of Media over QUIC that are open. */
  open: number;
  /** Whether it gives its name with requests for media, too. */
  asks: boolean;
  /** From reports: what it does, and since when. Undefined for a player that sends none. */
  state: string | undefined;
  stateMs: number;
}

interface Room {
  readonly number: number;
  readonly watched: Watched;
  readonly seats: Map<string, Seat>;
  /** How many have named themselves from one place, and until when some of them ask for media without their name. */
  readonly places: Map<string, { names: number; mutedMs: number }>;
  at: number;
  sums: Sums;
  /** Since it was last taken. */
  dirty: boolean;
  counts: Readonly<Record<Protocol, number>>;
}

/** What was watched of a video in the five minutes from `at` on, so far. */
export interface Taken extends Watched {
  readonly at: number;
  /** Counts how often somebody came when nobody was there: sums of two rooms add up, those of one grow. */
  readonly room: number;
  readonly sums: Sums;
}

/**
 * Counts who watches and for how long. A viewer who names himself (CMCD, or a player's session) is one however he comes;
 * all others are as many as the places that they ask from, and a place whose viewers have names but ask for media without
 * them, as players on other sites do, is not counted on top of them. A request costs a look into a map or two. Moments are
 * of `clockMs`.
 */
export class Viewers {
  readonly #rooms = new Map<string, Room>();
  #numbered = 0;
  /** Since it was last asked for, over all videos. */
  #freshMs: Record<Protocol, number> = { ...nobody };
  /** What five minutes came to that are over. */
  #over: Taken[] = [];

  /** Somebody asked for media or what lists it, and is away if nothing follows for `patienceMs`. */
  saw(
    watched: Watched,
    {
      visitor,
      protocol,
      patienceMs,
    }: { visitor: Visitor; protocol: Protocol | undefined; patienceMs: number },
    nowMs: number,
  ): void {
    const room = this.#room(watched, nowMs);
    const seat = this.#seat(room, visitor, { protocol, nowMs });
    if (!seat) return;
    seat.asks = true;
    if (protocol && seat.protocol !== "moq") seat.protocol = protocol;
    this.#advance(room, seat, nowMs);
    seat.untilMs = Math.max(seat.untilMs, nowMs + patienceMs);
  }

  /** What a player said with a request: one that reports says the same there. */
  said(watched: Watched, visitor: Visitor, cmcd: Cmcd, nowMs: number): void {
    const room = this.#rooms.get(watched.video);
    const seat = room?.seats.get(visitor.key);
    if (!room || !seat || seat.state !== undefined) return;
    const { sums } = this.#now(room, nowMs);
    if (cmcd.starved) sums.stalls++;
    note(sums, cmcd);
    if (cmcd.playbackRate !== undefined) measure(sums, "playbackRate", cmcd.playbackRate);
  }

  /** A player reports what it does and measures. */
  reported(watched: Watched, visitor: Visitor, cmcd: Cmcd, nowMs: number): void {
    const room = this.#room(watched, nowMs);
    const protocol = cmcd.format === "dash" ? "dash" : undefined;
    const seat = this.#seat(room, visitor, { protocol, nowMs });
    if (!seat) return;
    this.#advance(room, seat, nowMs);
    const { sums } = this.#now(room, nowMs);
    const before = seat.state;
    const state = cmcd.state ?? before ?? "s";
    if (state !== before) {
      if (before === "r") sums.stalledMs += Math.min(nowMs - seat.stateMs, reportMs);
      if (state === "r" && before === "p") sums.stalls++;
      if (state === "f") sums.errors++;
      seat.state = state;
      seat.stateMs = nowMs;
    } else if (state === "r") {
      sums.stalledMs += Math.min(nowMs - seat.stateMs, reportMs);
      seat.stateMs = nowMs;
    }
    if (playing(state)) {
      note(sums, cmcd);
      if (cmcd.playbackRate !== undefined) measure(sums, "playbackRate", cmcd.playbackRate);
    }
    if (cmcd.startupMs !== undefined) measure(sums, "startupSeconds", cmcd.startupMs / 1000);
    const left = state === "q" || state === "e" || state === "f";
    // A browser may leave its session over QUIC to time out.
    if (state === "q") seat.open = 0;
    seat.untilMs = left && seat.open === 0 ? nowMs : nowMs + reportMs;
    const place = room.places.get(visitor.place);
    if (place && !seat.asks && !left) place.mutedMs = nowMs + reportMs;
  }

  /** A session of Media over QUIC subscribes to something of it; each call has its `leave`. */
  enter(watched: Watched, visitor: Visitor, nowMs: number): void {
    const room = this.#room(watched, nowMs);
    const seat = this.#seat(room, visitor, { protocol: "moq", nowMs });
    if (!seat) return;
    this.#advance(room, seat, nowMs);
    seat.protocol = "moq";
    seat.open++;
  }

  leave({ video }: Watched, { key }: Visitor, nowMs: number): void {
    const room = this.#rooms.get(video);
    const seat = room?.seats.get(key);
    if (!room || !seat || seat.open === 0) return;
    this.#advance(room, seat, nowMs);
    if (--seat.open > 0) return;
    // It may come back over HTTP, and then is the same viewer; who does not is gone.
    seat.protocol = "hls";
    seat.untilMs = seat.state === undefined ? nowMs : Math.min(seat.untilMs, nowMs + fallBackMs);
  }

  /** How many watched a video at the last tick. */
  count(video: string): number {
    const { hls, dash, moq } = this.countBy(video);
    return hls + dash + moq;
  }

  countBy(video: string): Readonly<Record<Protocol, number>> {
    return this.#rooms.get(video)?.counts ?? nobody;
  }

  /** Once a second: counts time that nobody speaks in, takes away who left. Costs a look at every viewer. */
  tick(nowMs: number): void {
    for (const [video, room] of this.#rooms) {
      const counts = { hls: 0, dash: 0, moq: 0 };
      for (const [key, seat] of room.seats) {
        if (seat.open > 0) this.#advance(room, seat, nowMs);
        if (!isHere(seat, nowMs)) {
          if (nowMs - seat.untilMs > backMs) this.#drop(room, key, seat);
        } else if (!isMuted(room, key, seat, nowMs)) counts[seat.protocol]++;
      }
      room.counts = counts;
      const all = counts.hls + counts.dash + counts.moq;
      if (all > 0) {
        const now = this.#now(room, nowMs);
        if (all > now.sums.peak) {
          now.sums.peak = all;
          room.dirty = true;
        }
      }
      if (room.seats.size > 0) continue;
      this.#close(room);
      this.#rooms.delete(video);
    }
  }

  /** How many there were at the last tick, over all videos. */
  get totals(): Readonly<Record<Protocol, number>> {
    const totals = { hls: 0, dash: 0, moq: 0 };
    for (const { counts } of this.#rooms.values())
      for (const protocol of protocols) totals[protocol] += counts[protocol];
    return totals;
  }

  /** What was watched of all videos since the last call, in ms. */
  takeWatched(): Readonly<Record<Protocol, number>> {
    const fresh = this.#freshMs;
    this.#freshMs = { ...nobody };
    return fresh;
  }

  /** Sums that changed since the last call. What is not over yet comes again, with more. */
  take(): readonly Taken[] {
    const taken = this.#over;
    this.#over = [];
    for (const room of this.#rooms.values()) {
      if (!room.dirty) continue;
      room.dirty = false;
      taken.push({ ...room.watched, at: room.at, room: room.number, sums: structuredClone(room.sums) });
    }
    return taken;
  }

  #room({ video, input }: Watched, nowMs: number): Room {
    let room = this.#rooms.get(video);
    if (!room) {
      room = {
        number: ++this.#numbered,
        watched: { video, input },
        seats: new Map(),
        places: new Map(),
        at: stepOf(nowMs),
        sums: noSums(),
        dirty: false,
        counts: nobody,
      };
      this.#rooms.set(video, room);
    }
    return room;
  }

  #seat(
    room: Room,
    { key, place }: Visitor,
    { protocol = "hls", nowMs }: { protocol: Protocol | undefined; nowMs: number },
  ): Seat | undefined {
    const found = room.seats.get(key);
    if (found) return found;
    const named = key !== place;
    if (named) {
      const names = room.places.get(place)?.names ?? 0;
      // Somebody makes them up: they all are one.
      if (names >= maxNames) return this.#seat(room, { key: place, place }, { protocol, nowMs });
    }
    if (room.seats.size >= maxSeats) return undefined;
    if (named) {
      const known = room.places.get(place);
      if (known) known.names++;
      else room.places.set(place, { names: 1, mutedMs: 0 });
    }
    const seat: Seat = {
      ...{ place, named, protocol, seenMs: nowMs, untilMs: nowMs, watchedMs: 0, viewed: false },
      ...{ open: 0, asks: false, state: undefined, stateMs: nowMs },
    };
    room.seats.set(key, seat);
    return seat;
  }

  #drop(room: Room, key: string, seat: Seat): void {
    room.seats.delete(key);
    if (!seat.named) return;
    const place = room.places.get(seat.place);
    if (place && --place.names <= 0) room.places.delete(seat.place);
  }

  /** Counts the time since the last sign of this viewer, unless he was gone in between. */
  #advance(room: Room, seat: Seat, nowMs: number): void {
    const passed = nowMs - seat.seenMs;
    if (passed <= 0) return;
    const present = seat.open > 0 || nowMs <= seat.untilMs;
    seat.seenMs = nowMs;
    if (!present || !playing(seat.state)) return;
    if (!seat.named && (room.places.get(seat.place)?.mutedMs ?? 0) >= nowMs) return;
    seat.watchedMs += passed;
    const { sums } = this.#now(room, nowMs);
    sums.watchedMs[seat.protocol] += passed;
    this.#freshMs[seat.protocol] += passed;
    if (seat.state !== undefined) sums.reportedMs += passed;
    if (!seat.viewed && seat.watchedMs >= viewMs) {
      seat.viewed = true;
      sums.views++;
    }
  }

  /** The room's sums of the five minutes that `nowMs` is in, about to change. */
  #now(room: Room, nowMs: number): Room {
    const at = stepOf(nowMs);
    if (at > room.at) {
      this.#close(room);
      room.at = at;
      room.sums = noSums();
    }
    room.dirty = true;
    return room;
  }

  #close(room: Room): void {
    if (room.dirty) this.#over.push({ ...room.watched, at: room.at, room: room.number, sums: room.sums });
    room.dirty = false;
  }
}

function isHere(seat: Seat, nowMs: number): boolean {
  return seat.open > 0 || nowMs < seat.untilMs;
}

/** Whether this is how named viewers look who ask for media without their name. */
function isMuted(room: Room, key: string, { named }: Seat, nowMs: number): boolean {
  return !named && (room.places.get(key)?.mutedMs ?? 0) >= nowMs;
}

function note(sums: Sums, cmcd: Cmcd): void {
  const { throughputKbps, bitrateKbps, bufferMs, latencyMs } = cmcd;
  if (throughputKbps !== undefined) measure(sums, "throughputKbps", throughputKbps);
  if (bitrateKbps !== undefined) measure(sums, "bitrateKbps", bitrateKbps);
  if (bufferMs !== undefined) measure(sums, "bufferSeconds", bufferMs / 1000);
  if (latencyMs !== undefined) measure(sums, "latencySeconds", latencyMs / 1000);
}

function stepOf(ms: number): number {
  return Math.floor(ms / stepMs) * stepMs;
}
