/** True for the long form of the tests (`SLUICE_LONG=1 npm test`): what the short form leaves out is counted as skipped. */
export const long = process.env.SLUICE_LONG === "1";

/** How long each player is watched for a stall: a person may ask for more. */
export const soakSeconds = Number(process.env.SLUICE_SOAK_SECONDS ?? 60);
