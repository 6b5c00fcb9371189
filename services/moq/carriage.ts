import { ControlReader, encodeMessage } from "./codec/control.ts";
import type { Draft } from "./codec/drafts.ts";
import {
  type Message,
  type RequestKind,
  requestErrors,
  requestKinds,
  resetCodes,
  type SetupOptions,
} from "./codec/messages.ts";
import { cutShort, joined, Reader, Violation } from "./codec/wire.ts";
import type { BiStream, ReceiveStream, SendStream, Session } from "./transport.ts";

/** Requests whose streams wait for SETUP. */
const maxHeld = 64;
const setupStream = 0x2f00;
const paddingStream = 0x132b3e28;

export interface CarriageEvents {
  /** A message, with the number of its request also where the draft leaves that to the stream. May throw Violation. */
  readonly message: (message: Message) => void;
  /** A stream of objects has begun: what takes its bytes. */
  readonly data: (stream: ReceiveStream) => { data(bytes: Uint8Array, fin: boolean): void; gone(): void };
  /** Runs what reads the peer's bytes; a Violation in it ends the session. */
  readonly guard: (run: () => void) => void;
}

/** A request with a stream of its own. */
interface Lane {
  readonly id: number;
  readonly kind: RequestKind;
  readonly ours: boolean;
  readonly stream: BiStream;
  /** Of ours: itself and its updates, in the order in which their answers come. */
  readonly unanswered: number[];
  isAnswered: boolean;
  over: boolean;
}

/**
 * How the messages of a session travel: all on one stream, or each request on a stream of its own, whose end takes it back. Whoever is
 * above sees the same messages with the same numbers whatever the draft.
 */
export class Carriage {
  readonly #transport: Session;
  readonly #side: "client" | "server";
  readonly #draft: Draft;
  readonly #on: CarriageEvents;
  #control: SendStream | undefined;
  #hasControl = false;
  #open = false;
  #held: BiStream[] = [];
  readonly #lanes = new Map<number, Lane>();
  /** Updates that wait for an answer, on the streams of their requests. */
  readonly #updates = new Map<number, Lane>();
  /** Draft 14 takes requests for namespaces back by name. */
  readonly #names = new Map<number, { readonly kind: RequestKind; readonly namespace: readonly string[] }>();
  #dropped = false;

  constructor(options: {
    readonly transport: Session;
    readonly side: "client" | "server";
    readonly draft: Draft;
    readonly on: CarriageEvents;
  }) {
    this.#transport = options.transport;
    this.#side = options.side;
    this.#draft = options.draft;
    this.#on = options.on;
  }

