-- Points of OSProfiler's that wait for the other of their pair, the latest first. Of pairs whose
-- second came with the last appends the first is among them: that second may come again, if its
-- span was not committed with it.
WITH points AS (
  SELECT
    *,
    MIN(name) OVER (PARTITION BY trace_id, span_id) AS one,
    MAX(name) OVER (PARTITION BY trace_id, span_id) AS other,
    MIN(append) OVER (PARTITION BY trace_id, span_id) AS earliest,
    MAX(append) OVER (PARTITION BY trace_id, span_id) AS latest,
    MAX(append) OVER () AS newest
  FROM events
  WHERE name IN ('osprofiler.start', 'osprofiler.stop') AND at_ns >= $since_ns
)
SELECT * EXCLUDE (one, other, earliest, latest, newest)
FROM points
WHERE append = earliest AND (one = other OR latest >= newest - $margin_ns)
ORDER BY at_ns DESC
LIMIT $rows_max
