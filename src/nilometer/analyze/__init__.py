"""Questions at scale: each is one SQL text and a small function, asked of tables or of logs.

Read in this order: `question` (what a question is), `questions` (all of them), `sources` (what
they are asked over), `engine` (who answers SQL), `local` (DuckDB does), `asking` (one question
put to all of these), then the questions themselves.
"""