  /** Says what this side can. */
  setup(options: SetupOptions): void {
    const side = this.#side;
    if (this.#draft.ownStream === "all") {
      this.#control = this.#transport.openUni();
      return this.#write(this.#control, { type: "setup", options });
    }
    if (side === "client") {
      const stream = this.#transport.openBi();
      this.#control = stream.send;
      this.#listen(stream.receive);
    }
    if (this.#control)
      this.#write(this.#control, { type: side === "client" ? "client-setup" : "server-setup", options });
  }

  /** SETUP has come: requests may. */
  begin(): void {
    this.#open = true;
    for (const stream of this.#held.splice(0)) this.#request(stream);
  }

  send(message: Message): void {
    if (this.#dropped) return;
    const kind = requestKinds[message.type];
    if (kind && this.#hasOwn(kind)) return this.#begin(message as Message & { id: number }, kind);
    switch (message.type) {
      case "goaway":
      case "setup":
      case "client-setup":
      case "server-setup":
        return this.#onControl(message);
      case "max-request-id":
      case "requests-blocked":
        if (this.#draft.types[message.type] !== undefined) this.#onControl(message);
        return;
      case "request-update": {
        const lane = this.#lanes.get(message.existing);
        if (!lane) return this.#onControl(message);
        lane.unanswered.push(message.id);
        return this.#write(lane.stream.send, message);
      }
      case "unsubscribe":
      case "fetch-cancel":
      case "publish-namespace-done":
      case "publish-namespace-cancel":
      case "unsubscribe-namespace": {
        const lane = this.#lanes.get(message.id);
        if (lane) return this.#abandon(lane);
        return this.#onControl(this.#withName(message));
      }
      default: {
        const lane = this.#lanes.get(message.id) ?? this.#updates.get(message.id);
        this.#updates.delete(message.id);
        if (lane) this.#write(lane.stream.send, message);
        else if (!kind && this.#draft.ownStream === "all") return;
        else {
          this.#name(message);
          this.#onControl(message);
        }
      }
    }
  }

  /** The request is over on this side: nothing more is said on its stream. */
  finish(id: number): void {
    const lane = this.#lanes.get(id);
    this.#names.delete(id);
    if (!lane) return;
    this.#lanes.delete(id);
    if (lane.over) return;
    lane.over = true;
    lane.stream.send.write(new Uint8Array(0), true);
  }

  /** A stream of the peer with two directions. */
  bi(stream: BiStream): void {
    if (this.#draft.ownStream === "all" || this.#hasControl) {
      if (this.#open) return this.#request(stream);
      if (this.#held.length >= maxHeld) {
        stream.send.reset(resetCodes.internal);
        return stream.receive.stop(resetCodes.internal);
      }
      this.#held.push(stream);
      return;
    }
    this.#control = stream.send;
    this.#listen(stream.receive);
  }

  /** A stream of the peer with one direction: objects, or what it says of itself. */
  uni(stream: ReceiveStream): void {
    if (this.#draft.ownStream !== "all") return stream.listen(this.#on.data(stream));
    let head: Uint8Array = new Uint8Array(0);
    let taker: { data(bytes: Uint8Array, fin: boolean): void; gone(): void } | undefined;
    stream.listen({
      data: (bytes, fin) =>
        this.#on.guard(() => {
          if (taker) return taker.data(bytes, fin);
          head = head.length > 0 ? joined(head, bytes) : bytes;
          let type: number;
          try {
            type = new Reader(head, this.#draft.integers).varint();
          } catch (error) {
            if (error === cutShort && !fin) return;
            throw error;
          }
          if (type === paddingStream) taker = { data() {}, gone() {} };
          else if (type === setupStream) taker = this.#controlReader();
          else taker = this.#on.data(stream);
          taker.data(head, fin);
          head = new Uint8Array(0);
        }),
      gone: () => taker?.gone(),
    });
  }

  /** The session is gone. */
  drop(): void {
    this.#dropped = true;
    this.#lanes.clear();
    this.#updates.clear();
    this.#held = [];
  }

  #hasOwn(kind: RequestKind): boolean {
    const { ownStream } = this.#draft;
    return ownStream === "all" || ownStream.includes(kind);
  }

  #write(stream: SendStream, message: Message): void {
    stream.write(encodeMessage(this.#draft, message));
  }

  #onControl(message: Message): void {
    if (this.#control) this.#write(this.#control, message);
  }

  #listen(receive: ReceiveStream): void {
    receive.listen(this.#controlReader());
  }

  #controlReader(): { data(bytes: Uint8Array, fin: boolean): void; gone(): void } {
    if (this.#hasControl) throw new Violation("protocolViolation", "There is a control stream already");
    this.#hasControl = true;
    const reader = new ControlReader(this.#draft);
    const end = (how: string) => {
      throw new Violation("protocolViolation", `The control stream ${how}`);
    };
    return {
      data: (bytes, fin) =>
        this.#on.guard(() => {
          for (const message of reader.push(bytes)) {
            const kind = requestKinds[message.type];
            if (kind && this.#hasOwn(kind))
              throw new Violation("protocolViolation", `${message.type} has a stream of its own`);
            const known = this.#withId(message);
            if (known) this.#on.message(known);
          }
          if (fin) end("has ended");
        }),
      gone: () => this.#on.guard(() => end("was reset")),
    };
  }

  /** A request of ours that has a stream. */
  #begin(message: Message & { readonly id: number }, kind: RequestKind): void {
    const stream = this.#transport.openBi();
    const { id } = message;
    const lane: Lane = {
      ...{ id, kind, stream, ours: true, unanswered: [id] },
      ...{ isAnswered: false, over: false },
    };
    this.#lanes.set(id, lane);
    this.#write(stream.send, message);
    const reader = new ControlReader(this.#draft, { id, kind });
    stream.receive.listen({
      data: (bytes, fin) =>
        this.#on.guard(() => {
          for (const message of reader.push(bytes)) {
            if (lane.over) return;
            // Draft 18 10.4: this one is to be asked for elsewhere, which whoever asked does when it ends.
            if (message.type === "goaway") continue;
            if (message.type === "request-update") this.#updates.set(message.id, lane);
            this.#on.message(this.#answerOn(lane, message));
          }
          if (fin) this.#lost(lane, false);
        }),
      gone: () => this.#on.guard(() => this.#lost(lane, true)),
    });
    stream.send.onStopped = () => this.#on.guard(() => this.#lost(lane, true));
  }

  /** Answers of one stream come in the order of what they answer. */
  #answerOn(lane: Lane, message: Message): Message {
    const isAnswer =
      message.type === "request-ok" ||
      message.type === "request-error" ||
      message.type === "subscribe-ok" ||
      message.type === "fetch-ok";
    if (!isAnswer) {
      if (!lane.isAnswered && message.type !== "publish-done")
        throw new Violation("protocolViolation", `${message.type} comes before the answer`);
      return message;
    }
    const id = lane.unanswered.shift();
    if (id === undefined) throw new Violation("protocolViolation", `${message.type} answers nothing`);
    lane.isAnswered = true;
    return id === lane.id ? message : ({ ...message, id, of: "update" } as Message);
  }

  /** What a request of ours waits for will not come. */
  #lost(lane: Lane, broken: boolean): void {
    if (lane.over) return;
    const { id, kind } = lane;
    // Draft 19 4.1: an end alone says only that no more is said, which is what some answers are followed by.
    if (!broken && lane.isAnswered && kind !== "subscribe" && kind !== "subscribe-namespace") return;
    lane.over = true;
    this.#lanes.delete(id);
    if (broken) lane.stream.send.reset(resetCodes.cancelled);
    else lane.stream.send.write(new Uint8Array(0), true);
    const reason = "The peer has taken its answer back";
    const code = requestErrors.internal;
    if (!lane.isAnswered) this.#on.message({ type: "request-error", id, of: kind, code, reason });
    else if (kind === "subscribe") this.#on.message({ type: "publish-done", id, code, streams: 0, reason });
    else if (kind === "publish") this.#on.message({ type: "unsubscribe", id });
    else if (kind === "publish-namespace")
      this.#on.message({ type: "publish-namespace-cancel", id, code, reason });
    else if (kind === "subscribe-namespace")
      this.#on.message({ type: "unsubscribe-namespace", id, prefix: [] });
  }

  /** A request of the peer on a stream of its own. */
  #request(stream: BiStream): void {
    const reader = new ControlReader(this.#draft);
    let lane: Lane | undefined;
    const lost = () => {
      if (lane && !lane.over) this.#on.guard(() => this.#takenBack(lane!));
    };
    stream.send.onStopped = lost;
    stream.receive.listen({
      data: (bytes, fin) =>
        this.#on.guard(() => {
          for (const message of reader.push(bytes)) {
            const kind = requestKinds[message.type];
            if (!lane) {
              if (!kind || !this.#hasOwn(kind))
                throw new Violation("protocolViolation", `${message.type} has no place on this stream`);
              const { id } = message as Message & { readonly id: number };
              lane = {
                ...{ id, kind, stream, ours: false, unanswered: [] },
                ...{ isAnswered: false, over: false },
              };
              if (this.#lanes.has(id)) throw new Violation("invalidRequestId", `Request ${id} came twice`);
              this.#lanes.set(id, lane);
            } else if (
              this.#draft.ownStream !== "all" ||
              !["request-update", "publish-done", "goaway"].includes(message.type)
            )
              throw new Violation("protocolViolation", `${message.type} has no place on this stream`);
            if (message.type === "request-update") this.#updates.set(message.id, lane);
            this.#on.message(message);
          }
          // Draft 16 9.25: here the end takes the request back; later it says only that no update comes.
          if (fin && this.#draft.ownStream !== "all") lost();
        }),
      gone: lost,
    });
  }

  #takenBack(lane: Lane): void {
    lane.over = true;
    const { id, kind } = lane;
    lane.stream.send.reset(resetCodes.cancelled);
    if (kind === "subscribe") this.#on.message({ type: "unsubscribe", id });
    else if (kind === "fetch") this.#on.message({ type: "fetch-cancel", id });
    else if (kind === "publish-namespace") this.#on.message({ type: "publish-namespace-done", id });
    else if (kind === "subscribe-namespace")
      this.#on.message({ type: "unsubscribe-namespace", id, prefix: [] });
    else if (kind === "publish")
      this.#on.message({ type: "publish-done", id, code: requestErrors.internal, streams: 0, reason: "" });
    this.#lanes.delete(id);
  }

  /** Takes a request of ours back, or what was said to one of the peer's. */
  #abandon(lane: Lane): void {
    this.#lanes.delete(lane.id);
    if (lane.over) return;
    lane.over = true;
    lane.stream.send.reset(resetCodes.cancelled);
    lane.stream.receive.stop(resetCodes.cancelled);
  }

  #name(message: Message): void {
    if (this.#draft.params !== "fields") return;
    if (message.type === "publish-namespace")
      this.#names.set(message.id, { kind: "publish-namespace", namespace: message.namespace });
    if (message.type === "subscribe-namespace")
      this.#names.set(message.id, { kind: "subscribe-namespace", namespace: message.prefix });
  }

  #withName(message: Message & { readonly id: number }): Message {
    const named = this.#names.get(message.id);
    if (!named) return message;
    this.#names.delete(message.id);
    return message.type === "unsubscribe-namespace"
      ? { ...message, prefix: named.namespace }
      : ({ ...message, namespace: named.namespace } as Message);
  }

  /** With the number of what it is about, where it says a name; undefined when there is no such request. */
  #withId(message: Message): Message | undefined {
    if (this.#draft.params !== "fields") return message;
    this.#name(message);
    const isLeft = message.type === "unsubscribe-namespace";
    const isCancel = message.type === "publish-namespace-cancel";
    if (message.type !== "publish-namespace-done" && !isCancel && !isLeft) return message;
    const about = isLeft ? message.prefix : (message.namespace ?? []);
    // Who cancels was asked; everything else is taken back by who asked.
    const parity = (this.#side === "client") === isCancel ? 0 : 1;
    for (const [id, { kind, namespace }] of this.#names) {
      if (id % 2 !== parity || (kind === "subscribe-namespace") !== isLeft) continue;
      if (namespace.length !== about.length || !namespace.every((field, i) => field === about[i])) continue;
      this.#names.delete(id);
      return { ...message, id };
    }
    return undefined;
  }
}
