import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Failure, messageOf } from "../lib/errors.ts";
import { requestInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Announcement } from "../live/announcement.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { Directory } from "../live/directory.ts";
import type { Events } from "../live/events.ts";
import type { Ladder, Rung } from "../live/ladder.ts";
import type { Recordings, TapeAbout, Unfinished } from "../live/recordings.ts";
import type { OriginInput, Snapshot } from "../live/snapshot.ts";
import { noTape, type Restored, type Tape } from "../live/tape.ts";
import { profileOf, profiles } from "../packager/profiles.ts";
import { readFeed } from "./intake.ts";
import type { Habit, Ledger } from "./ledger.ts";
import { RungGate } from "./rungs.ts";

/** What a worker says when it asks for the rungs of a video. */
export interface Claim {
  readonly publish: string;
  readonly job: string;
}

export interface StageOptions {
  readonly directory: Directory;
  readonly ledger: Ledger;
  /** Absent where there is no disk to speak of. */
  readonly recordings: Recordings | undefined;
  /** How far back viewers may go in a broadcast that is on air and not recorded; 0 for the live window alone. */
  readonly dvrSeconds: number;
  readonly snapshot: Pick<Snapshot<OriginInput>, "get">;
  readonly events: Pick<Events, "send">;
  /** Own internal address, for workers. */
  readonly address: string;
  readonly ladder: Ladder | undefined;
  readonly secret: string | undefined;
  readonly log: Log;
  /** Called for each stream of a rung that its writer may not write any more. */
  readonly refused: () => void;
}

/** Gaps are written on this clock: well under a part. */
const tickMs = 100;
/** How long the end of a broadcast stays fetchable for players that are behind. */
const keepMs = 60_000;
/** How long control and the log wait for the end of a broadcast, and at most while others end: those who watch come first. */
const afterMs = 200;
const mostAfterMs = 1_000;
/** How long rungs are promised that no worker takes: less than a request for one is held. */
const attendMs = 8_000;
/** How often the same is asked again: the queue may have lost it. */
const askAgainMs = 5_000;

/** A rung that is not made, and whether time is what lacks or an encoder. */
interface Lost {
  readonly rung: Rung;
  readonly cause: "slow" | "encoder";
}

interface Act {
  readonly broadcast: Broadcast;
  readonly tape: Tape;
  epoch: number;
  /** The publish on air, or the last one; none of this run yet for a broadcast of the last run. */
  announcement: Announcement | undefined;
  readonly gate: RungGate;
  /** The encode that was asked for last, and when. */
  job: string | undefined;
  askedMs: number;
  /** The plan that it was asked for. */
  revision: number;
  /** Why no encoder can make its rungs; nobody is asked again. */
  hopeless: string | undefined;
  /** Rungs that the machine cannot make. They stay away for as long as the broadcast lasts. */
  lost: readonly Lost[];
  /** Since when rungs are wanted that no worker was ever granted, and whether they are not promised therefore. */
  wantedMs: number | undefined;
  deserted: boolean;
  abort: AbortController;
  /** Ends the broadcast when no publish has come back. */
  timeout: NodeJS.Timeout | undefined;
  removal: NodeJS.Timeout | undefined;
  /** What is left to do at its end, when those who watch have seen it. */
  after: (() => void) | undefined;
  /** The last advice on keyframes that its owner was given, and how many there were. */
  advised: string | undefined;
  advices: number;
}

/** The broadcasts of this origin: who writes them, how long they wait for an encoder, when they end. */
export class Stage implements Running {
  readonly #options: StageOptions;
  readonly #acts = new Map<string, Act>();
  readonly #ticker: NodeJS.Timeout;
  /** No worker took the ladder that was asked for last. */
  #alone = false;
  /** When a broadcast ended last. */
  #endedMs = Number.NEGATIVE_INFINITY;
  readonly #done = Promise.withResolvers<void>();
  #closing = false;

