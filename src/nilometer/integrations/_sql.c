/* One way to execute statements, measured: the fast twin of sql_pure.py, which says what
 * each thing means, of orm_pure.py (orm.h), asked_pure.py (asked.h) and batch_pure.py (batch.h).
 * Same names, same order, same errors; one test-suite runs on both.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <time.h>

#include "sources.h"

static PyObject *CURRENT;         /* nilometer.trace.CURRENT, a context variable */
static PyObject *PERF_COUNTER_NS; /* time.perf_counter_ns, which on Linux is CLOCK_MONOTONIC */

/* Async engines leave this by switching greenlets, which copies the C stack away and so
 * reads the zones that AddressSanitizer puts around variables on it. */
#define SWITCHES_GREENLETS __attribute__((no_sanitize_address))

#include "integrations/asked.h"
#include "integrations/batch.h"
#include "integrations/orm.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original, *known, *find, *failed;
    Watch watch;
    char on;
} Execute;

static int execute_traverse(Execute *self, visitproc visit, void *arg) {
    Py_VISIT(self->original);
    Py_VISIT(self->known);
    Py_VISIT(self->find);
    Py_VISIT(self->failed);
    Py_VISIT(self->watch.elapsed_ns);
    return 0;
}

static int execute_clear(Execute *self) {
    Py_CLEAR(self->original);
    Py_CLEAR(self->known);
    Py_CLEAR(self->find);
    Py_CLEAR(self->failed);
    Py_CLEAR(self->watch.elapsed_ns);
    return 0;
}

static void execute_dealloc(Execute *self) {
    PyObject_GC_UnTrack(self);
    execute_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* What is known of a statement: its `record`, and what runs inside a request. New reference. */
static PyObject *execute_found(Execute *self, PyObject *statement) {
    PyObject *found = PyDict_GetItemWithError(self->known, statement);
    if (found != NULL) {
        return Py_NewRef(found);
    }
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        PyErr_Clear(); /* a statement made of objects, without a hash or with one that raises */
    }
    found = PyObject_CallOneArg(self->find, statement);
    if (found != NULL && (!PyTuple_Check(found) || PyTuple_GET_SIZE(found) < 2)) {
        PyErr_SetString(PyExc_TypeError, "find() gives a record and what runs inside a request");
        Py_CLEAR(found);
    }
    return found;
}

/* A statement that was given by its name, else None. Borrowed. */
static PyObject *execute_named(PyObject *const *values, PyObject *kwnames) {
    static const char *const names[] = {"query", "operation", "statement", "sql"};
    Py_ssize_t given = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (size_t name = 0; name < sizeof(names) / sizeof(*names); name++) {
        for (Py_ssize_t at = 0; at < given; at++) {
            if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, at), names[name]) == 0) {
                return values[at];
            }
        }
    }
    return Py_None;
}

