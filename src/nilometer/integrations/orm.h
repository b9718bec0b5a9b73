/* Queries of an ORM, measured in both of their parts: the fast twin of orm_pure.py, which says
 * what each thing means. Part of _sql.c.
 */

#ifndef NILOMETER_ORM_H
#define NILOMETER_ORM_H

#include "native.h"
#include <structmember.h>

enum { MODEL_RECORD, MODEL_FAILED, MODEL_QUERY, MODEL_LOAD, MODEL_FIELDS };

static PyObject *s_propagate_attrs, *s_plugin, *s_subject, *s_mapper, *s_class, *s_name, *s_is_dml,
    *s_chunks, *s_other, *s_parent;

/* A clock that was given, or the standard one: that is read without a call. */
typedef struct {
    PyObject *elapsed_ns;
    int monotonic;
} Watch;

static void watch_set(Watch *self, PyObject *elapsed_ns) {
    Py_XSETREF(self->elapsed_ns, Py_NewRef(elapsed_ns));
#ifdef __linux__
    self->monotonic = elapsed_ns == PERF_COUNTER_NS;
#endif
}

/* Its nanoseconds; 0 if the clock that was given failed, which is none of the application's
 * business. No exception may be set when this is called. */
static long long watch_now(const Watch *self) {
    if (self->monotonic) {
        return nilo_now_ns();
    }
    PyObject *result = PyObject_CallNoArgs(self->elapsed_ns);
    long long now = result == NULL ? -1 : PyLong_AsLongLong(result);
    Py_XDECREF(result);
    if (now == -1 && PyErr_Occurred()) {
        PyErr_WriteUnraisable(self->elapsed_ns);
        return 0;
    }
    return now;
}

/* Whether a request is traced or joined here. */
static int is_in_request(void) {
    PyObject *current = NULL;
    if (PyContextVar_Get(CURRENT, NULL, &current) < 0) {
        PyErr_Clear();
        return 0;
    }
    int is = current != NULL && current != Py_None;
    Py_XDECREF(current);
    return is;
}

/* What was measured is ours: that it cannot be told is none of the application's business. */
static void model_record(PyObject *model, long long spent) {
    NiloError raised = nilo_error_save();
    PyObject *ns = PyLong_FromLongLong(spent > 0 ? spent : 0);
    PyObject *result =
        ns == NULL ? NULL : PyObject_CallOneArg(PyTuple_GET_ITEM(model, MODEL_RECORD), ns);
    if (result == NULL) {
        PyErr_WriteUnraisable(model);
    }
    Py_XDECREF(ns);
    Py_XDECREF(result);
    nilo_error_restore(raised);
}

/* Count what is raised, and let it be raised. */
static void model_failed(PyObject *model) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *result = PyObject_CallOneArg(PyTuple_GET_ITEM(model, MODEL_FAILED), value);
    if (result == NULL) {
        PyErr_WriteUnraisable(model);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

/* === Loading === */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *chunks, *model; /* model: NULL before the query was executed, and once it is told */
    Watch watch;
    long long spent;
} Loading;

static PyTypeObject Loading_Type, Chunks_Type;

static void loading_end(Loading *self) {
    PyObject *model = self->model;
    self->model = NULL;
    if (model != NULL) {
        model_record(model, self->spent);
        Py_DECREF(model);
    }
}

static void loading_finalize(PyObject *self) {
    loading_end((Loading *)self);
}

static int loading_traverse(Loading *self, visitproc visit, void *arg) {
    Py_VISIT(self->chunks);
    Py_VISIT(self->model);
    Py_VISIT(self->watch.elapsed_ns);
    return 0;
}

static int loading_clear(Loading *self) {
    Py_CLEAR(self->chunks);
    Py_CLEAR(self->model);
    Py_CLEAR(self->watch.elapsed_ns);
    return 0;
}

