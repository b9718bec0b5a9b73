-- The merged exponential buckets of each part of the chosen series in each period: of the values
-- above zero, or with `negative` of those below.
-- Goes on with the WITH of `moved`.
-- The key is whole numbers only: grouping by texts and lists costs ten times as much.
, told AS (
  SELECT
    part,
    CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
    scale,
    UNNEST(CASE WHEN $negative THEN negative_indexes ELSE bucket_indexes END) AS bucket,
    UNNEST(CASE WHEN $negative THEN negative_counts ELSE bucket_counts END) * sign AS held
  FROM moved
  WHERE kind = 'distribution' AND COALESCE(LEN(bounds), 0) = 0
)
SELECT part, period_ns, scale, bucket, SUM(held) AS held
FROM told
GROUP BY part, period_ns, scale, bucket
HAVING SUM(held) > 0
LIMIT $rows_max
