-- Where the time went: each operation and statement with its total time and its self time, in
-- which none of its children ran. Children are taken in the order of their start: each covers
-- of its parent's time what no earlier one had covered.
, covering AS (
  SELECT
    child.trace_id,
    child.parent_id,
    GREATEST(child.started_ns, parent.started_ns) AS begin_ns,
    LEAST(child.ended_ns, parent.ended_ns) AS end_ns,
    MAX(LEAST(child.ended_ns, parent.ended_ns)) OVER (
      PARTITION BY child.trace_id, child.parent_id
      ORDER BY child.started_ns, child.ended_ns, child.span_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS reached_ns
  FROM once AS child
  JOIN once AS parent
    ON child.trace_id = parent.trace_id AND child.parent_id = parent.span_id
  WHERE child.parent_id <> child.span_id
    AND child.ended_ns > parent.started_ns AND child.started_ns < parent.ended_ns
),
covered AS (
  SELECT
    trace_id,
    parent_id,
    SUM(
      CAST(
        GREATEST(
          CAST(end_ns AS DECIMAL(38, 0)) - GREATEST(begin_ns, COALESCE(reached_ns, begin_ns)),
          0
        ) AS DECIMAL(38, 0)
      )
    ) AS covered_ns
  FROM covering
  GROUP BY trace_id, parent_id
)
SELECT
  shaped.service,
  shaped.name,
  shaped.kind,
  CASE WHEN $by = 'statement' THEN shaped.shape ELSE '' END AS statement,
  COUNT(*) AS calls,
  COUNT(*) FILTER (WHERE shaped.status = 'error') AS errors,
  SUM(CAST(shaped.duration_ns AS DECIMAL(38, 0))) AS total_ns,
  SUM(shaped.duration_ns - COALESCE(covered.covered_ns, CAST(0 AS DECIMAL(38, 0)))) AS self_ns,
  MAX(shaped.duration_ns) AS max_ns
FROM shaped
LEFT JOIN covered
  ON shaped.trace_id = covered.trace_id AND shaped.span_id = covered.parent_id
WHERE shaped.service LIKE $service ESCAPE '!'
GROUP BY
  shaped.service, shaped.name, shaped.kind,
  CASE WHEN $by = 'statement' THEN shaped.shape ELSE '' END
