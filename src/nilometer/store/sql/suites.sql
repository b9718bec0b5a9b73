-- The suites of all runs, the one whose latest run was recorded last first; a run that was
-- delivered twice counts once. Only the rows that tell of runs themselves are looked at.
WITH told AS (
  SELECT
    delivery,
    MIN(append) AS append,
    ANY_VALUE(suite) AS suite,
    ANY_VALUE(run_id) AS run_id,
    ANY_VALUE(revision) AS revision,
    ANY_VALUE(branch) AS branch,
    ANY_VALUE(ended_ns) AS ended_ns,
    ANY_VALUE(position) + 1 AS row_count  -- the row of the run itself is its last
  FROM runs
  WHERE what = 'run'
  GROUP BY delivery
)
SELECT
  suite,
  COUNT(*) AS runs,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  MAX(append) AS append,
  ARG_MAX(run_id, append) AS run_id,
  ARG_MAX(revision, append) AS revision,
  ARG_MAX(branch, append) AS branch,
  ARG_MAX(ended_ns, append) AS ended_ns
FROM told
GROUP BY suite
ORDER BY append DESC, suite
LIMIT $rows_max
