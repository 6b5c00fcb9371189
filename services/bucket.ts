import type { Config } from "./settings.ts";
import { openS3 } from "./storage/s3.ts";
import type { ObjectStore } from "./storage/store.ts";

/** The bucket that recordings move to; undefined where they stay in the data folder. */
export function bucketOf(config: Config): ObjectStore | undefined {
  const { s3Bucket: bucket, s3AccessKeyId: accessKeyId, s3SecretAccessKey: secretAccessKey } = config;
  if (bucket === undefined || accessKeyId === undefined || secretAccessKey === undefined) return undefined;
  const { s3Region: region, s3Prefix: prefix, s3PathStyle: pathStyle } = config;
  const endpoint = config.s3Endpoint ?? `https://s3.${region}.amazonaws.com`;
  return openS3({ endpoint, region, bucket, prefix, pathStyle, accessKeyId, secretAccessKey });
}
