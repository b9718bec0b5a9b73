-- The head of what asks of spans: those that started in the time asked for, each once however
-- often it came, by which ever door; of two with the same ids the one that came first counts.
-- One that ended before it started took no time, and none ends after 2116: so times can be added
-- in 64 bits. Questions go on with its WITH, and choose the service themselves: a span's children
-- may be of others.
WITH once AS (
  SELECT
    service, host, region, zone, version, resource, scope,
    trace_id, span_id, parent_id, name, kind, status, attributes, started_ns,
    LEAST(GREATEST(started_ns, ended_ns), 4611686018427387903) AS ended_ns,
    LEAST(GREATEST(started_ns, ended_ns), 4611686018427387903) - started_ns AS duration_ns
  FROM (
    SELECT
      *,
      ROW_NUMBER() OVER (
        PARTITION BY trace_id, span_id
        ORDER BY append, delivery, started_ns, ended_ns, service, name
      ) AS turn
    FROM spans
    WHERE started_ns >= $since_ns AND started_ns <= $last_ns
  ) AS turns
  WHERE turn = 1
)