static void loading_dealloc(Loading *self) {
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    loading_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* The next chunk while the query is measured; NULL at the end, or with an exception. */
static PyObject *loading_next(Loading *self, PyObject *given) {
    PyObject *model = Py_NewRef(self->model), *chunk;
    long long started = watch_now(&self->watch);
    if (!is_in_request()) {
        chunk = PyIter_Next(given);
    } else {
        PyObject *args[2] = {given, Py_None};
        chunk = PyObject_Vectorcall(PyTuple_GET_ITEM(model, MODEL_LOAD), args, 2, NULL);
    }
    if (chunk == NULL && PyErr_Occurred()) {
        model_failed(model);
    }
    NiloError raised = nilo_error_save();
    self->spent += watch_now(&self->watch) - started;
    nilo_error_restore(raised);
    Py_DECREF(model);
    return chunk;
}

/* === The objects of one Loading, in chunks === */

typedef struct {
    PyObject_HEAD
    Loading *loading; /* NULL at the end */
    PyObject *size, *given;
    int is_last; /* the chunk that was given is */
} Chunks;

static int chunks_traverse(Chunks *self, visitproc visit, void *arg) {
    Py_VISIT(self->loading);
    Py_VISIT(self->size);
    Py_VISIT(self->given);
    return 0;
}

static int chunks_clear(Chunks *self) {
    Py_CLEAR(self->given);
    Py_CLEAR(self->loading);
    Py_CLEAR(self->size);
    return 0;
}

static void chunks_dealloc(Chunks *self) {
    PyObject_GC_UnTrack(self);
    chunks_clear(self);
    PyObject_GC_Del(self);
}

/* What the original gives, asked for when the first chunk is. */
static int chunks_begin(Chunks *self) {
    PyObject *made = PyObject_CallOneArg(self->loading->chunks, self->size);
    self->given = made == NULL ? NULL : PyObject_GetIter(made);
    Py_XDECREF(made);
    return self->given == NULL ? -1 : 0;
}

SWITCHES_GREENLETS
static PyObject *chunks_next(Chunks *self) {
    Loading *loading = self->loading;
    if (loading == NULL) {
        return NULL;
    }
    PyObject *chunk = NULL;
    Py_INCREF(loading);
    if (!self->is_last && (self->given != NULL || chunks_begin(self) == 0)) {
        PyObject *given = Py_NewRef(self->given);
        chunk = loading->model == NULL ? PyIter_Next(given) : loading_next(loading, given);
        Py_DECREF(given);
    }
    if (chunk == Py_None) {
        Py_CLEAR(chunk);
    }
    int failed = chunk == NULL && PyErr_Occurred();
    if (chunk == NULL && !failed) {
        loading_end(loading);
    }
    if (chunk == NULL) {
        chunks_clear(self);
    } else if (self->size != NULL) { /* another thread may have come to the end meanwhile */
        int is_sized = PyObject_IsTrue(self->size);
        self->is_last = is_sized < 1;
    }
    Py_DECREF(loading);
    return chunk;
}

static PyTypeObject Chunks_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Chunks",
    .tp_doc = "The objects of a result, in chunks.",
    .tp_basicsize = sizeof(Chunks),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)chunks_next,
    .tp_dealloc = (destructor)chunks_dealloc,
    .tp_traverse = (traverseproc)chunks_traverse,
    .tp_clear = (inquiry)chunks_clear,
};

/* loading(size) */
static PyObject *loading_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames) {
    if (PyVectorcall_NARGS(nargsf) != 1 || kwnames != NULL) {
        PyErr_SetString(PyExc_TypeError, "chunks are asked for by one argument, their size");
        return NULL;
    }
    Chunks *made = PyObject_GC_New(Chunks, &Chunks_Type);
    if (made == NULL) {
        return NULL;
    }
    made->loading = (Loading *)Py_NewRef(callable);
    made->size = Py_NewRef(args[0]);
    made->given = NULL;
    made->is_last = 0;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

static Loading *loading_of(PyObject *chunks, const Watch *watch) {
    Loading *self = (Loading *)Loading_Type.tp_alloc(&Loading_Type, 0);
    if (self != NULL) {
        self->vectorcall = loading_call;
        self->chunks = Py_NewRef(chunks);
        self->watch.elapsed_ns = Py_NewRef(watch->elapsed_ns);
        self->watch.monotonic = watch->monotonic;
    }
    return self;
}

static PyTypeObject Loading_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Loading",
    .tp_doc = "Stands where a result has what gives its objects; with it a query ends.",
    .tp_basicsize = sizeof(Loading),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(Loading, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_finalize = loading_finalize,
    .tp_dealloc = (destructor)loading_dealloc,
    .tp_traverse = (traverseproc)loading_traverse,
    .tp_clear = (inquiry)loading_clear,
};

/* === Results and Query: what they share === */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original, *known, *find, *write;
    Watch watch;
    char on;
} Standing;

static int standing_traverse(Standing *self, visitproc visit, void *arg) {
    Py_VISIT(self->original);
    Py_VISIT(self->known);
    Py_VISIT(self->find);
    Py_VISIT(self->write);
    Py_VISIT(self->watch.elapsed_ns);
    return 0;
}