  constructor(options: StageOptions) {
    this.#options = options;
    this.#ticker = setInterval(() => this.#tick(), tickMs);
    this.#comeBack(options.recordings?.unfinished() ?? []);
  }

  get closed(): Promise<void> {
    return this.#done.promise;
  }

  /** The live input of a video that is on air or recorded here. */
  ownerOf(video: string): string | undefined {
    const { directory, recordings } = this.#options;
    return directory.video(video)?.input ?? recordings?.ownerOf(video);
  }

  /** Takes a recording away, from players that are still at its end, too. Refuses while it is on air. */
  async removeRecording(video: string): Promise<void> {
    const act = this.#actOf(video);
    if (act && act.broadcast.state !== "ended")
      throw new Failure("conflict", "This video is on air; end its broadcast first");
    act?.after?.();
    if (act) {
      this.#acts.delete(act.broadcast.input);
      this.#dismiss(act);
    }
    await this.#options.recordings?.remove(video);
  }

  /** Puts a publish on air and returns its epoch; what was on air before under this input is cut off. */
  async accept(announcement: Announcement): Promise<{ epoch: number }> {
    const { snapshot, ledger, events, log } = this.#options;
    const { uid, publish } = announcement;
    const input = snapshot.get(uid);
    if (this.#closing || !input)
      throw new Failure("unavailable", "This origin does not know the live input yet");
    if (!input.enabled)
      throw new Failure("forbidden", "This live input is disabled; enable it before going live");
    let act = this.#acts.get(uid);
    // What control hears of it has its order.
    act?.after?.();
    if (act?.announcement?.publish === publish && act.broadcast.state === "live" && !act.abort.signal.aborted)
      return { epoch: act.epoch };
    const video =
      act && act.broadcast.state !== "ended" ? act.broadcast.video : randomBytes(16).toString("hex");
    const epoch = await ledger.grant(uid, video);
    // Another publish may have been granted meanwhile; the higher epoch stays.
    act = this.#acts.get(uid);
    if (act && act.epoch > epoch) throw new Failure("conflict", "A newer publish has taken this live input");
    // Its broadcast may have ended meanwhile, or another have begun: then it is of that, or begins one of its own.
    if (act && (act.broadcast.state === "ended") === (act.broadcast.video === video))
      return this.accept(announcement);
    if (!act || act.broadcast.video !== video) {
      if (act) this.#dismiss(act);
      const { targetDuration } = profiles[input.profile];
      const about = { video, input: uid, targetDuration, temporary: !input.record };
      act = this.#act({ about, tape: this.#options.recordings?.begin(about) ?? noTape });
      events.send({ type: "broadcast.started", uid, video });
      log.info({ uid, video, epoch, peer: announcement.peer }, "broadcast opened");
    }
    act.abort.abort();
    clearTimeout(act.timeout);
    if (act.hopeless !== undefined) {
      const { lost } = act;
      const again = act.broadcast.dropped.filter((name) => !lost.some(({ rung }) => rung.name === name));
      act.broadcast.restoreRungs(again, lostAdvice(lost));
    }
    Object.assign(act, {
      epoch,
      announcement,
      job: undefined,
      askedMs: 0,
      hopeless: undefined,
      abort: new AbortController(),
      timeout: undefined,
    });
    void this.#play(act, announcement);
    return { epoch };
  }

  #act({ about, tape, restored }: { about: TapeAbout; tape: Tape; restored?: Restored }): Act {
    const { snapshot, ladder, ledger, directory } = this.#options;
    const input = snapshot.get(about.input);
    const { sparse, cadenceSeconds, words, captions } = ledger.habit(about.input);
    const broadcast = new Broadcast({
      input: about.input,
      video: about.video,
      profile: restored
        ? profileOf({ ...about, partTarget: restored.resume.partTarget })
        : profiles[input?.profile ?? "low"],
      // All of what is on disk is there for the taking.
      dvrSeconds:
        this.#options.recordings && !about.temporary ? Number.POSITIVE_INFINITY : this.#options.dvrSeconds,
      restored,
      tape,
      cadenceSeconds,
      plan: ladder && ((source) => ladder.plan(source, input?.ladder)),
      sparse,
      words: words === undefined ? undefined : { language: words || undefined },
      captions,
      changed: (changed) => this.#changed(changed),
    });
    const act: Act = {
      ...{
        broadcast,
        tape,
        epoch: 0,
        announcement: undefined,
        gate: new RungGate(this.#options.refused),
        job: undefined,
      },
      ...{
        askedMs: 0,
        revision: 0,
        hopeless: undefined,
        lost: [],
        abort: new AbortController(),
        timeout: undefined,
      },
      ...{
        wantedMs: undefined,
        deserted: false,
        removal: undefined,
        after: undefined,
        advised: undefined,
        advices: 0,
      },
    };
    this.#acts.set(about.input, act);
    directory.add(broadcast);
    return act;
  }

  /** What the last run had on air is there again at once, and waits for its encoder as after any other break. */
  #comeBack(unfinished: readonly Unfinished[]): void {
    const { ledger, log } = this.#options;
    for (const { about, restored, tape } of unfinished) {
      const { input, video } = about;
      if (ledger.get(input)?.video !== video) {
        // Its end was on its way to the disk when this process was killed.
        void tape.end([], Date.now());
        this.#closed(about, tape);
        continue;
      }
      const act = this.#act({ about, tape, restored });
      act.timeout = setTimeout(() => void this.#end(act), this.#windowMs(input));
      log.info({ uid: input, video }, "broadcast of the last run waits for its encoder");
    }
    for (const input of ledger.inputs()) {
      const video = ledger.get(input)!.video;
      if (this.#acts.get(input)?.broadcast.video !== video) void this.#closeLate(input, video);
    }
  }

  /** Of a broadcast of the last run nothing was ever listed, or it had ended and nobody was told yet. */
  async #closeLate(input: string, video: string): Promise<void> {
    const summary = await this.#options.recordings?.summary(video).catch(() => undefined);
    this.#closed({ input, video }, summary ? { summary, lasting: true } : noTape);
  }

  /**
   * The right to write the rungs of this video, to the worker that asks last. `publish` must be the one on air, `job` the
   * encode that was asked for last: one that the queue revives after its worker was given up comes too late. So does a
   * `writer` that was granted before, when another has been since.
   */
  async grant(
    video: string,
    { publish, job, writer }: Claim & { readonly writer: string },
  ): Promise<{ epoch: number; rungs: readonly { name: string }[] }> {
    const act = this.#actOf(video);
    if (act?.broadcast.state !== "live" || act.announcement?.publish !== publish)
      throw new Failure("not_found", "This publish is not on air any more");
    if (job !== act.job) throw new Failure("conflict", "Another encode of this publish was asked for since");
    if (!act.gate.mayHave(writer)) throw new Failure("conflict", "Another worker encodes this broadcast now");
    const epoch = await this.#options.ledger.grant(act.broadcast.input, video);
    act.gate.grant(epoch, writer);
    this.#attended(act);
    return { epoch, rungs: act.broadcast.wanted.map(({ name }) => ({ name })) };
  }

  /** No encoder can do it: nobody is asked again for this publish, and its owner is told why. */
  giveUp(video: string, { job }: Claim, why: string): void {
    const act = this.#actOf(video);
    if (!act || job !== act.job || act.hopeless !== undefined) return;
    const { broadcast } = act;
    const { events, log } = this.#options;
    const uid = broadcast.input;
    act.hopeless = why;
    log.error({ uid, why }, "this broadcast has no renditions below the source");
    const advice =
      "No rendition below the source can be encoded, so viewers get the source alone; the log has why.";
    broadcast.dropRungs(
      broadcast.wanted.map(({ name }) => name),
      advice,
      Date.now(),
    );
    events.send({ type: "ladder.failed", uid, video, why, advice: broadcast.advice ?? advice });
  }

  /**
   * The machine is too slow for `rung`, or has no encoder for it: it ends, the others go on, and the owner is told. It does not
   * come back in this broadcast.
   */
  degrade(
    video: string,
    {
      job,
      rung,
      why,
      cause = "slow",
    }: Claim & { rung: string; why: string; cause?: Lost["cause"] | undefined },
  ): void {
    const act = this.#actOf(video);
    const gone = act?.broadcast.wanted.find(({ name }) => name === rung);
    if (!act || job !== act.job || !gone) return;
    const { broadcast } = act;
    const { events, log } = this.#options;
    const uid = broadcast.input;
    act.lost = [...act.lost, { rung: gone, cause }];
    const advice = lostAdvice(act.lost)!;
    broadcast.dropRungs([rung], advice, Date.now());
    const rungs = broadcast.wanted.map(({ name }) => name);
    const reason = cause === "slow" ? "the machine is too slow for it" : "the worker cannot encode it";
    log.warn({ uid, rung, rungs, why }, `a rendition is dropped: ${reason}`);
    events.send({
      type: "ladder.degraded",
      uid,
      video,
      rung,
      rungs,
      why,
      advice: broadcast.advice ?? advice,
    });
  }

  /** Takes one rung from a worker until its end. */
  async takeRung(video: string, name: string, epoch: number, body: IncomingMessage): Promise<void> {
    const act = this.#actOf(video);
    if (!act || act.broadcast.state === "ended") throw new Failure("not_found", "This broadcast is over");
    await act.gate.take(body, act.broadcast, name, epoch);
  }

  #actOf(video: string): Act | undefined {
    for (const act of this.#acts.values()) if (act.broadcast.video === video) return act;
    return undefined;
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      clearInterval(this.#ticker);
      for (const act of this.#acts.values()) {
        act.abort.abort();
        clearTimeout(act.timeout);
        clearTimeout(act.removal);
        act.after?.();
      }
      this.#done.resolve();
    }
    return this.closed;
  }

  async #play(act: Act, announcement: Announcement): Promise<void> {
    const { log, secret } = this.#options;
    const { signal } = act.abort;
    const feed = { address: announcement.feed, path: announcement.path, secret };
    const end = await readFeed(feed, act.broadcast, signal, log);
    // Whoever aborted it has taken over or is closing.
    if (end.how === "aborted" || signal.aborted) return;
    const closed = (): void =>
      log.info({ uid: announcement.uid, publish: announcement.publish, ...end }, "feed closed");
    if (end.how === "clean") return this.#end(act, closed);
    closed();
    if (end.how === "refused") {
      await this.#refuse(announcement, end);
      // The encoder may be back by now.
      if (signal.aborted) return;
    }
    act.broadcast.lose();
    act.timeout = setTimeout(() => void this.#end(act), this.#windowMs(announcement.uid));
  }

  /** Ends a broadcast for good and disconnects its encoder. Throws `Failure` "not_found" when nothing is on air. */
  async complete(uid: string): Promise<void> {
    const act = this.#acts.get(uid);
    if (!act || act.broadcast.state === "ended")
      throw new Failure("not_found", "This live input is not on air");
    act.abort.abort();
    await this.#end(act);
    if (act.announcement)
      await this.#refuse(act.announcement, { code: "complete", message: "The broadcast was ended." });
  }

  /** The encoder is told why it is sent away. */
  async #refuse(
    announcement: Announcement,
    end: { readonly code: string; readonly message: string },
  ): Promise<void> {
    const { secret, log } = this.#options;
    const path = `/internal/publishes/${announcement.publish}`;
    try {
      await requestInternal(announcement.feed, path, {
        method: "DELETE",
        json: { code: end.code, message: end.message },
        secret,
      });
    } catch (error) {
      log.warn(
        { error: String(error), publish: announcement.publish },
        "ingest could not be told of a refusal",
      );
    }
  }

