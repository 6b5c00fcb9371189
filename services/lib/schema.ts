import { z } from "zod";

/** The schema language of the whole product: whatever comes from outside as an object is parsed with it. */
export { z };
