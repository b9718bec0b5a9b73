-- The spans of some traces, whole: what a trace waited for is told by all of its spans together,
-- and no sum of them. So the fold is given no more traces than were asked for, chosen by a digest
-- of their ids, which has nothing to do with what happened in them; and no more spans than it can
-- hold: a trace of 100,000 spans or more is passed over, and what comes after 300,000 spans.
, sizes AS (
  SELECT
    trace_id,
    COUNT(*) AS spans,
    MAX(CASE WHEN service LIKE $service ESCAPE '!' THEN 1 ELSE 0 END) AS concerned
  FROM once
  GROUP BY trace_id
),
turns AS (
  SELECT
    trace_id, spans,
    COUNT(*) OVER () AS traces_there,
    ROW_NUMBER() OVER (
      ORDER BY CASE WHEN spans < 100000 THEN 0 ELSE 1 END, MD5(trace_id), trace_id
    ) AS place,
    SUM(spans) OVER (
      ORDER BY CASE WHEN spans < 100000 THEN 0 ELSE 1 END, MD5(trace_id), trace_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS spans_until
  FROM sizes
  WHERE concerned = 1
),
chosen AS (
  SELECT trace_id, traces_there
  FROM turns
  WHERE place <= $traces AND spans < 100000 AND spans_until <= 300000
)
SELECT
  once.trace_id, once.span_id, once.parent_id, once.service, once.host, once.name, once.kind,
  once.started_ns, once.ended_ns, chosen.traces_there
FROM once
JOIN chosen ON once.trace_id = chosen.trace_id
ORDER BY once.trace_id, once.started_ns, once.span_id
