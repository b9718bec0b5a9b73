-- How often each process of these numbers tells readings: in how many seconds some ended, from the first to the last.
SELECT
  service, host, pid,
  MIN(ended_ns) AS first_ns,
  MAX(ended_ns) AS ended_ns,
  COUNT(DISTINCT ended_ns // 1000000000) AS beats
FROM readings
WHERE ended_ns >= $since_ns AND ended_ns <= $last_ns
  AND pid IN (SELECT UNNEST($pids))
GROUP BY service, host, pid
LIMIT $rows_max
