/* What WSGI and ASGI exchanges have in common: exchange_pure.py's `Meters` and `Exchange`.
 *
 * Rule: nothing here may replace an exception of the application by one of ours. `finish` runs
 * with the exception put aside and gives whatever goes wrong in it to `meters.faulted`.
 */

#ifndef NILOMETER_EXCHANGE_H
#define NILOMETER_EXCHANGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <string.h>
#include <time.h>

#define LENGTH_DIGITS_MAX 18 /* 10**18 - 1 < 2**63: no announced length overflows a counter */
#define STATUS_MAX 999
#define ROUTE_LENGTH_MAX 200 /* routes.py's, which cuts longer ones */

static PyObject *METHODS;      /* {"GET": "GET", ...}: RFC 9110, PATCH and QUERY */
static PyObject *OTHER_METHOD; /* "_OTHER" */
static PyObject *CLOSED_EARLY, *NO_RESPONSE;
static PyObject *CURRENT; /* nilometer.trace.CURRENT, a context variable */
static PyObject *PERF_COUNTER_NS; /* time.perf_counter_ns, which on Linux is CLOCK_MONOTONIC */

/* Names that are looked up, made once. */
static PyObject *s_CONTENT_LENGTH, *s_REQUEST_METHOD, *s_method, *s_headers, *s_close, *s_write,
    *s_type, *s_body, *s_more_body, *s_status, *s_trailers, *s_more_trailers, *s_get, *s_lower,
    *s_content_length, *s_attend, *s_settle, *s_recording, *s_name, *s_set_attribute, *s_finish,
    *s_http_route, *s_status_code, *s_request_size, *s_response_size, *s_comma;
static PyObject *MARK;        /* in the environ of what is being measured already */
static PyObject *ATTENDED[3]; /* headers for which a request is attended to in Python */
static char attends_all;      /* each request is attended to, whatever its headers */

/* --- Meters ------------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *times, *find, *responses, *bytes_in, *bytes_out, *failed, *route_keys, *route_of,
        *closed, *faulted, *elapsed_ns;
    int monotonic; /* elapsed_ns is the standard one: read the clock without a call */
    Py_ssize_t live;
    unsigned long generation; /* counts forks: what began in the parent does not end here */
} Meters;

static PyTypeObject Meters_Type;

static int meters_traverse(Meters *self, visitproc visit, void *arg) {
    Py_VISIT(self->times);
    Py_VISIT(self->find);
    Py_VISIT(self->responses);
    Py_VISIT(self->bytes_in);
    Py_VISIT(self->bytes_out);
    Py_VISIT(self->failed);
    Py_VISIT(self->route_keys);
    Py_VISIT(self->route_of);
    Py_VISIT(self->closed);
    Py_VISIT(self->faulted);
    Py_VISIT(self->elapsed_ns);
    return 0;
}

static int meters_clear(Meters *self) {
    Py_CLEAR(self->times);
    Py_CLEAR(self->find);
    Py_CLEAR(self->responses);
    Py_CLEAR(self->bytes_in);
    Py_CLEAR(self->bytes_out);
    Py_CLEAR(self->failed);
    Py_CLEAR(self->route_keys);
    Py_CLEAR(self->route_of);
    Py_CLEAR(self->closed);
    Py_CLEAR(self->faulted);
    Py_CLEAR(self->elapsed_ns);
    return 0;
}

static void meters_dealloc(Meters *self) {
    PyObject_GC_UnTrack(self);
    meters_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int meters_init(Meters *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"times",      "find",     "responses", "bytes_in", "bytes_out",
                            "failed",     "route_keys", "route_of", "closed",  "faulted",
                            "elapsed_ns", NULL};
    PyObject *times, *find, *responses, *bytes_in, *bytes_out, *failed, *route_keys, *route_of,
        *closed, *faulted, *elapsed_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO!OOOO!OOOO:Meters", names, &PyDict_Type,
                                     &times, &find, &PyTuple_Type, &responses, &bytes_in,
                                     &bytes_out, &failed, &PyTuple_Type, &route_keys, &route_of,
                                     &closed, &faulted, &elapsed_ns)) {
        return -1;
    }
    if (PyTuple_GET_SIZE(responses) != 6) {
        PyErr_SetString(PyExc_ValueError, "six classes of status are counted");
        return -1;
    }
    Py_XSETREF(self->times, Py_NewRef(times));
    Py_XSETREF(self->find, Py_NewRef(find));
    Py_XSETREF(self->responses, Py_NewRef(responses));
    Py_XSETREF(self->bytes_in, Py_NewRef(bytes_in));
    Py_XSETREF(self->bytes_out, Py_NewRef(bytes_out));
    Py_XSETREF(self->failed, Py_NewRef(failed));
    Py_XSETREF(self->route_keys, Py_NewRef(route_keys));
    Py_XSETREF(self->route_of, Py_NewRef(route_of));
    Py_XSETREF(self->closed, Py_NewRef(closed));
    Py_XSETREF(self->faulted, Py_NewRef(faulted));
    Py_XSETREF(self->elapsed_ns, Py_NewRef(elapsed_ns));
