"""A question asked over batches and runs, as DuckDB answers it."""

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from nilometer.analyze.asking import Wanted, asked_of
from nilometer.analyze.question import rows_of
from nilometer.store.columns import parts, table_of
from nilometer.store.run_rows import part_of
from nilometer.store.tables import file_schema


def rows(question, batches=(), *, runs=(), wanted=None, lost=None, **given):
    """The rows of the answer, each a dict; `given` are texts by names of parameters.

    Rows of the tables with such values as in `lost` are not there any more.
    """
    asked = _asked(question, wanted, given)
    return question.answer(_sums(question, batches, runs, asked, lost), asked).to_pylist()


def sums(question, batches=(), **given):
    """The rows that the SQL gives, of which the answer is made."""
    return rows_of(_sums(question, batches, (), _asked(question, None, given)))


def _asked(question, wanted, given):
    names = {name.replace("_", "-"): text for name, text in given.items()}
    return asked_of(question, wanted or Wanted(), names)


def _sums(question, batches, runs, asked, lost=None):
    database = duckdb.connect()
    for name in question.tables:
        there = table(name, batches, runs)
        for column, value in (lost or {}).items():
            there = there.filter(pc.not_equal(there[column], value).fill_null(True))
        database.register(name, there)
    [statement] = database.extract_statements(question.text)
    bound = {name: asked[name] for name in statement.named_parameters}
    return database.sql(question.text, params=bound).to_arrow_table()


def nearest_rank(values, percent):
    """The least value that so many of a hundred are not above."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def table(name, batches=(), runs=()):
    """The table as its files have it; each batch, or run, is another append."""
    found = [part_of(run) for run in runs] if name == "runs" else _made(name, batches)
    if not found:
        return file_schema(name).empty_table()
    each = [table_of(name, [part], append) for append, part in enumerate(found)]
    return pa.concat_tables(each).cast(file_schema(name))


def _made(name, batches):
    """What each batch adds to that table."""
    each = [parts(batch) for batch in batches]
    return [one[name] for one in each if name in one]