  /** `closed` is called when control hears of it. */
  async #end(act: Act, closed: () => void = () => undefined): Promise<void> {
    const { input, video, cadenceSeconds, subtitles } = act.broadcast;
    clearTimeout(act.timeout);
    const words = subtitles?.said ? (subtitles.language ?? "") : undefined;
    const captions = act.broadcast.captions.length > 0 ? act.broadcast.captions : undefined;
    await act.broadcast.end(Date.now());
    const endedMs = performance.now();
    this.#endedMs = endedMs;
    let late: NodeJS.Timeout;
    // Not all at one moment.
    const wait = (): void => {
      late = setTimeout(look, afterMs * (1 + Math.random()));
    };
    const look = (): void => {
      const nowMs = performance.now();
      if (nowMs - this.#endedMs < afterMs && nowMs - endedMs < mostAfterMs) wait();
      else act.after?.();
    };
    wait();
    act.after = () => {
      act.after = undefined;
      clearTimeout(late);
      closed();
      this.#keep(input, { ...this.#options.ledger.habit(input), cadenceSeconds, words, captions });
      this.#closed({ input, video }, act.tape);
    };
    if (this.#closing || this.#acts.get(input) !== act) act.after();
    act.removal = setTimeout(() => {
      if (this.#acts.get(input) === act) this.#acts.delete(input);
      this.#dismiss(act);
    }, keepMs);
  }

  /** Control hears of the end, and nothing of this broadcast comes back after a restart. */
  #closed(
    { input, video }: { input: string; video: string },
    { summary, lasting }: Pick<Tape, "summary" | "lasting">,
  ): void {
    const { ledger, events, log } = this.#options;
    events.send({ type: "broadcast.ended", uid: input, video, ...(lasting && { recorded: summary }) });
    log.info({ uid: input, video, ...(lasting && summary) }, "broadcast closed");
    if (ledger.get(input)?.video !== video) return;
    ledger.drop(input).catch((error) => log.error({ err: error, uid: input }, "ledger cannot be written"));
  }

  #dismiss(act: Act): void {
    clearTimeout(act.removal);
    act.broadcast.clear();
    this.#options.directory.remove(act.broadcast);
  }

