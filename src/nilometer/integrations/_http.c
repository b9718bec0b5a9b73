/* One HTTP exchange on the server's side: the fast twin of http_pure.py, which says what each
 * thing means. Same names, same order, same errors; one test-suite runs on both.
 *
 * Rule: nothing here may replace an exception of the application by one of ours. `finish` runs
 * with the exception put aside and gives whatever goes wrong in it to `meters.faulted`.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <string.h>
#include <time.h>

#define LENGTH_DIGITS_MAX 18 /* 10**18 - 1 < 2**63: no announced length overflows a counter */
#define STATUS_MAX 999

static PyObject *METHODS;      /* {"GET": "GET", ...}: RFC 9110, PATCH and QUERY */
static PyObject *OTHER_METHOD; /* "_OTHER" */
static PyObject *CLOSED_EARLY, *NO_RESPONSE;
static PyObject *PERF_COUNTER_NS; /* time.perf_counter_ns, which on Linux is CLOCK_MONOTONIC */

/* Names that are looked up, made once. */
static PyObject *s_CONTENT_LENGTH, *s_REQUEST_METHOD, *s_method, *s_headers, *s_close, *s_write,
    *s_type, *s_body, *s_more_body, *s_status, *s_trailers, *s_more_trailers, *s_get, *s_lower,
    *s_content_length, *s_attend, *s_settle;
static PyObject *MARK;        /* in the environ of what is being measured already */
static PyObject *ATTENDED[3]; /* headers for which a request is attended to in Python */

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
    long long request_bytes, response_bytes, started_ns;
    unsigned long generation;
    int status;
    char finished, triggered, trailers, attended;
} Exchange;

