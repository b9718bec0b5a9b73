-- The merged explicit buckets of each part of the chosen series in each period.
-- Goes on with the WITH of `moved`.
, told AS (
  SELECT
    part, ended_ns, bounds,
    UNNEST(bucket_indexes) AS bucket, UNNEST(bucket_counts) * sign AS held
  FROM moved
  WHERE kind = 'distribution' AND LEN(bounds) > 0
)
SELECT
  part,
  CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
  bounds,
  bucket,
  SUM(held) AS held
FROM told
GROUP BY part, period_ns, bounds, bucket
HAVING SUM(held) > 0
LIMIT $rows_max