  #tick(): void {
    const now = Date.now();
    for (const act of this.#acts.values()) {
      const { broadcast } = act;
      if (broadcast.state === "ended") continue;
      broadcast.clock(now);
      this.#encode(act, now);
      this.#learn(broadcast);
    }
  }

  /** An encoder seldom changes its keyframe interval. */
  #learn({ input, habit, cadenceSeconds }: Broadcast): void {
    const known = this.#options.ledger.habit(input);
    // What this one does not show yet is as it was.
    this.#keep(input, {
      ...known,
      sparse: habit ?? known.sparse,
      cadenceSeconds: cadenceSeconds ?? known.cadenceSeconds,
    });
  }

  #keep(input: string, habit: Habit): void {
    const { ledger, log } = this.#options;
    ledger
      .keepHabit(input, habit)
      .catch((error) => log.error({ err: error, uid: input }, "ledger cannot be written"));
  }

  /** Asks for the rungs while nobody makes them: a worker may be lost, and so may the queue. */
  #encode(act: Act, nowMs: number): void {
    const { broadcast, gate, announcement } = act;
    const { ladder, address, log } = this.#options;
    if (!ladder || !announcement || broadcast.wanted.length === 0 || broadcast.state !== "live") return;
    if (act.revision !== broadcast.revision) {
      // What runs makes rungs of a source that is no more.
      act.revision = broadcast.revision;
      if (act.job !== undefined) gate.revoke();
    }
    if (gate.look()) {
      log.warn({ uid: broadcast.input }, "a worker has fallen silent: its rungs are another's");
      gate.revoke();
    }
    if (gate.busy) return;
    const { uid, publish, feed, path } = announcement;
    const { video } = broadcast;
    const { source, wanted: rungs } = broadcast;
    if (!source || act.hopeless !== undefined) return;
    if (gate.epoch === 0) this.#deserted(act, nowMs);
    // A worker that was granted and is gone keeps its job in the queue until its lock runs out: another id is free at once.
    const id = `${video}-${publish}-${gate.epoch}-${act.revision}`;
    const since = id === act.job ? nowMs - act.askedMs - askAgainMs : nowMs - gate.nextMs;
    if (since < 0) return;
    act.job = id;
    act.askedMs = nowMs;
    const job = { id, uid, video, publish, feed, path, origin: address, source, rungs };
    ladder
      .add(job)
      .catch((error) =>
        log.warn({ error: messageOf(error), uid }, "the queue is away; the source plays without its rungs"),
      );
  }

  /** Rungs that no worker takes are not promised: a player that begins with one would wait for it in vain. */
  #deserted(act: Act, nowMs: number): void {
    act.wantedMs ??= nowMs;
    if (act.deserted || nowMs - act.wantedMs < (this.#alone ? 1_000 : attendMs)) return;
    act.deserted = true;
    this.#alone = true;
    const { broadcast } = act;
    const { events, log } = this.#options;
    const { input: uid, video } = broadcast;
    const why = "no worker takes the ladder";
    log.error({ uid, why }, "this broadcast has no renditions below the source");
    broadcast.withhold(desertedAdvice);
    events.send({ type: "ladder.failed", uid, video, why, advice: broadcast.advice ?? desertedAdvice });
  }

  /** A worker has come. */
  #attended(act: Act): void {
    this.#alone = false;
    if (!act.deserted) return;
    act.deserted = false;
    const { input: uid, video, advice = desertedAdvice } = act.broadcast;
    act.broadcast.withhold(undefined);
    this.#options.log.info({ uid }, "a worker takes the ladder");
    this.#options.events.send({ type: "ladder.resumed", uid, video, advice });
  }

  #changed(broadcast: Broadcast): void {
    const { directory, events, log } = this.#options;
    const act = this.#acts.get(broadcast.input);
    const advice = broadcast.gopAdvice;
    // Once when it shows, once more when it is measured; what changes with each GOP is no news.
    if (act && advice && advice !== act.advised && act.advices < 2) {
      act.advised = advice;
      act.advices++;
      log.warn({ uid: broadcast.input, advice }, "keyframes are too far apart");
      events.send({
        type: "gop.long",
        uid: broadcast.input,
        seconds: Math.max(broadcast.health.gopSeconds, broadcast.health.sinceKeySeconds),
        advice,
      });
    }
    directory.notify(broadcast);
  }

  #windowMs(input: string): number {
    return (this.#options.snapshot.get(input)?.timeoutSeconds ?? 10) * 1000;
  }
}

