-- The head of what asks of spans: those that started in the time asked for, each once however
-- often it came, by which ever door; of two with the same ids the one that came first counts.
-- One that ended before it started took no time. Questions go on with its WITH, and choose the
-- service themselves: a span's children may be of others.
WITH once AS (
  SELECT
    service, host, region, zone, version, resource, scope,
    trace_id, span_id, parent_id, name, kind, status, attributes, started_ns,
    GREATEST(started_ns, ended_ns) AS ended_ns,
    CAST(
      LEAST(
        CAST(GREATEST(started_ns, ended_ns) AS DECIMAL(38, 0)) - started_ns,
        9223372036854775807
      ) AS BIGINT
    ) AS duration_ns
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
