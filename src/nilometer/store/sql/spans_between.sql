-- Spans that ran at some moment of that time, as they came: those that ended last first, or
-- those that started first.
SELECT *
FROM spans
WHERE started_ns <= $last_ns
  AND GREATEST(started_ns, ended_ns) >= $since_ns
ORDER BY
  CASE WHEN $latest THEN -GREATEST(started_ns, ended_ns) ELSE started_ns END,
  append
LIMIT $rows_max