/** What to do where nobody encodes. */
const desertedAdvice =
  "No rendition below the source is offered, because no worker takes the ladder; start one (--roles worker, with the same redisUrl), or give those that run more processor.";

/** What the owner of the machine can do about rungs that it cannot make. */
function lostAdvice(lost: readonly Lost[]): string | undefined {
  const of = (wanted: Lost["cause"]) => lost.flatMap(({ rung, cause }) => (cause === wanted ? [rung] : []));
  const are = (rungs: readonly Rung[]) =>
    `${rungs.map(({ name }) => name).join(", ")} ${rungs.length === 1 ? "is" : "are"}`;
  const [slow, strange] = [of("slow"), of("encoder")];
  const codecs = [...new Set(strange.map(({ codec }) => codec.toUpperCase()))].join(" or ");
  const said = [
    ...(slow.length > 0
      ? [
          `${are(slow)} not offered any more, because the machine that encodes is too slow; give it more processor or choose a smaller ladder, then begin a new broadcast.`,
        ]
      : []),
    ...(strange.length > 0
      ? [
          `${are(strange)} left out, because the ffmpeg of the worker cannot encode ${codecs}; install a build of ffmpeg that does, or take such rungs out of the ladder, then begin a new broadcast.`,
        ]
      : []),
  ];
  return said.join(" ") || undefined;
}
