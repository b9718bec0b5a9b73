-- The head of what asks of spans: those that started in the time asked for, each once however
-- often it came, by which ever door; of two with the same ids the one that came first counts.
-- One that ended before it started took no time, and none ends after 2116: so times can be added
-- in 64 bits. Questions go on with its WITH, and choose the service themselves: a span's children
-- may be of others.
--
-- Few spans come again, and to put all of them in order took most of a question's time: so only
-- those are, whose ids have a hash that another's have, too. Which that are differs from engine
-- to engine; what counts does not.
WITH perhaps_again AS (
  SELECT HASH(trace_id, span_id) AS mark
  FROM spans
  WHERE started_ns >= $since_ns AND started_ns <= $last_ns
  GROUP BY HASH(trace_id, span_id)
  HAVING COUNT(*) > 1
),
each_once AS (
  SELECT
    service, host, region, zone, version, resource, scope,
    trace_id, span_id, parent_id, name, kind, status, attributes, started_ns, ended_ns
  FROM spans
  WHERE started_ns >= $since_ns AND started_ns <= $last_ns
    AND NOT EXISTS (SELECT 1 FROM perhaps_again WHERE mark = HASH(trace_id, span_id))
  UNION ALL
  SELECT
    service, host, region, zone, version, resource, scope,
    trace_id, span_id, parent_id, name, kind, status, attributes, started_ns, ended_ns
  FROM (
    SELECT
      *,
      ROW_NUMBER() OVER (
        PARTITION BY trace_id, span_id
        ORDER BY append, delivery, started_ns, ended_ns, service, name
      ) AS turn
    FROM spans
    WHERE started_ns >= $since_ns AND started_ns <= $last_ns
      AND EXISTS (SELECT 1 FROM perhaps_again WHERE mark = HASH(trace_id, span_id))
  ) AS turns
  WHERE turn = 1
),
once AS (
  SELECT
    service, host, region, zone, version, resource, scope,
    trace_id, span_id, parent_id, name, kind, status, attributes, started_ns,
    LEAST(GREATEST(started_ns, ended_ns), 4611686018427387903) AS ended_ns,
    LEAST(GREATEST(started_ns, ended_ns), 4611686018427387903) - started_ns AS duration_ns
  FROM each_once
)