static int standing_clear(Standing *self) {
    Py_CLEAR(self->original);
    Py_CLEAR(self->known);
    Py_CLEAR(self->find);
    Py_CLEAR(self->write);
    Py_CLEAR(self->watch.elapsed_ns);
    return 0;
}

static void standing_dealloc(Standing *self) {
    PyObject_GC_UnTrack(self);
    standing_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *standing_getattro(PyObject *self, PyObject *name) {
    return nilo_getattr_through(self, ((Standing *)self)->original, name);
}

static PyMemberDef standing_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(Standing, original), READONLY, NULL},
    {"on", T_BOOL, offsetof(Standing, on), 0, NULL},
    {NULL, 0, 0, 0, NULL}};

SWITCHES_GREENLETS
static PyObject *results_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf), named;
    named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (!self->on || nargs < 2) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    PyObject *small[8], **given = small, *result = NULL;
    if (nargs + named > 8 && (given = PyMem_New(PyObject *, nargs + named)) == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(given, args, (size_t)(nargs + named) * sizeof(PyObject *));
    Loading *loading = loading_of(args[1], &self->watch);
    if (loading != NULL) {
        given[1] = (PyObject *)loading;
        result = PyObject_Vectorcall(self->original, given, (size_t)nargs, kwnames);
        Py_DECREF(loading);
    }
    if (given != small) {
        PyMem_Free(given);
    }
    return result;
}

static int results_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "elapsed_ns", NULL};
    PyObject *original, *elapsed_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Results", names, &original, &elapsed_ns)) {
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    watch_set(&self->watch, elapsed_ns);
    self->vectorcall = results_call;
    self->on = 1;
    return 0;
}

/* An attribute, or NULL without an exception where there is none. */
static PyObject *attribute(PyObject *of, PyObject *name) {
    PyObject *found = of == NULL ? NULL : PyObject_GetAttr(of, name);
    if (found == NULL) {
        PyErr_Clear();
    }
    return found;
}

/* What a mapping has there, or NULL without an exception. */
static PyObject *item(PyObject *of, PyObject *name) {
    PyObject *found = PyObject_GetItem(of, name);
    if (found == NULL) {
        PyErr_Clear();
    }
    return found;
}

/* The name of a statement's model: `model_of`. NULL without an exception if it has none. */
static PyObject *query_model(PyObject *statement) {
    PyObject *attributes = attribute(statement, s_propagate_attrs), *name = NULL;
    if (attributes == NULL || (PyDict_Check(attributes) && PyDict_GET_SIZE(attributes) == 0)) {
        Py_XDECREF(attributes);
        return NULL;
    }
    PyObject *plugin = item(attributes, s_plugin);
    if (plugin != NULL && PyUnicode_Check(plugin) &&
        PyUnicode_CompareWithASCIIString(plugin, "orm") == 0) {
        PyObject *subject = item(attributes, s_subject), *mapper = attribute(subject, s_mapper);
        if (mapper == NULL || mapper == Py_None) {
            name = Py_NewRef(s_other);
        } else {
            PyObject *kind = attribute(mapper, s_class);
            name = attribute(kind, s_name);
            Py_XDECREF(kind);
        }
        Py_XDECREF(mapper);
        Py_XDECREF(subject);
    }
    Py_XDECREF(plugin);
    Py_DECREF(attributes);
    return name;
}

/* Whether the ORM executes this in the course of another statement. */
static int is_part_of_another(PyObject *const *values, PyObject *kwnames) {
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (name == s_parent || PyUnicode_Compare(name, s_parent) == 0) {
            return values[i] != Py_None;
        }
    }
    return 0;
}

/* What is known of a model. New reference. */
static PyObject *query_found(Standing *self, PyObject *name) {
    PyObject *found = PyDict_GetItemWithError(self->known, name);
    if (found != NULL) {
        return Py_NewRef(found);
    }
    found = PyErr_Occurred() ? NULL : PyObject_CallOneArg(self->find, name);
    if (found != NULL && (!PyTuple_Check(found) || PyTuple_GET_SIZE(found) != MODEL_FIELDS)) {
        PyErr_SetString(PyExc_TypeError, "find() gives a Model");
        Py_CLEAR(found);
    }
    return found;
}