#ifdef __linux__
    self->monotonic = elapsed_ns == PERF_COUNTER_NS;
#endif
    return 0;
}

static PyObject *meters_in_flight(Meters *self, PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromSsize_t(self->live);
}

static PyObject *meters_reset_after_fork(Meters *self, PyObject *Py_UNUSED(ignored)) {
    self->live = 0;
    self->generation++;
    Py_RETURN_NONE;
}

/* The clock's nanoseconds; -1 with an exception if the clock that was given failed. */
static long long meters_now(Meters *self) {
    if (self->monotonic) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (long long)now.tv_sec * 1000000000LL + now.tv_nsec;
    }
    PyObject *result = PyObject_CallNoArgs(self->elapsed_ns);
    if (result == NULL) {
        return -1;
    }
    long long now = PyLong_AsLongLong(result);
    Py_DECREF(result);
    return now;
}

static PyMethodDef meters_methods[] = {
    {"in_flight", (PyCFunction)meters_in_flight, METH_NOARGS,
     "How many exchanges have begun and not finished."},
    {"reset_after_fork", (PyCFunction)meters_reset_after_fork, METH_NOARGS,
     "What was in flight in the parent is not in flight here."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef meters_members[] = {
    {"elapsed_ns", T_OBJECT, offsetof(Meters, elapsed_ns), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Meters_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.Meters",
    .tp_basicsize = sizeof(Meters),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)meters_init,
    .tp_dealloc = (destructor)meters_dealloc,
    .tp_traverse = (traverseproc)meters_traverse,
    .tp_clear = (inquiry)meters_clear,
    .tp_methods = meters_methods,
    .tp_members = meters_members,
};

/* --- What WSGI and ASGI have in common --------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Meters *meters;
    PyObject *carrier, *method, *respond, *error, *handled, *route, *span, *headers, *write;
    PyObject *flight; /* the flight recorder's record of it, or NULL */
    long long request_bytes, response_bytes, started_ns;
    unsigned long generation;
    int status;
    char finished, triggered, trailers, attended, route_failed;
} Exchange;

static int exchange_traverse(Exchange *self, visitproc visit, void *arg) {
    Py_VISIT(self->meters);
    Py_VISIT(self->carrier);
    Py_VISIT(self->respond);
    Py_VISIT(self->error);
    Py_VISIT(self->handled);
    Py_VISIT(self->span);
    Py_VISIT(self->flight);
    Py_VISIT(self->headers);
    Py_VISIT(self->write);
    return 0;
}

static int exchange_clear(Exchange *self) {
    Py_CLEAR(self->carrier);
    Py_CLEAR(self->respond);
    Py_CLEAR(self->error);
    Py_CLEAR(self->handled);
    Py_CLEAR(self->span);
    Py_CLEAR(self->flight);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->write);
    return 0;
}