static int exchange_traverse(Exchange *self, visitproc visit, void *arg) {
    Py_VISIT(self->meters);
    Py_VISIT(self->carrier);
    Py_VISIT(self->respond);
    Py_VISIT(self->error);
    Py_VISIT(self->handled);
    Py_VISIT(self->span);
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
            PyObject *route = PyObject_CallOneArg(self->meters->route_of, self->carrier);
            if (route == NULL) {
                return -1;
            }
            Py_XSETREF(self->route, route);
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
        route == Py_None ? Py_NewRef(self->method) : PyTuple_Pack(2, self->method, route);
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

static int exchange_status_class(Exchange *self) {
    if (self->status == 0 && self->error != NULL && PyExceptionInstance_Check(self->error)) {
        return 5; /* raised before the response began: every server answers 500 */
    }
    return self->status >= 100 && self->status < 600 ? self->status / 100 : 0;
}

static int exchange_tell(Exchange *self, long long elapsed) {
    Meters *meters = self->meters;
    if (self->carrier != NULL && exchange_find_route(self) < 0) {
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
    if (self->span != NULL && self->span != Py_None) {
        result = PyObject_CallOneArg(meters->closed, (PyObject *)self);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    return 0;
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

/* Add the length of a part to what has been sent; something without length is not counted. */
static void exchange_sent(Exchange *self, PyObject *part) {
    if (PyBytes_CheckExact(part)) {
        self->response_bytes += PyBytes_GET_SIZE(part);
        return;
    }
    Py_ssize_t size = PyObject_Size(part);
    if (size < 0) {
        PyErr_Clear(); /* not bytes: the server will say so */
    } else {
        self->response_bytes += size;
    }
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
    if (!Py_IS_TYPE(args[0], &Meters_Type)) {
        PyErr_Format(PyExc_TypeError, "%s takes Meters of the same twin", name);
        return -1;
    }
    return 0;
}

/* --- WSGI -------------------------------------------------------------------------------- */

static PyTypeObject WsgiExchange_Type, Body_Type, SizedBody_Type;

/* The code of a status line; 0 if it has none. */
static int status_of(PyObject *status) {
    if (!PyUnicode_Check(status) || PyUnicode_GET_LENGTH(status) < 3) {
        return 0;
    }
    int code = 0;
    for (Py_ssize_t i = 0; i < 3; i++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(status, i);
        if (c < '0' || c > '9') {
            return 0;
        }
        code = code * 10 + (int)(c - '0');
    }
    return code;
}

/* start_response(status, headers, exc_info=None) */
static PyObject *wsgi_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                           PyObject *kwnames) {
    Exchange *self = (Exchange *)callable;
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    PyObject *exc_info = n == 3 ? args[2] : Py_None;
    if (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0) {
        if (n != 2 || PyTuple_GET_SIZE(kwnames) != 1 ||
            PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "exc_info") != 0) {
            n = -1;
        } else {
            exc_info = args[2];
        }
    }
    if (n != 2 && n != 3) {
        PyErr_SetString(PyExc_TypeError,
                        "start_response takes a status, headers and perhaps exc_info");
        return NULL;
    }
    PyObject *positional[4] = {NULL, args[0], args[1], exc_info};
    PyObject *write = PyObject_Vectorcall(
        self->respond, positional + 1,
        (exc_info == Py_None ? 2 : 3) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (write == NULL) {
        return NULL; /* too late for a second response: nothing changes here */
    }
    if (exc_info != Py_None) {
        PyObject *error = PySequence_GetItem(exc_info, 1);
        if (error == NULL) {
            Py_DECREF(write);
            return NULL;
        }
        Py_XSETREF(self->handled, error);
    }
    self->status = status_of(args[0]);
    Py_XSETREF(self->headers, Py_NewRef(args[1]));
    if (write == Py_None) {
        return write;
    }
    Py_XSETREF(self->write, write);
    return PyObject_GetAttr(callable, s_write);
}

/* WsgiExchange(meters, environ, start_response) */
static PyObject *wsgi_new(PyObject *type, PyObject *const *args, size_t nargsf,
                          PyObject *kwnames) {
    if (takes_three("WsgiExchange", args, nargsf, kwnames) < 0) {
        return NULL;
    }
    PyObject *environ = args[1];
    if (!PyDict_Check(environ)) {
        PyErr_SetString(PyExc_TypeError, "the environ must be a dict");
        return NULL;
    }
    PyObject *method = PyDict_GetItemWithError(environ, s_REQUEST_METHOD);
    PyObject *length = PyDict_GetItemWithError(environ, s_CONTENT_LENGTH);
    Exchange *self =
        exchange_new((PyTypeObject *)type, wsgi_call, args[0], environ, args[2], method);
    if (self == NULL) {
        return NULL;
    }
    self->request_bytes = announced_length(length);
    if (exchange_start(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *wsgi_write(Exchange *self, PyObject *data) {
    if (self->write == NULL) {
        PyErr_SetString(PyExc_TypeError, "write() before start_response()");
        return NULL;
    }
    PyObject *result = PyObject_CallOneArg(self->write, data);
    if (result != NULL) {
        exchange_sent(self, data);
    }
    return result;
}

static PyObject *wsgi_count_announced(Exchange *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *iterator =
        self->headers == NULL ? NULL : PyObject_GetIter(self->headers);
    PyObject *pair;
    while (iterator != NULL && (pair = PyIter_Next(iterator)) != NULL) {
        PyObject *name = PySequence_GetItem(pair, 0);
        PyObject *value = name == NULL ? NULL : PySequence_GetItem(pair, 1);
        PyObject *lower = value == NULL ? NULL : PyObject_CallMethodNoArgs(name, s_lower);
        if (lower != NULL) {
            if (PyObject_RichCompareBool(lower, s_content_length, Py_EQ) > 0) {
                self->response_bytes = announced_length(value);
            }
            Py_DECREF(lower);
        }
        Py_XDECREF(value);
        Py_XDECREF(name);
        Py_DECREF(pair);
        if (PyErr_Occurred()) {
            break;
        }
    }
    PyErr_Clear(); /* odd headers are the server's to refuse */
    Py_XDECREF(iterator);
    Py_RETURN_NONE;
}

static PyObject *body_of(PyTypeObject *type, PyObject *exchange, PyObject *result);

static PyObject *wsgi_body(Exchange *self, PyObject *result) {
    PyTypeObject *type = Py_TYPE(result);
    int sized = (type->tp_as_sequence && type->tp_as_sequence->sq_length) ||
                (type->tp_as_mapping && type->tp_as_mapping->mp_length);
    return body_of(sized ? &SizedBody_Type : &Body_Type, (PyObject *)self, result);
}

static PyMethodDef wsgi_methods[] = {
    FINISH_METHOD,
    {"write", (PyCFunction)wsgi_write, METH_O,
     "Send bytes past the body, as PEP 3333 allows old applications to."},
    {"count_announced", (PyCFunction)wsgi_count_announced, METH_NOARGS,
     "Count the bytes that the response's headers announce, for a body nobody sees."},
    {"body", (PyCFunction)wsgi_body, METH_O, "The result of the application, watched to its end."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef wsgi_members[] = {
    EXCHANGE_MEMBERS,
    {"headers", T_OBJECT, offsetof(Exchange, headers), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject WsgiExchange_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.WsgiExchange",
    .tp_doc = "One WSGI request. It is the ``start_response`` that the application is given.",
    .tp_basicsize = sizeof(Exchange),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Exchange, vectorcall),
    .tp_vectorcall = wsgi_new,
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = (destructor)exchange_dealloc,
    .tp_finalize = (destructor)exchange_finalize,
    .tp_traverse = (traverseproc)exchange_traverse,
    .tp_clear = (inquiry)exchange_clear,
    .tp_methods = wsgi_methods,
    .tp_members = wsgi_members,
};

/* --- The body of a WSGI response --------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Exchange *exchange;
    PyObject *result, *iterator;
    char exhausted;
} Body;

static PyObject *body_of(PyTypeObject *type, PyObject *exchange, PyObject *result) {
    Body *self = (Body *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->exchange = (Exchange *)Py_NewRef(exchange);
    self->result = Py_NewRef(result);
    return (PyObject *)self;
}

/* Body(exchange, result) */
static PyObject *body_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *exchange, *result;
    static char *names[] = {"exchange", "result", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O:Body", names, &WsgiExchange_Type,
                                     &exchange, &result)) {
        return NULL;
    }
    return body_of(type, exchange, result);
}

static int body_traverse(Body *self, visitproc visit, void *arg) {
    Py_VISIT(self->exchange);
    Py_VISIT(self->result);
    Py_VISIT(self->iterator);
    return 0;
}

static int body_clear(Body *self) {
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->result);
    return 0;
}

static void body_end(Body *self) {
    Exchange *exchange = self->exchange;
    int early = self->iterator != NULL && !self->exhausted &&
                PyUnicode_CompareWithASCIIString(exchange->method, "HEAD") != 0;
    exchange_finish(exchange, early ? CLOSED_EARLY : NULL);
}

static void body_dealloc(Body *self) {
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    body_clear(self);
    Py_CLEAR(self->exchange);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int body_begin(Body *self) {
    PyObject *iterator = PyObject_GetIter(self->result);
    if (iterator == NULL) {
        exchange_finish_raised(self->exchange);
        return -1;
    }
    Py_XSETREF(self->iterator, iterator);
    return 0;
}

static PyObject *body_iter(Body *self) {
    if (self->exhausted) { /* read before, to learn its length: count the last reading */
        self->exhausted = 0;
        self->exchange->response_bytes = 0;
    }
    return body_begin(self) < 0 ? NULL : Py_NewRef(self);
}

/* Whether an exhausted iteration has finished with this result: closing it does nothing. */
static int nothing_to_close(PyObject *result) {
    if (PyList_CheckExact(result) || PyTuple_CheckExact(result) || PyGen_CheckExact(result)) {
        return 1;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int closes = PyObject_HasAttr(result, s_close);
    PyErr_Restore(type, value, traceback);
    return !closes;
}

static PyObject *body_next(Body *self) {
    if (self->iterator == NULL && body_begin(self) < 0) {
        return NULL;
    }
    PyObject *chunk = Py_TYPE(self->iterator)->tp_iternext(self->iterator);
    if (chunk != NULL) {
        exchange_sent(self->exchange, chunk);
        return chunk;
    }
    if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_StopIteration)) {
        self->exhausted = 1;
        if (nothing_to_close(self->result)) {
            exchange_finish(self->exchange, NULL);
        }
    } else {
        exchange_finish_raised(self->exchange);
    }
    return NULL;
}

static PyObject *body_close(Body *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *result = self->result;
    if (!PyList_CheckExact(result) && !PyTuple_CheckExact(result)) {
        PyObject *close = PyObject_GetAttr(result, s_close);
        if (close == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                exchange_finish_raised(self->exchange);
                return NULL;
            }
            PyErr_Clear();
        } else {
            PyObject *closed = PyObject_CallNoArgs(close);
            Py_DECREF(close);
            if (closed == NULL) {
                exchange_finish_raised(self->exchange);
                return NULL;
            }
            Py_DECREF(closed);
        }
    }
    body_end(self);
    Py_RETURN_NONE;
}

static Py_ssize_t body_length(Body *self) {
    return PyObject_Size(self->result);
}

static PyMethodDef body_methods[] = {
    {"close", (PyCFunction)body_close, METH_NOARGS,
     "Close the application's result and end the exchange."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef body_members[] = {
    {"exchange", T_OBJECT, offsetof(Body, exchange), READONLY, NULL},
    {"result", T_OBJECT, offsetof(Body, result), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Body_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.Body",
    .tp_doc = "An application's result on its way to the server; the exchange ends with it.",
    .tp_basicsize = sizeof(Body),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = body_new,
    .tp_dealloc = (destructor)body_dealloc,
    .tp_finalize = (destructor)body_end,
    .tp_traverse = (traverseproc)body_traverse,
    .tp_clear = (inquiry)body_clear,
    .tp_iter = (getiterfunc)body_iter,
    .tp_iternext = (iternextfunc)body_next,
    .tp_methods = body_methods,
    .tp_members = body_members,
};

static PySequenceMethods sized_body_sequence = {.sq_length = (lenfunc)body_length};

static PyTypeObject SizedBody_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.SizedBody",
    .tp_doc = "A body that knows how many parts it has, as servers like to know.",
    .tp_base = &Body_Type,
    .tp_basicsize = sizeof(Body),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = body_new,
    .tp_dealloc = (destructor)body_dealloc,
    .tp_finalize = (destructor)body_end,
    .tp_traverse = (traverseproc)body_traverse,
    .tp_clear = (inquiry)body_clear,
    .tp_as_sequence = &sized_body_sequence,
};

/* --- The way into a WSGI application ------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *app, *meters;
} WsgiEntry;

static int entry_traverse(WsgiEntry *self, visitproc visit, void *arg) {
    Py_VISIT(self->app);
    Py_VISIT(self->meters);
    return 0;
}

static int entry_clear(WsgiEntry *self) {
    Py_CLEAR(self->app);
    Py_CLEAR(self->meters);
    return 0;
}

static void entry_dealloc(WsgiEntry *self) {
    PyObject_GC_UnTrack(self);
    entry_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Whether the request needs more than the way in: 1, 0, or -1 with an exception. */
static int entry_attends(PyObject *environ) {
    for (size_t i = 0; i < sizeof(ATTENDED) / sizeof(ATTENDED[0]); i++) {
        int found = PyDict_Contains(environ, ATTENDED[i]);
        if (found != 0) {
            return found;
        }
    }
    return 0;
}

/* Call the application; what it raises ends the exchange. */
static PyObject *entry_run(WsgiEntry *self, PyObject *environ, PyObject *start_response) {
    PyObject *made[3] = {self->meters, environ, start_response};
    PyObject *exchange = wsgi_new((PyObject *)&WsgiExchange_Type, made, 3, NULL);
    if (exchange == NULL) {
        return NULL;
    }
    PyObject *given[3] = {NULL, environ, exchange};
    PyObject *result =
        PyObject_Vectorcall(self->app, given + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    PyObject *body = NULL;
    if (result == NULL) {
        exchange_finish_raised((Exchange *)exchange);
    } else if (PyList_CheckExact(result) || PyTuple_CheckExact(result) ||
               PyGen_CheckExact(result)) {
        body = wsgi_body((Exchange *)exchange, result);
    } else {
        body = PyObject_CallMethodObjArgs((PyObject *)self, s_settle, exchange, result, NULL);
    }
    Py_XDECREF(result);
    Py_DECREF(exchange);
    return body;
}

static PyObject *entry_call(WsgiEntry *self, PyObject *args, PyObject *kwargs) {
    PyObject *environ, *start_response;
    static char *names[] = {"environ", "start_response", NULL};
    if (kwargs == NULL && PyTuple_GET_SIZE(args) == 2) {
        environ = PyTuple_GET_ITEM(args, 0);
        start_response = PyTuple_GET_ITEM(args, 1);
    } else if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:__call__", names, &environ,
                                            &start_response)) {
        return NULL;
    }
    if (self->app == NULL || self->meters == NULL) {
        PyErr_SetString(PyExc_AttributeError, "app");
        return NULL;
    }
    if (!PyDict_Check(environ)) {
        PyErr_SetString(PyExc_TypeError, "the environ must be a dict");
        return NULL;
    }
    int found = PyDict_Contains(environ, MARK);
    if (found > 0) {
        return PyObject_CallFunctionObjArgs(self->app, environ, start_response, NULL);
    }
    if (found < 0 || PyDict_SetItem(environ, MARK, Py_True) < 0) {
        return NULL;
    }
    found = entry_attends(environ);
    if (found < 0) {
        return NULL;
    }
    if (found) {
        return PyObject_CallMethodObjArgs((PyObject *)self, s_attend, environ, start_response,
                                          NULL);
    }
    return entry_run(self, environ, start_response);
}

static PyMemberDef entry_members[] = {
    {"app", T_OBJECT_EX, offsetof(WsgiEntry, app), 0, NULL},
    {"meters", T_OBJECT_EX, offsetof(WsgiEntry, meters), 0, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject WsgiEntry_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.WsgiEntry",
    .tp_doc = "The way into a WSGI application: what most requests need, and nothing else.",
    .tp_basicsize = sizeof(WsgiEntry),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_call = (ternaryfunc)entry_call,
    .tp_dealloc = (destructor)entry_dealloc,
    .tp_traverse = (traverseproc)entry_traverse,
    .tp_clear = (inquiry)entry_clear,
    .tp_members = entry_members,
};

/* --- ASGI -------------------------------------------------------------------------------- */

static PyTypeObject AsgiExchange_Type;

/* A message's value, a new reference; NULL if it is not there or cannot be had. */
static PyObject *message_get(PyObject *message, PyObject *key) {
    PyObject *value;
    if (PyDict_Check(message)) {
        value = Py_XNewRef(PyDict_GetItemWithError(message, key));
    } else {
        value = PyObject_CallMethodOneArg(message, s_get, key);
    }
    if (value == NULL) {
        PyErr_Clear();
    }
    return value;
}

static int message_says(PyObject *message, PyObject *key) {
    PyObject *value = message_get(message, key);
    if (value == NULL) {
        return 0;
    }
    int said = PyObject_IsTrue(value);
    Py_DECREF(value);
    if (said < 0) {
        PyErr_Clear();
        return 0;
    }
    return said;
}

static int is_text(PyObject *text, const char *expected, Py_ssize_t size) {
    return PyUnicode_IS_ASCII(text) && PyUnicode_GET_LENGTH(text) == size &&
           memcmp(PyUnicode_1BYTE_DATA(text), expected, (size_t)size) == 0;
}
#define IS(text, literal) is_text(text, literal, (Py_ssize_t)sizeof(literal) - 1)

static void asgi_started(Exchange *self, PyObject *message) {
    PyObject *status = message_get(message, s_status);
    self->status = 0;
    if (status != NULL && PyLong_Check(status)) {
        int overflow;
        long code = PyLong_AsLongAndOverflow(status, &overflow);
        if (!overflow && code >= 0 && code <= STATUS_MAX) {
            self->status = (int)code;
        }
    }
    Py_XDECREF(status);
    self->trailers = (char)message_says(message, s_trailers);
}

/* What a message that was passed on says of the response. */
static void asgi_saw(Exchange *self, PyObject *message) {
    PyObject *kind = message_get(message, s_type);
    int over = 0;
    if (kind == NULL || !PyUnicode_Check(kind)) {
        Py_XDECREF(kind);
        return;
    }
    if (IS(kind, "http.response.body")) {
        PyObject *body = message_get(message, s_body);
        if (body != NULL) {
            exchange_sent(self, body);
            Py_DECREF(body);
        }
        over = !message_says(message, s_more_body) && !self->trailers;
    } else if (IS(kind, "http.response.start")) {
        asgi_started(self, message);
    } else if (IS(kind, "http.response.trailers")) {
        over = !message_says(message, s_more_trailers);
    } else if (IS(kind, "http.response.zerocopysend")) {
        over = !message_says(message, s_more_body) && !self->trailers;
    } else {
        over = IS(kind, "http.response.pathsend") && !self->trailers;
    }
    Py_DECREF(kind);
    if (over) {
        exchange_finish(self, NULL);
    }
}

/* send(message) */
static PyObject *asgi_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                           PyObject *kwnames) {
    Exchange *self = (Exchange *)callable;
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (PyVectorcall_NARGS(nargsf) + named != 1) {
        PyErr_SetString(PyExc_TypeError, "send takes one message");
        return NULL;
    }
    PyObject *sent = PyObject_CallOneArg(self->respond, args[0]);
    if (sent != NULL) {
        asgi_saw(self, args[0]);
    }
    return sent;
}

/* Look through the headers for what concerns us. Odd ones are the application's to refuse. */
static void asgi_scan(Exchange *self, PyObject *headers) {
    PyObject **items = PySequence_Fast_ITEMS(headers);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(headers); i++) {
        PyObject *pair = items[i];
        if (!(PyTuple_Check(pair) || PyList_Check(pair)) ||
            PySequence_Fast_GET_SIZE(pair) != 2) {
            continue;
        }
        PyObject *name = PySequence_Fast_ITEMS(pair)[0];
        if (!PyBytes_Check(name)) {
            continue;
        }
        const char *text = PyBytes_AS_STRING(name);
        switch (PyBytes_GET_SIZE(name)) {
        case 11:
            self->triggered |= memcmp(text, "traceparent", 11) == 0;
            break;
        case 12:
            self->triggered |= memcmp(text, "x-trace-info", 12) == 0;
            break;
        case 14:
            if (memcmp(text, "content-length", 14) == 0) {
                self->request_bytes = announced_length(PySequence_Fast_ITEMS(pair)[1]);
            }
            break;
        }
    }
}

/* The scope's headers as a list or tuple, borrowed; an iterator is made a list in the scope. */
static PyObject *scope_headers(PyObject *scope) {
    PyObject *headers = PyDict_GetItemWithError(scope, s_headers);
    if (headers == NULL || PyList_Check(headers) || PyTuple_Check(headers)) {
        return headers;
    }
    PyObject *list = PySequence_List(headers);
    if (list == NULL || PyDict_SetItem(scope, s_headers, list) < 0) {
        PyErr_Clear();
        Py_XDECREF(list);
        return NULL;
    }
    Py_DECREF(list); /* the scope has it */
    return list;
}

/* Whether a body is counted as it is received if its length was not announced. */
static int has_body(PyObject *method) {
    return IS(method, "POST") || IS(method, "PUT") || IS(method, "PATCH");
}

/* AsgiExchange(meters, scope, send) */
static PyObject *asgi_new(PyObject *type, PyObject *const *args, size_t nargsf,
                          PyObject *kwnames) {
    if (takes_three("AsgiExchange", args, nargsf, kwnames) < 0) {
        return NULL;
    }
    PyObject *scope = args[1];
    if (!PyDict_Check(scope)) {
        PyErr_SetString(PyExc_TypeError, "the scope must be a dict");
        return NULL;
    }
    PyObject *method = PyDict_GetItemWithError(scope, s_method);
    Exchange *self =
        exchange_new((PyTypeObject *)type, asgi_call, args[0], scope, args[2], method);
    if (self == NULL) {
        return NULL;
    }
    self->request_bytes = -1;
    PyObject *headers = scope_headers(scope);
    if (headers != NULL) {
        asgi_scan(self, headers);
    }
    if (self->request_bytes < 0 && !has_body(self->method)) {
        self->request_bytes = 0;
    }
    self->attended = self->triggered || self->request_bytes < 0;
    if (exchange_start(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *asgi_ended(Exchange *self, PyObject *const *args, Py_ssize_t n) {
    PyObject *error = n == 1 && args[0] != Py_None ? args[0] : NULL;
    if (n > 1) {
        PyErr_SetString(PyExc_TypeError, "ended() takes at most one error");
        return NULL;
    }
    if (!self->finished) {
        exchange_finish(self,
                        error != NULL ? error : (self->status ? CLOSED_EARLY : NO_RESPONSE));
    } else if (error != NULL) { /* a background task, after the response */
        PyObject *result = PyObject_CallOneArg(self->meters->failed, error);
        if (result == NULL) {
            exchange_faulted(self);
        }
        Py_XDECREF(result);
    }
    Py_RETURN_NONE;
}

static PyMethodDef asgi_methods[] = {
    FINISH_METHOD,
    {"ended", (PyCFunction)(void (*)(void))asgi_ended, METH_FASTCALL,
     "The application has returned or raised: what is not complete by now never will be."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef asgi_members[] = {
    EXCHANGE_MEMBERS,
    {"triggered", T_BOOL, offsetof(Exchange, triggered), READONLY, NULL},
    {"attended", T_BOOL, offsetof(Exchange, attended), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject AsgiExchange_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.AsgiExchange",
    .tp_doc = "One ASGI request. It is the ``send`` that the application is given.",
    .tp_basicsize = sizeof(Exchange),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Exchange, vectorcall),
    .tp_vectorcall = asgi_new,
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = (destructor)exchange_dealloc,
    .tp_finalize = (destructor)exchange_finalize,
    .tp_traverse = (traverseproc)exchange_traverse,
    .tp_clear = (inquiry)exchange_clear,
    .tp_methods = asgi_methods,
    .tp_members = asgi_members,
};

/* --- The module -------------------------------------------------------------------------- */

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.integrations._http",
    .m_doc = "One HTTP exchange on the server's side, in C; http_pure.py is the specification.",
    .m_size = -1,
};

static const struct {
    PyObject **where;
    const char *text;
} NAMES[] = {
    {&s_CONTENT_LENGTH, "CONTENT_LENGTH"},
    {&s_REQUEST_METHOD, "REQUEST_METHOD"},
    {&s_method, "method"},
    {&s_headers, "headers"},
    {&s_close, "close"},
    {&s_write, "write"},
    {&s_type, "type"},
    {&s_body, "body"},
    {&s_more_body, "more_body"},
    {&s_status, "status"},
    {&s_trailers, "trailers"},
    {&s_more_trailers, "more_trailers"},
    {&s_get, "get"},
    {&s_lower, "lower"},
    {&s_content_length, "content-length"},
    {&s_attend, "attend"},
    {&s_settle, "settle"},
    {&MARK, "nilometer.exchange"},
    {&ATTENDED[0], "HTTP_X_TRACE_INFO"},
    {&ATTENDED[1], "HTTP_TRACEPARENT"},
    {&ATTENDED[2], "HTTP_TRANSFER_ENCODING"},
    {&OTHER_METHOD, "_OTHER"},
    {&CLOSED_EARLY, "closed_early"},
    {&NO_RESPONSE, "no_response"},
};

static int make_names(void) {
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        *NAMES[i].where = PyUnicode_InternFromString(NAMES[i].text);
        if (*NAMES[i].where == NULL) {
            return -1;
        }
    }
    METHODS = Py_BuildValue("{ssssssssssssssssssss}", "GET", "GET", "HEAD", "HEAD", "POST",
                            "POST", "PUT", "PUT", "DELETE", "DELETE", "CONNECT", "CONNECT",
                            "OPTIONS", "OPTIONS", "TRACE", "TRACE", "PATCH", "PATCH", "QUERY",
                            "QUERY");
    PyObject *clocks = PyImport_ImportModule("time");
    if (clocks != NULL) {
        PERF_COUNTER_NS = PyObject_GetAttrString(clocks, "perf_counter_ns");
        Py_DECREF(clocks);
    }
    return METHODS == NULL || PERF_COUNTER_NS == NULL ? -1 : 0;
}

PyMODINIT_FUNC PyInit__http(void) {
    if (make_names() < 0) {
        return NULL;
    }
    PyObject *self = PyModule_Create(&module);
    if (self == NULL) {
        return NULL;
    }
    if (PyModule_AddType(self, &Meters_Type) < 0 ||
        PyModule_AddType(self, &WsgiExchange_Type) < 0 ||
        PyModule_AddType(self, &AsgiExchange_Type) < 0 ||
        PyModule_AddType(self, &WsgiEntry_Type) < 0 ||
        PyModule_AddType(self, &Body_Type) < 0 || PyModule_AddType(self, &SizedBody_Type) < 0 ||
        PyModule_AddStringConstant(self, "IMPLEMENTATION", "c") < 0 ||
        PyModule_AddObjectRef(self, "CLOSED_EARLY", CLOSED_EARLY) < 0 ||
        PyModule_AddObjectRef(self, "NO_RESPONSE", NO_RESPONSE) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}
