-- The spans of several files as one: each once, the spans of a trace side by side.
SELECT *
FROM spans
QUALIFY ROW_NUMBER() OVER (PARTITION BY trace_id, span_id ORDER BY append) = 1
ORDER BY trace_id, started_ns
