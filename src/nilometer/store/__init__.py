"""The tables: what was measured, kept by Delta Lake and found again by DuckDB.

`lake.Lake` writes batches and keeps the tables in shape; `query.Reader` answers questions while
any process writes. Read in this order: `tables` (the schema), `columns` and `rows` (values to
rows and back), `disk` (what survives a power cut), `stored` (one table), `lake`, `compaction`,
`reading`, `query`.
"""
