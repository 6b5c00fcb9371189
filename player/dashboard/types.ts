import type { keyId } from "../../services/control/api/access.ts";
import type { analyticsView } from "../../services/control/api/analytics.ts";
import type { sessionView } from "../../services/control/api/dashboard.ts";
import type { auditView, healthView, historyView, tokenView } from "../../services/control/api/operator.ts";
import type { outputView } from "../../services/control/api/outputs.ts";
import type { endpointView, noticeView } from "../../services/control/api/webhooks.ts";
import type { InputBody, inputSummary, inputView, videoView } from "../../services/control/resources.ts";
import type { z } from "../../services/lib/schema.ts";

/** What the API answers with, by its own schemas. */
export type Session = z.infer<typeof sessionView>;
export type InputSummary = z.infer<typeof inputSummary>;
export type Input = z.infer<typeof inputView>;
export type InputChange = InputBody;
export type Video = z.infer<typeof videoView>;
export type History = z.infer<typeof historyView>;
export type Health = z.infer<typeof healthView>;
export type Output = z.infer<typeof outputView>;
export type Analytics = z.infer<typeof analyticsView>;
export type SigningKey = z.infer<typeof keyId>;
export type ApiToken = z.infer<typeof tokenView>;
export type AuditEntry = z.infer<typeof auditView>;
export type Endpoint = z.infer<typeof endpointView>;
export type Notice = z.infer<typeof noticeView>;
