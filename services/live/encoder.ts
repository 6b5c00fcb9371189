/** Processors beside the main one that encode H.264, each with what it takes to have it. */
export const hardware = {
  nvenc: "install NVIDIA's driver and an ffmpeg with h264_nvenc",
  vaapi: "give this user /dev/dri/renderD128 and install its VA-API driver",
  qsv: "install Intel's media driver and oneVPL, and give this user /dev/dri/renderD128",
  videotoolbox: "it is there on macOS alone",
} as const;
export type Hardware = keyof typeof hardware;

/** What an operator may ask for. */
export const encoderChoices = ["auto", "software", "nvenc", "vaapi", "qsv", "videotoolbox"] as const;
export type EncoderChoice = (typeof encoderChoices)[number];
