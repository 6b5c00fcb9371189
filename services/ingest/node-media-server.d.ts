// The package has no types. These are the members of its protocol layer that protocol.ts uses or overrides.

declare module "node-media-server/src/protocol/rtmp.js" {
  namespace Rtmp {
    interface Packet {
      readonly header: {
        fmt: number;
        cid: number;
        timestamp: number;
        length: number;
        type: number;
        stream_id: number;
      };
      /** Milliseconds; the header's timestamp or delta, applied. */
      clock: number;
      payload: Buffer;
      capacity: number;
      /** How much of the payload has arrived. */
      bytes: number;
    }
  }
  class Rtmp {
    handshakePayload: Buffer;
    handshakeState: number;
    handshakeBytes: number;
    parserBuffer: Buffer;
    parserState: number;
    parserBytes: number;
    parserBasicBytes: number;
    parserPacket: Rtmp.Packet;
    inPackets: Map<number, Rtmp.Packet>;
    inChunkSize: number;
    outChunkSize: number;
    streamId: number;
    objectEncoding: number;
    streams: number;
    onOutputCallback: (bytes: Buffer) => void;
    parserData(bytes: Buffer): string | null;
    packetParse(): void;
    packetAlloc(): void;
    packetHandler(): void;
    controlHandler(): void;
    eventHandler(): void;
    invokeHandler(): void;
    dataHandler(): void;
    chunkMessageHeaderRead(): number;
    sendACK(bytes: number): void;
    sendWindowACK(bytes: number): void;
    setPeerBandwidth(bytes: number, type: number): void;
    setChunkSize(bytes: number): void;
    sendStreamStatus(event: number, value: number): void;
    sendInvokeMessage(
      streamId: number,
      message: { cmd: string; transId: number; cmdObj: unknown; info: unknown },
    ): void;
    sendStatusMessage(streamId: number, level: string, code: string, description: string): void;
    respondConnect(transactionId: number): void;
    respondCreateStream(transactionId: number): void;
  }
  export = Rtmp;
}
