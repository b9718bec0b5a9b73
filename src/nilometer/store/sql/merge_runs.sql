-- The runs of several files as one: of a batch that was delivered twice, the first arrival.
WITH kept AS (
  SELECT delivery, MIN(append) AS append
  FROM runs
  GROUP BY delivery
)
SELECT runs.*
FROM runs
SEMI JOIN kept
  ON runs.delivery = kept.delivery AND runs.append = kept.append
ORDER BY suite, started_ns, run_id, position