/* Begin an exchange; `type` is one of ours, `method` borrowed or NULL. */
static Exchange *exchange_new(PyTypeObject *type, vectorcallfunc call, PyObject *meters,
                              PyObject *carrier, PyObject *respond, PyObject *method) {
    Exchange *self = (Exchange *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = call;
    self->finished = 1; /* nothing to tell, should the rest fail */
    self->meters = (Meters *)Py_NewRef(meters);
    self->carrier = Py_NewRef(carrier);
    self->respond = Py_NewRef(respond);
    PyObject *known = NULL;
    if (method != NULL) {
        known = PyDict_GetItemWithError(METHODS, method);
        if (known == NULL && PyErr_Occurred()) {
            PyErr_Clear(); /* not hashable */
        }
    }
    self->method = Py_NewRef(known != NULL ? known : OTHER_METHOD);
    self->generation = self->meters->generation;
    return self;
}

/* The last step of beginning: from here on the exchange is in flight. */
static int exchange_start(Exchange *self) {
    self->started_ns = meters_now(self->meters);
    if (self->started_ns == -1 && PyErr_Occurred()) {
        return -1;
    }
    self->meters->live++;
    self->finished = 0;
    return 0;
}

static int call_with_number(PyObject *callable, long long number) {
    PyObject *argument = PyLong_FromLongLong(number);
    if (argument == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallOneArg(callable, argument);
    Py_DECREF(argument);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The route that somebody has named, borrowed; NULL where it takes `route_of` to read it. */
static PyObject *exchange_named_route(Exchange *self, PyObject *key) {
    if (!PyDict_Check(self->carrier) || PyUnicode_Compare(key, s_http_route) != 0) {
        return NULL;
    }
    PyObject *route = PyDict_GetItem(self->carrier, key);
    int is_whole = route != NULL && PyUnicode_CheckExact(route) &&
                   PyUnicode_GET_LENGTH(route) > 0 &&
                   PyUnicode_GET_LENGTH(route) <= ROUTE_LENGTH_MAX;
    return is_whole ? route : NULL;
}

/* Ask for the route if the carrier has one of the keys that say it. */
static int exchange_find_route(Exchange *self) {
    PyObject *keys = self->meters->route_keys;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keys); i++) {
        PyObject *key = PyTuple_GET_ITEM(keys, i);
        int found = PyDict_Check(self->carrier) ? PyDict_Contains(self->carrier, key)
                                                : PySequence_Contains(self->carrier, key);
        if (found < 0) {
            return -1;
        }
        if (found) {
            PyObject *route = exchange_named_route(self, key);
            if (route != NULL) {
                Py_XSETREF(self->route, Py_NewRef(route));
                return 0;
            }
            route = PyObject_CallOneArg(self->meters->route_of, self->carrier);
            if (route == NULL) {
                return -1;
            }
            if (route == Py_None) {
                Py_DECREF(route);
            } else {
                Py_XSETREF(self->route, route);
            }
            return 0;
        }
    }
    return 0;
}

/* The bound `record` of this series, a new reference. */
static PyObject *exchange_record(Exchange *self) {
    Meters *meters = self->meters;
    PyObject *route = self->route == NULL ? Py_None : self->route;
    PyObject *series =
        self->route == NULL ? Py_NewRef(self->method) : PyTuple_Pack(2, self->method, route);
    if (series == NULL) {
        return NULL;
    }
    PyObject *record = PyDict_GetItemWithError(meters->times, series);
    Py_DECREF(series);
    if (record != NULL) {
        return Py_NewRef(record);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(meters->find, self->method, route, NULL);
}

/* Raised before the response began, or it never did: every server answers 500, unless the request
 * was cancelled or killed (asyncio, generators, greenlets): then nobody is there to be answered. */
static int is_answered_by_500(PyObject *error) {
    PyTypeObject *kind = Py_TYPE(error);
    return error == NO_RESPONSE || PyType_IsSubtype(kind, (PyTypeObject *)PyExc_Exception) ||
           PyType_IsSubtype(kind, (PyTypeObject *)PyExc_SystemExit) ||
           PyType_IsSubtype(kind, (PyTypeObject *)PyExc_KeyboardInterrupt);
}

static int exchange_status_class(Exchange *self) {
    return self->status >= 100 && self->status < 600 ? self->status / 100 : 0;
}

static int exchange_close(Exchange *self); /* http_span.h */

static int exchange_tell(Exchange *self, long long elapsed) {
    Meters *meters = self->meters;
    if (self->carrier != NULL && self->route == NULL && !self->route_failed &&
        exchange_find_route(self) < 0) {
        return -1;
    }
    PyObject *record = exchange_record(self);
    if (record == NULL) {
        return -1;
    }
    int failed = call_with_number(record, elapsed);
    Py_DECREF(record);
    if (failed < 0) {
        return -1;
    }
    PyObject *result =
        PyObject_CallNoArgs(PyTuple_GET_ITEM(meters->responses, exchange_status_class(self)));
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    PyObject *error = self->error != NULL ? self->error : self->handled;
    if (error != NULL && error != Py_None) {
        result = PyObject_CallOneArg(meters->failed, error);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    if (self->request_bytes > 0 && call_with_number(meters->bytes_in, self->request_bytes) < 0) {
        return -1;
    }
    if (self->response_bytes && call_with_number(meters->bytes_out, self->response_bytes) < 0) {
        return -1;
    }
    return self->span != NULL && self->span != Py_None ? exchange_close(self) : 0;
}

/* Give an exception that measuring raised to `faulted`; it must not reach the application. */
static void exchange_faulted(Exchange *self) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_WriteUnraisable((PyObject *)self); /* a signal's exception: not ours to count */
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *result = PyObject_CallOneArg(self->meters->faulted, value);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(result);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* The exchange is over; `error` is an exception, a word or NULL. Leaves a raised one raised. */
static void exchange_finish(Exchange *self, PyObject *error) {
    if (self->finished) {
        return;
    }
    self->finished = 1;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (error != NULL && error != Py_None) {
        Py_XSETREF(self->error, Py_NewRef(error));
        if (self->status == 0 && is_answered_by_500(error)) {
            self->status = 500;
        }
    }
    if (self->generation == self->meters->generation) {
        self->meters->live--;
    }
    long long now = meters_now(self->meters);
    if ((now == -1 && PyErr_Occurred()) || exchange_tell(self, now - self->started_ns) < 0) {
        exchange_faulted(self);
    }
    Py_CLEAR(self->carrier);
    Py_CLEAR(self->handled);
    PyErr_Restore(type, value, traceback);
}

/* The exception that is raised now ends the exchange and stays raised. */
static void exchange_finish_raised(Exchange *self) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    exchange_finish(self, value);
    PyErr_Restore(type, value, traceback);
}

static void exchange_finalize(Exchange *self) {
    exchange_finish(self, NULL);
}

static void exchange_dealloc(Exchange *self) {
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return; /* somebody keeps it after all */
    }
    PyObject_GC_UnTrack(self);
    exchange_clear(self);
    Py_CLEAR(self->meters);
    Py_CLEAR(self->method);
    Py_CLEAR(self->route);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *exchange_finish_method(Exchange *self, PyObject *const *args, Py_ssize_t n) {
    if (n > 1) {
        PyErr_SetString(PyExc_TypeError, "finish() takes at most one error");
        return NULL;
    }
    exchange_finish(self, n ? args[0] : NULL);
    Py_RETURN_NONE;
}

/* A length in decimal digits; 0 for anything else. */
static long long length_of(const char *text, Py_ssize_t size) {
    if (size == 0 || size > LENGTH_DIGITS_MAX) {
        return 0;
    }
    long long length = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }
        length = length * 10 + (text[i] - '0');
    }
    return length;
}

