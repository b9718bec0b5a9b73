-- All spans of one trace, the oldest first, each once: a span delivered twice counts once.
SELECT *
FROM spans
WHERE trace_id = $trace_id
QUALIFY ROW_NUMBER() OVER (PARTITION BY trace_id, span_id ORDER BY append) = 1
ORDER BY started_ns, span_id
LIMIT $rows_max
