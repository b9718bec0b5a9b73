-- The rows of the latest runs, in the order in which the runs were recorded, which no clock that
-- was wrong can change; a run that was delivered twice counts once, where it came first.
-- Positions are numbered from 0 without a gap: `missing` tells how many rows of a run are lost.
-- Dimensions that are no JSON object are read without parts, too: it may have been a total.
WITH whole AS (
  SELECT delivery, append, MAX(position) + 1 - COUNT(*) AS missing
  FROM runs
  WHERE ended_ns >= $since_ns
    AND ($suite IS NULL OR suite = $suite)
  GROUP BY delivery, append
),
kept AS (
  SELECT delivery, MIN(append) AS append, ARG_MIN(missing, append) AS missing
  FROM whole
  GROUP BY delivery
  ORDER BY append DESC, delivery DESC
  LIMIT $runs_max
),
found AS (
  SELECT *
  FROM runs
  WHERE ended_ns >= $since_ns
    AND ($suite IS NULL OR suite = $suite)
    AND ($parts OR what <> 'count' OR dimensions IS NULL OR dimensions = '{}'
      OR NOT (STARTS_WITH(dimensions, '{"') AND ENDS_WITH(dimensions, '}')))
)
SELECT
  found.run_id, found.delivery, found.append, found.what, found.suite, found.backend,
  found.counter, found.dimensions, found.kind, found.unit, found.because,
  found.delta_int, found.delta_float, found.raw_int, found.raw_float,
  found.footprint_int, found.footprint_float, found.idle_int, found.idle_float,
  kept.missing,
  -- What tells the run and its backends is not told again with each of thousands of counts.
  CASE WHEN found.what <> 'count' THEN found.test_set END AS test_set,
  CASE WHEN found.what <> 'count' THEN found.work END AS work,
  CASE WHEN found.what <> 'count' THEN found.revision END AS revision,
  CASE WHEN found.what <> 'count' THEN found.branch END AS branch,
  CASE WHEN found.what <> 'count' THEN found.host END AS host,
  CASE WHEN found.what <> 'count' THEN found.started_ns END AS started_ns,
  CASE WHEN found.what <> 'count' THEN found.ended_ns END AS ended_ns,
  CASE WHEN found.what <> 'count' THEN found.wall_ns END AS wall_ns,
  CASE WHEN found.what <> 'count' THEN found.exit_status END AS exit_status,
  CASE WHEN found.what <> 'count' THEN found.instance END AS instance,
  CASE WHEN found.what <> 'count' THEN found.backend_version END AS backend_version,
  CASE WHEN found.what <> 'count' THEN found.incarnation END AS incarnation,
  CASE WHEN found.what <> 'count' THEN found.notes END AS notes,
  CASE WHEN found.what <> 'count' THEN found.attributes END AS attributes
FROM found
JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
ORDER BY found.append, found.delivery, found.position
