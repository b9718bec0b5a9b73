-- Which instruments there are.
SELECT
  name,
  kind,
  unit,
  ANY_VALUE(description) AS description,
  COUNT(DISTINCT series) AS series,
  MAX(ended_ns) AS ended_ns
FROM readings
WHERE STARTS_WITH(name, $prefix) AND ended_ns >= $since_ns AND ended_ns <= $last_ns
GROUP BY name, kind, unit
ORDER BY name, kind, unit
LIMIT $rows_max
