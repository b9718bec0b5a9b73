-- The merged exponential buckets of each part of the chosen series in each period.
-- Goes on with the WITH of `moved`. `side` is 1 above zero, 0 for zero, -1 below.
-- The key is whole numbers only: grouping by texts and lists costs ten times as much.
, told AS (
  SELECT
    part, ended_ns, scale, 1 AS side,
    UNNEST(bucket_indexes) AS bucket, UNNEST(bucket_counts) * sign AS held
  FROM moved
  WHERE kind = 'distribution' AND LEN(bounds) = 0
  UNION ALL
  SELECT
    part, ended_ns, scale, -1,
    UNNEST(negative_indexes), UNNEST(negative_counts) * sign
  FROM moved
  WHERE kind = 'distribution' AND LEN(bounds) = 0 AND LEN(negative_indexes) > 0
  UNION ALL
  SELECT part, ended_ns, scale, 0, 0, zeros * sign
  FROM moved
  WHERE kind = 'distribution' AND LEN(bounds) = 0 AND zeros > 0
)
SELECT
  part,
  CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
  scale,
  side,
  bucket,
  SUM(held) AS held
FROM told
GROUP BY part, period_ns, scale, side, bucket
HAVING SUM(held) > 0
LIMIT $rows_max
