-- The traces that have a span that started in that time, with all their spans, as asked for. So
-- many are looked through, first of all those where a span of that time is as asked for already.
-- The needle is in the text of all attributes that can be meant: to look for it costs a third of
-- parsing them.
WITH met AS (
  SELECT
    trace_id,
    MAX(started_ns) AS latest_ns,
    BOOL_OR(
      ($service IS NULL OR service = $service)
      AND ($name IS NULL OR name = $name)
      AND ($request_id IS NULL OR request_id = $request_id)
      AND ($kind IS NULL OR kind = $kind)
      AND ($min_span_ns IS NULL OR ended_ns::HUGEINT - started_ns >= $min_span_ns)
      AND ($max_span_ns IS NULL OR ended_ns::HUGEINT - started_ns < $max_span_ns)
      AND ($needle IS NULL OR CASE WHEN CONTAINS(attributes, $needle)
        THEN JSON_EXTRACT_STRING(attributes, $paths::VARCHAR[]) = $texts ELSE false END)
    ) AS is_as_asked
  FROM spans
  WHERE started_ns >= $since_ns AND started_ns <= $last_ns
  GROUP BY trace_id
  ORDER BY COALESCE(is_as_asked, false) DESC, latest_ns DESC, trace_id
  LIMIT $looked_max
),
chosen AS (
  SELECT
    trace_id,
    ANY_VALUE(latest_ns) AS latest_ns,
    GREATEST(MAX(ended_ns)::HUGEINT - MIN(started_ns), 0) AS duration_ns,
    BOOL_OR(status = 'error') AS failed
  FROM spans JOIN met USING (trace_id)
  GROUP BY trace_id
  HAVING BOOL_OR(
      ($service IS NULL OR service = $service)
      AND ($name IS NULL OR name = $name)
      AND ($request_id IS NULL OR request_id = $request_id)
      AND ($kind IS NULL OR kind = $kind)
      AND ($min_span_ns IS NULL OR ended_ns::HUGEINT - started_ns >= $min_span_ns)
      AND ($max_span_ns IS NULL OR ended_ns::HUGEINT - started_ns < $max_span_ns)
      AND ($needle IS NULL OR CASE WHEN CONTAINS(attributes, $needle)
        THEN JSON_EXTRACT_STRING(attributes, $paths::VARCHAR[]) = $texts ELSE false END)
    )
    AND duration_ns >= $min_duration_ns
    AND ($max_duration_ns IS NULL OR duration_ns < $max_duration_ns)
    AND ($error IS NULL OR failed = $error)
)