static long long announced_length(PyObject *text) {
    if (text == NULL) {
        return 0;
    }
    if (PyUnicode_Check(text)) {
        if (!PyUnicode_IS_ASCII(text)) {
            return 0;
        }
        return length_of((const char *)PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text));
    }
    return PyBytes_Check(text) ? length_of(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)) : 0;
}

/* Add the length of a part to what has been sent; whether it has a length. */
static int exchange_sent(Exchange *self, PyObject *part) {
    if (PyBytes_CheckExact(part)) {
        self->response_bytes += PyBytes_GET_SIZE(part);
        return 1;
    }
    Py_ssize_t size = PyObject_Size(part);
    if (size < 0) {
        PyErr_Clear(); /* not bytes: the server will say so */
        return 0;
    }
    self->response_bytes += size;
    return 1;
}

/* Whether a span is current, perhaps of the request before: 1, 0, or -1 with an exception. */
static int exchange_is_in_span(void) {
    PyObject *current;
    if (PyContextVar_Get(CURRENT, NULL, &current) < 0) {
        return -1;
    }
    Py_XDECREF(current); /* the context has it */
    return current != NULL && current != Py_None;
}

#define EXCHANGE_MEMBERS                                                                        \
    {"meters", T_OBJECT, offsetof(Exchange, meters), READONLY, NULL},                           \
    {"carrier", T_OBJECT, offsetof(Exchange, carrier), READONLY, NULL},                         \
    {"method", T_OBJECT, offsetof(Exchange, method), READONLY, NULL},                           \
    {"respond", T_OBJECT, offsetof(Exchange, respond), READONLY, NULL},                         \
    {"error", T_OBJECT, offsetof(Exchange, error), READONLY, NULL},                             \
    {"handled", T_OBJECT, offsetof(Exchange, handled), READONLY, NULL},                         \
    {"route", T_OBJECT, offsetof(Exchange, route), READONLY, NULL},                             \
    {"span", T_OBJECT, offsetof(Exchange, span), 0, NULL},                                      \
    {"flight", T_OBJECT, offsetof(Exchange, flight), 0, NULL},                                  \
    {"request_bytes", T_LONGLONG, offsetof(Exchange, request_bytes), 0, NULL},                  \
    {"response_bytes", T_LONGLONG, offsetof(Exchange, response_bytes), 0, NULL},                \
    {"started_ns", T_LONGLONG, offsetof(Exchange, started_ns), READONLY, NULL},                 \
    {"status", T_INT, offsetof(Exchange, status), READONLY, NULL},                              \
    {"finished", T_BOOL, offsetof(Exchange, finished), READONLY, NULL}

#define FINISH_METHOD                                                                           \
    {"finish", (PyCFunction)(void (*)(void))exchange_finish_method, METH_FASTCALL,              \
     "The exchange is over: tell the instruments. `error` is an exception or a word."}

static int takes_three(const char *name, PyObject *const *args, size_t nargsf,
                       PyObject *kwnames) {
    if (PyVectorcall_NARGS(nargsf) != 3 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s takes exactly three arguments", name);
        return -1;
    }
    if (!Py_IS_TYPE(args[0], &Meters_Type) || ((Meters *)args[0])->times == NULL) {
        PyErr_Format(PyExc_TypeError, "%s takes Meters of the same twin, which were made", name);
        return -1;
    }
    return 0;
}

#endif
