-- How many of those traces took how long: each counts at the greatest step that it reached.
SELECT step_ns AS from_ns, COUNT(*) AS traces, COUNT(*) FILTER (WHERE failed) AS failed
FROM chosen JOIN (
  SELECT step_ns, LEAD(step_ns) OVER (ORDER BY step_ns) AS next_ns
  FROM (SELECT UNNEST($steps) AS step_ns) AS told
) AS steps ON duration_ns >= step_ns AND (next_ns IS NULL OR duration_ns < next_ns)
GROUP BY step_ns
ORDER BY step_ns
