-- The same statement again and again below one span: asked once for each of a list where one
-- question would have told all. First how often below each parent, then of all parents that do
-- the same.
, repeated AS (
  SELECT
    trace_id,
    parent_id,
    service,
    name,
    kind,
    shape,
    COUNT(*) AS calls,
    SUM(CAST(duration_ns AS DECIMAL(38, 0))) AS total_ns,
    MIN(started_ns) AS first_ns,
    MAX(ended_ns) AS end_ns
  FROM shaped
  WHERE shape <> '' AND service LIKE $service ESCAPE '!'
  GROUP BY trace_id, parent_id, service, name, kind, shape
  HAVING COUNT(*) >= $least
),
named AS (
  SELECT
    repeated.*,
    COALESCE(once.service, '') AS parent_service,
    COALESCE(once.name, '') AS parent_name
  FROM repeated
  LEFT JOIN once
    ON repeated.trace_id = once.trace_id AND repeated.parent_id = once.span_id
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY parent_service, parent_name, service, name, kind, shape
      ORDER BY calls
    ) AS place,
    COUNT(*) OVER (
      PARTITION BY parent_service, parent_name, service, name, kind, shape
    ) AS together
  FROM named
)
SELECT
  service,
  name,
  kind,
  shape AS statement,
  parent_service,
  parent_name,
  COUNT(DISTINCT trace_id) AS traces,
  COUNT(*) AS parents,
  SUM(calls) AS calls,
  MIN(CASE WHEN place * 100 >= together * 50 THEN calls END) AS calls_p50,
  MAX(calls) AS calls_max,
  SUM(total_ns) AS total_ns
FROM placed
GROUP BY parent_service, parent_name, service, name, kind, shape
