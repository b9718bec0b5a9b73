-- Which processes sent spans, and when each was last heard of.
SELECT service, host, pid, ANY_VALUE(version) AS version, MAX(ended_ns) AS ended_ns
FROM spans
WHERE started_ns >= $since_ns AND started_ns <= $last_ns
GROUP BY service, host, pid
ORDER BY service, host, pid
LIMIT $rows_max
