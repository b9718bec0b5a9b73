-- What a unit of work costs: how far each counter of each backend moved in a run, by the work
-- that was done in it; per suite and revision. The time that the command took is one of them.
--
-- Only whole and usable runs whose work is known count, each once however often it came. A
-- counter that a run does not tell of did not move if its backend was read and has it. Figures
-- of single runs are put in order, never added up, so that every engine gives the same.
WITH firsts AS (
  SELECT delivery, MIN(append) AS append
  FROM runs
  GROUP BY delivery
),
told AS (
  SELECT runs.*
  FROM runs
  JOIN firsts ON runs.delivery = firsts.delivery AND runs.append = firsts.append
  WHERE runs.ended_ns >= $since_ns AND runs.ended_ns <= $last_ns
    AND runs.service LIKE $service ESCAPE '!'
    AND (CAST($suite AS VARCHAR) IS NULL OR runs.suite = CAST($suite AS VARCHAR))
),
whole AS (
  SELECT delivery, run_id
  FROM told
  GROUP BY delivery, run_id
  HAVING MAX(position) + 1 = COUNT(*)
),
usable AS (
  SELECT
    told.delivery, told.run_id, told.suite, told.revision, told.started_ns, told.work,
    told.wall_ns
  FROM told
  JOIN whole ON told.delivery = whole.delivery AND told.run_id = whole.run_id
  WHERE told.what = 'run' AND told.because = '' AND told.work > 0
),
counts AS (
  SELECT
    delivery, run_id, suite, backend, counter, unit,
    CASE WHEN because = '' THEN COALESCE(delta_float, CAST(delta_int AS DOUBLE)) END AS delta
  FROM told
  WHERE what = 'count' AND dimensions = '{}' AND kind <> 'gauge'
),
backends AS (
  SELECT delivery, run_id, backend, attributes
  FROM told
  WHERE what = 'backend' AND because = ''
),
names AS (
  SELECT suite, backend, counter, MAX(unit) AS unit
  FROM counts
  GROUP BY suite, backend, counter
),
-- Which counters a backend has, where it tells; the same few lists in all runs.
lists AS (
  SELECT DISTINCT backend, attributes
  FROM backends
  WHERE attributes IS NOT NULL
),
listed AS (
  SELECT DISTINCT lists.backend, lists.attributes, names.counter
  FROM lists
  JOIN names ON lists.backend = names.backend
  WHERE CONTAINS(lists.attributes, '"' || names.counter || '"')
),
moves AS (
  SELECT
    usable.suite, usable.revision, usable.started_ns, usable.work,
    names.backend, names.counter, names.unit,
    CASE
      WHEN counts.run_id IS NOT NULL THEN counts.delta
      WHEN backends.attributes IS NULL OR listed.counter IS NOT NULL THEN 0e0
    END AS delta
  FROM usable
  JOIN backends ON usable.delivery = backends.delivery AND usable.run_id = backends.run_id
  JOIN names ON usable.suite = names.suite AND backends.backend = names.backend
  LEFT JOIN counts
    ON counts.delivery = usable.delivery AND counts.run_id = usable.run_id
    AND counts.backend = names.backend AND counts.counter = names.counter
  LEFT JOIN listed
    ON listed.backend = names.backend AND listed.attributes = backends.attributes
    AND listed.counter = names.counter
  UNION ALL
  SELECT suite, revision, started_ns, work, '', 'wall time', 'ns', CAST(wall_ns AS DOUBLE)
  FROM usable
),
costs AS (
  SELECT *, delta / CAST(work AS DOUBLE) AS cost
  FROM moves
  WHERE delta IS NOT NULL AND NOT ISNAN(delta)
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY suite, revision, backend, counter ORDER BY cost
    ) AS place,
    COUNT(*) OVER (PARTITION BY suite, revision, backend, counter) AS places
  FROM costs
),
centred AS (
  SELECT
    *,
    MIN(CASE WHEN place * 2 >= places THEN cost END) OVER (
      PARTITION BY suite, revision, backend, counter
    ) AS middle
  FROM placed
),
spread AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY suite, revision, backend, counter ORDER BY ABS(cost - middle)
    ) AS distance_place
  FROM centred
)
SELECT
  suite, revision, backend, counter, MAX(unit) AS unit,
  COUNT(*) AS runs,
  SUM(CAST(work AS DECIMAL(38, 0))) AS work,
  MIN(started_ns) AS first_ns,
  MIN(middle) AS cost,
  MIN(cost) AS cost_minimum,
  MAX(cost) AS cost_maximum,
  MIN(CASE WHEN distance_place * 2 >= places THEN ABS(cost - middle) END) AS mad
FROM spread
GROUP BY suite, revision, backend, counter
ORDER BY suite, backend, counter, MIN(started_ns), revision
