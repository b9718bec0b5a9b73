-- Which processes told readings, and when each was last heard of.
SELECT service, host, pid, ANY_VALUE(version) AS version, MAX(ended_ns) AS ended_ns
FROM readings
WHERE ended_ns >= $since_ns AND ended_ns <= $last_ns
GROUP BY service, host, pid
ORDER BY service, host, pid
LIMIT $rows_max
