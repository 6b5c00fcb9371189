/** True for the long form of the tests (`SLUICE_LONG=1 npm test`): what the short form leaves out is counted as skipped. */
export const long = process.env.SLUICE_LONG === "1";
