-- The merged exponential buckets of each part of the chosen series in each period: of the values
-- above zero, or with `negative` of those below.
-- Goes on with the WITH of `moved`.
-- The key is whole numbers only: grouping by texts and lists costs ten times as much. Lists of 64
-- bits are read five times as fast as rows; `huge` is there where the counts are more than that.
, told AS (
  SELECT
    part,
    CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
    scale,
    UNNEST(CASE WHEN $negative THEN negative_indexes ELSE bucket_indexes END) AS bucket,
    UNNEST(CASE WHEN $negative THEN negative_counts ELSE bucket_counts END) * sign AS held
  FROM moved
  WHERE kind = 'distribution' AND COALESCE(LEN(bounds), 0) = 0
),
merged AS (
  SELECT part, period_ns, scale, bucket, SUM(held) AS held
  FROM told
  GROUP BY part, period_ns, scale, bucket
  HAVING SUM(held) > 0
  LIMIT $rows_max
)
SELECT
  part,
  period_ns,
  scale,
  COUNT(*) AS buckets,
  LIST(bucket ORDER BY bucket) AS indexes,
  LIST(TRY_CAST(held AS BIGINT) ORDER BY bucket) AS counts,
  CASE WHEN BOOL_OR(held > 9223372036854775807) THEN LIST(held ORDER BY bucket) END AS huge
FROM merged
GROUP BY part, period_ns, scale