/* The query was executed: its result has the rest of its time, or it is over. */
static void query_executed(PyObject *result, PyObject *model, long long spent) {
    PyObject *chunks = attribute(result, s_chunks);
    if (chunks != NULL && Py_IS_TYPE(chunks, &Loading_Type)) {
        Py_XSETREF(((Loading *)chunks)->model, Py_NewRef(model));
        ((Loading *)chunks)->spent = spent;
    } else {
        model_record(model, spent);
    }
    Py_XDECREF(chunks);
}

/* session.execute(statement, ...) */
SWITCHES_GREENLETS
static PyObject *query_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                            PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *name = NULL;
    if (self->on && nargs > 1 && !is_part_of_another(args + nargs, kwnames)) {
        name = query_model(args[1]);
    }
    if (name == NULL) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    PyObject *dml = attribute(args[1], s_is_dml);
    int is_dml = dml != NULL && PyObject_IsTrue(dml) > 0;
    Py_XDECREF(dml);
    PyObject *model = is_dml ? NULL : query_found(self, name);
    Py_DECREF(name);
    if (model == NULL) {
        return is_dml ? PyObject_Vectorcall(self->write, args, nargsf, kwnames) : NULL;
    }
    PyObject *run = is_in_request() ? PyTuple_GET_ITEM(model, MODEL_QUERY) : self->original;
    long long started = watch_now(&self->watch);
    PyObject *result = PyObject_Vectorcall(run, args, nargsf, kwnames);
    NiloError raised = nilo_error_save();
    long long spent = watch_now(&self->watch) - started;
    nilo_error_restore(raised);
    if (result == NULL) {
        model_record(model, spent);
        model_failed(model);
    } else {
        query_executed(result, model, spent);
    }
    Py_DECREF(model);
    return result;
}

static int query_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "known", "find", "write", "elapsed_ns", NULL};
    PyObject *original, *known, *find, *write, *elapsed_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!OOO:Query", names, &original, &PyDict_Type,
                                     &known, &find, &write, &elapsed_ns)) {
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->known, Py_NewRef(known));
    Py_XSETREF(self->find, Py_NewRef(find));
    Py_XSETREF(self->write, Py_NewRef(write));
    watch_set(&self->watch, elapsed_ns);
    self->vectorcall = query_call;
    self->on = 1;
    return 0;
}

/* In a class of sessions it is a method. */
static PyObject *query_get(PyObject *self, PyObject *instance, PyObject *type) {
    (void)type;
    return instance == NULL || instance == Py_None ? Py_NewRef(self)
                                                   : PyMethod_New(self, instance);
}

#define STANDING                                                                                   \
    .tp_basicsize = sizeof(Standing), .tp_vectorcall_offset = offsetof(Standing, vectorcall),      \
    .tp_call = PyVectorcall_Call, .tp_new = PyType_GenericNew, .tp_getattro = standing_getattro,   \
    .tp_dealloc = (destructor)standing_dealloc, .tp_traverse = (traverseproc)standing_traverse,    \
    .tp_clear = (inquiry)standing_clear, .tp_members = standing_members

static PyTypeObject Results_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Results",
    .tp_doc = "Stands for the class of results that load objects, and makes those measure it.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_init = (initproc)results_init,
    STANDING,
};

static PyTypeObject Query_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Query",
    .tp_doc = "Stands where a session has the method that executes statements.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = query_get,
    .tp_init = (initproc)query_init,
    STANDING,
};

/* Make the names and the types of this file ready; -1 with an exception. */
static int orm_add(PyObject *module) {
    if (!(s_propagate_attrs = PyUnicode_InternFromString("_propagate_attrs")) ||
        !(s_plugin = PyUnicode_InternFromString("compile_state_plugin")) ||
        !(s_subject = PyUnicode_InternFromString("plugin_subject")) ||
        !(s_mapper = PyUnicode_InternFromString("mapper")) ||
        !(s_class = PyUnicode_InternFromString("class_")) ||
        !(s_name = PyUnicode_InternFromString("__name__")) ||
        !(s_is_dml = PyUnicode_InternFromString("is_dml")) ||
        !(s_chunks = PyUnicode_InternFromString("chunks")) ||
        !(s_other = PyUnicode_InternFromString("OTHER")) ||
        !(s_parent = PyUnicode_InternFromString("_parent_execute_state")) ||
        PyType_Ready(&Chunks_Type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, &Loading_Type) < 0 ||
                   PyModule_AddType(module, &Results_Type) < 0 ||
                   PyModule_AddType(module, &Query_Type) < 0
               ? -1
               : 0;
}

#endif
