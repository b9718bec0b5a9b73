-- The merged buckets of each part of the chosen series in each period, side 1, 0 or -1 of zero.
-- Goes on with the WITH of `moved`.
, told AS (
  SELECT
    part, unit, ended_ns, scale, bounds, 1 AS side,
    UNNEST(bucket_indexes) AS bucket, UNNEST(bucket_counts) * sign AS held
  FROM moved
  WHERE kind = 'distribution'
  UNION ALL
  SELECT
    part, unit, ended_ns, scale, bounds, -1,
    UNNEST(negative_indexes), UNNEST(negative_counts) * sign
  FROM moved
  WHERE kind = 'distribution'
  UNION ALL
  SELECT part, unit, ended_ns, scale, bounds, 0, 0, zeros * sign
  FROM moved
  WHERE kind = 'distribution' AND zeros > 0
)
SELECT
  part,
  unit,
  CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
  scale,
  bounds,
  side,
  bucket,
  SUM(held) AS held
FROM told
GROUP BY part, unit, period_ns, scale, bounds, side, bucket
HAVING SUM(held) > 0
LIMIT $rows_max
