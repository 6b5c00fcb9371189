import type { Triplets } from "./codec/a53.ts";

/** Sample entry four-character codes that have a codec module. */
export type Entry = "avc1" | "hvc1" | "av01" | "vp09" | "mp4a" | "Opus" | "fLaC" | "ac-3" | "ec-3";

/** ISO/IEC 23091-2 code points as they stand in the bitstream. */
export interface Colour {
  readonly primaries: number;
  readonly transfer: number;
  readonly matrix: number;
  readonly fullRange: boolean;
}

/** What an HDR picture was mastered on, as mdcv and clli have it (ISO/IEC 14496-12 12.1.7, 12.1.8). */
export interface Hdr {
  readonly mastering?: Uint8Array | undefined;
  readonly light?: Uint8Array | undefined;
  /** Each picture says how to map it to a lesser screen: HDR10+ (SMPTE ST 2094-40). */
  readonly dynamic?: boolean | undefined;
}

export interface VideoTrack {
  readonly kind: "video";
  readonly entry: Entry;
  /** RFC 6381, for example `avc1.64001f`. */
  readonly codec: string;
  /** Ticks per second; 90,000 for every video track. */
  readonly timescale: number;
  /** The decoder configuration record, whole (avcC, hvcC, av1C, vpcC). */
  readonly config: Uint8Array;
  /** Visible size in pixels after cropping. */
  readonly width: number;
  readonly height: number;
  /** Sample aspect ratio, horizontal to vertical. */
  readonly pixelAspect: readonly [number, number];
  readonly colour: Colour | undefined;
  readonly hdr?: Hdr;
  /** Frames per second where the publisher or the bitstream states one. */
  readonly frameRate: number | undefined;
}

/** The size in square pixels, as a screen shows it. */
export function shownSize(track: {
  readonly width: number;
  readonly height: number;
  readonly pixelAspect?: readonly [number, number] | undefined;
}): { readonly width: number; readonly height: number } {
  const [across, down] = track.pixelAspect ?? [1, 1];
  return { width: Math.round((track.width * across) / (down || 1)), height: track.height };
}

export interface AudioTrack {
  readonly kind: "audio";
  readonly entry: Entry;
  readonly codec: string;
  /** Ticks per second: the sample rate of the rendition's first track. */
  readonly timescale: number;
  /** AudioSpecificConfig for AAC; content of dOps, dfLa, dac3 or dec3 for the others. */
  readonly config: Uint8Array;
  readonly channels: number;
  readonly sampleRate: number;
  /** Samples in one coded frame: 1024 for AAC-LC. */
  readonly frameTicks: number;
  /** RFC 5646 tag, and what a person may call it, where the publisher says so. */
  readonly language?: string | undefined;
  readonly label?: string | undefined;
}

export type Track = VideoTrack | AudioTrack;

/** Words as WebVTT in CMAF (ISO/IEC 14496-30). */
export interface TextTrack {
  readonly kind: "text";
  readonly entry: "wvtt";
  readonly codec: "wvtt";
  readonly timescale: number;
  /** RFC 5646, where it is known. */
  readonly language: string | undefined;
}

/** One coded frame. Ticks are of the track's timescale; `data` may still lie in pieces in the publisher's bytes. */
export interface Sample {
  readonly dts: number;
  readonly pts: number;
  readonly duration: number;
  readonly key: boolean;
  readonly data: Payload;
}

/** Coded bytes in one piece or in several that follow each other. */
export type Payload = Uint8Array | readonly Uint8Array[];

/** What a codec module leaves of one frame of the publisher: views into its bytes, so as long-lived as they are. */
export interface CodedFrame {
  /** Nothing before it is needed to decode it and what follows. */
  readonly key: boolean;
  readonly data: Payload;
  /**
   * Set when the frame carries decoder parameters that differ from the config: the config from this frame on, to be
   * treated like one that the publisher sent as such.
   */
  readonly config: Uint8Array | undefined;
  /** CEA-608 and CEA-708 that come with a picture. */
  readonly captions?: Triplets | undefined;
  /** It has HDR10+. */
  readonly dynamicHdr?: boolean | undefined;
  /** Samples of a frame of audio, where frames of the codec differ. */
  readonly ticks?: number | undefined;
}

/** One moof and its mdat: made once, then shared by every protocol. */
export interface Chunk {
  readonly dts: number;
  /** The earliest presentation time in it. */
  readonly pts: number;
  readonly duration: number;
  /** Starts with a sample that needs no other. */
  readonly independent: boolean;
  readonly samples: number;
  readonly bytes: Uint8Array;
}

/** A run of chunks: LL-HLS partial segment. A gap has a duration and no chunks. */
export interface Part {
  readonly duration: number;
  readonly independent: boolean;
  readonly gap: boolean;
  /** Views into `bytes`, one after the other. */
  readonly chunks: readonly Chunk[];
  readonly bytes: Uint8Array;
}

/** A run of parts under one number of the broadcast's segment table. */
export interface Segment {
  readonly number: number;
  /** How many discontinuities stand before it in the broadcast (EXT-X-DISCONTINUITY-SEQUENCE counts these). */
  readonly discontinuity: number;
  /** Which init segment its chunks need. */
  readonly version: number;
  readonly dts: number;
  /** Ticks from `dts` to its earliest presentation time; undefined before its first chunk. */
  readonly lead?: number | undefined;
  readonly duration: number;
  readonly independent: boolean;
  readonly gap: boolean;
  readonly parts: readonly Part[];
  readonly byteLength: number;
  /** How many of its first bytes are its first picture, where that needs no other; undefined for sound. */
  readonly keyBytes?: number | undefined;
}
