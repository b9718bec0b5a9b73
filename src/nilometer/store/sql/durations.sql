-- How many of those traces took how long: each counts at the greatest step that it reached.
SELECT step_ns AS from_ns, COUNT(*) AS traces, COUNT(*) FILTER (WHERE failed) AS failed
FROM chosen ASOF JOIN (SELECT UNNEST($steps) AS step_ns) AS steps
  ON chosen.duration_ns >= steps.step_ns
GROUP BY step_ns
ORDER BY step_ns
