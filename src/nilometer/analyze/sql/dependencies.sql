-- Which service calls which: how often, how often in vain, and how long the answer took.
--
-- A call is a span whose parent is of another service, or a server's or consumer's span below a
-- client's or producer's. Who calls from outside sends no spans: such a caller is empty. Whoever
-- is called and sends none is called as the caller's span says: then that span is the call.
, calls AS (
  SELECT
    COALESCE(parent.service, '') AS caller, child.service AS callee, 'callee' AS told_by,
    child.trace_id, child.parent_id, child.status,
    child.started_ns, child.ended_ns, child.duration_ns
  FROM once AS child
  LEFT JOIN once AS parent
    ON child.trace_id = parent.trace_id AND child.parent_id = parent.span_id
  WHERE CASE
    WHEN parent.span_id IS NULL
      THEN child.parent_id = '' OR child.kind IN ('server', 'consumer')
    ELSE parent.service <> child.service
      OR (parent.kind IN ('client', 'producer') AND child.kind IN ('server', 'consumer'))
  END
),
-- Clients of clients, as an ORM's is of a driver's, and those whose call is told by the callee.
onward AS (
  SELECT trace_id, parent_id
  FROM once
  WHERE kind IN ('client', 'producer')
  UNION
  SELECT trace_id, parent_id
  FROM calls
),
silent AS (
  SELECT
    once.service AS caller,
    COALESCE(
      JSON_EXTRACT_STRING(attributes, '$."peer.service"'),
      JSON_EXTRACT_STRING(attributes, '$."db.system.name"'),
      JSON_EXTRACT_STRING(attributes, '$."db.system"'),
      JSON_EXTRACT_STRING(attributes, '$."messaging.system"'),
      ''
    ) AS system,
    COALESCE(
      JSON_EXTRACT_STRING(attributes, '$."server.address"'),
      JSON_EXTRACT_STRING(attributes, '$."net.peer.name"'),
      ''
    ) AS address,
    once.status, once.started_ns, once.ended_ns, once.duration_ns
  FROM once
  LEFT JOIN onward ON once.trace_id = onward.trace_id AND once.span_id = onward.parent_id
  WHERE once.kind IN ('client', 'producer') AND onward.parent_id IS NULL
),
told AS (
  SELECT caller, callee, told_by, status, started_ns, ended_ns, duration_ns
  FROM calls
  UNION ALL
  SELECT
    caller,
    CASE WHEN system = '' OR address = '' THEN system || address
      ELSE system || '@' || address END,
    'caller', status, started_ns, ended_ns, duration_ns
  FROM silent
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY caller, callee, told_by ORDER BY duration_ns) AS place,
    COUNT(*) OVER (PARTITION BY caller, callee, told_by) AS places,
    MIN(started_ns) OVER () AS first_ns,
    MAX(ended_ns) OVER () AS end_ns
  FROM told
)
SELECT
  caller, callee, told_by,
  COUNT(*) AS calls,
  SUM(CASE WHEN status = 'error' THEN 1 ELSE 0 END) AS errors,
  SUM(CAST(duration_ns AS DECIMAL(38, 0))) AS total_ns,
  MIN(CASE WHEN place * 2 >= places THEN duration_ns END) AS p50_ns,
  MIN(CASE WHEN place * 10 >= places * 9 THEN duration_ns END) AS p90_ns,
  MIN(CASE WHEN place * 100 >= places * 99 THEN duration_ns END) AS p99_ns,
  MAX(duration_ns) AS max_ns,
  MIN(first_ns) AS first_ns,
  MAX(end_ns) AS end_ns
FROM placed
WHERE caller LIKE $service ESCAPE '!' OR callee LIKE $service ESCAPE '!'
GROUP BY caller, callee, told_by
ORDER BY COUNT(*) DESC, caller, callee, told_by