/* Tell the timer how long it took. */
static int execute_record(Execute *self, PyObject *found, long long started) {
    PyObject *elapsed = PyLong_FromLongLong(watch_now(&self->watch) - started);
    if (elapsed == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallOneArg(PyTuple_GET_ITEM(found, 0), elapsed);
    Py_DECREF(elapsed);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Count what the database raised, which stays raised. */
static void execute_failed(Execute *self, PyObject *found, long long started) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *result = NULL;
    if (execute_record(self, found, started) == 0) {
        PyObject *failed = PyTuple_GET_SIZE(found) > 2 ? PyTuple_GET_ITEM(found, 2) : self->failed;
        result = PyObject_CallOneArg(failed, value);
    }
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

/* do_execute(cursor, statement, parameters, context=None), cursor.execute(statement, ...) */
SWITCHES_GREENLETS
static PyObject *execute_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames) {
    Execute *self = (Execute *)callable;
    if (!self->on) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    Py_ssize_t placed = PyVectorcall_NARGS(nargsf);
    PyObject *statement = placed < 2 ? execute_named(args + placed, kwnames) : args[1];
    PyObject *found = execute_found(self, statement);
    PyObject *current;
    if (found == NULL || PyContextVar_Get(CURRENT, NULL, &current) < 0) {
        Py_XDECREF(found);
        return NULL;
    }
    PyObject *execute =
        current == NULL || current == Py_None ? self->original : PyTuple_GET_ITEM(found, 1);
    long long started = watch_now(&self->watch);
    PyObject *result = PyObject_Vectorcall(execute, args, nargsf, kwnames);
    if (result == NULL) {
        execute_failed(self, found, started);
    } else if (execute_record(self, found, started) < 0) {
        PyErr_WriteUnraisable(callable); /* ours, and none of the application's business */
    }
    Py_XDECREF(current);
    Py_DECREF(found);
    return result;
}

static int execute_init(Execute *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "known", "find", "failed", "elapsed_ns", NULL};
    PyObject *original, *known, *find, *failed, *elapsed_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!OOO:Execute", names, &original,
                                     &PyDict_Type, &known, &find, &failed, &elapsed_ns)) {
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->known, Py_NewRef(known));
    Py_XSETREF(self->find, Py_NewRef(find));
    Py_XSETREF(self->failed, Py_NewRef(failed));
    watch_set(&self->watch, elapsed_ns);
    self->vectorcall = execute_call;
    self->on = 1;
    return 0;
}

/* In a class of cursors it is a method. */
static PyObject *execute_get(PyObject *self, PyObject *instance, PyObject *type) {
    (void)type;
    return instance == NULL || instance == Py_None ? Py_NewRef(self)
                                                   : PyMethod_New(self, instance);
}

static PyObject *execute_getattro(PyObject *self, PyObject *name) {
    return nilo_getattr_through(self, ((Execute *)self)->original, name);
}

static PyMemberDef execute_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(Execute, original), READONLY, NULL},
    {"original", T_OBJECT, offsetof(Execute, original), READONLY, NULL},
    {"on", T_BOOL, offsetof(Execute, on), 0, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Execute_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Execute",
    .tp_doc = "Stands where a dialect's ``do_execute`` or a cursor's ``execute`` stood.",
    .tp_basicsize = sizeof(Execute),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = execute_get,
    .tp_vectorcall_offset = offsetof(Execute, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)execute_init,
    .tp_getattro = execute_getattro,
    .tp_dealloc = (destructor)execute_dealloc,
    .tp_traverse = (traverseproc)execute_traverse,
    .tp_clear = (inquiry)execute_clear,
    .tp_members = execute_members,
};

/* An attribute of a module. */
static PyObject *imported(const char *from, const char *name) {
    PyObject *where = PyImport_ImportModule(from);
    PyObject *found = where == NULL ? NULL : PyObject_GetAttrString(where, name);
    Py_XDECREF(where);
    return found;
}

static int64_t interpreter = NILO_NO_INTERPRETER;

static int sql_exec(PyObject *self) {
    if (!nilo_serves(&interpreter)) {
        return -1;
    }
    Py_XSETREF(CURRENT, imported("nilometer.trace.current", "CURRENT"));
    Py_XSETREF(PERF_COUNTER_NS, imported("time", "perf_counter_ns"));
    if (CURRENT == NULL || PERF_COUNTER_NS == NULL || nilo_add_sources(self) < 0 ||
        PyModule_AddType(self, &Execute_Type) < 0 || orm_add(self) < 0 || asked_add(self) < 0 ||
        PyModule_AddType(self, &Batch_Type) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(self, "IMPLEMENTATION", "c");
}

static PyMethodDef functions[] = {
    {"shape_of", (PyCFunction)(void (*)(void))batch_shape_of, METH_FASTCALL,
     "What the batch of a client is called, and the names of its commands: one tuple; None if it "
     "is otherwise than expected."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, sql_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.integrations._sql",
    .m_doc = "One way to execute statements, in C; sql_pure.py is the specification.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__sql(void) {
    return PyModuleDef_Init(&module);
}
