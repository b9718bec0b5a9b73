/* WSGI: http_pure.py's `WsgiExchange`, `Body`, `SizedBody` and `WsgiEntry`. */

#ifndef NILOMETER_WSGI_H
#define NILOMETER_WSGI_H

#include "integrations/exchange.h"

/* --- WSGI -------------------------------------------------------------------------------- */

static PyTypeObject WsgiExchange_Type, Body_Type, SizedBody_Type, Reading_Type;

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

/* Ask for the route now: Flask takes its request out of the environ before the body is read. */
static void exchange_ask_route(Exchange *self) {
    if (self->route != NULL || self->finished) {
        return;
    }
    if (exchange_find_route(self) < 0) {
        self->route_failed = 1;
        exchange_faulted(self);
    }
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
    exchange_ask_route(self);
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
    char exhausted, is_being_read, is_left; /* the last two of a sized one only */
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
    if (self->exhausted || self->is_left) { /* read before, to learn of it: count the last */
        self->exhausted = self->is_left = 0;
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
    PyObject *iterator = Py_NewRef(self->iterator); /* who reads may begin anew meanwhile */
    PyObject *chunk = Py_TYPE(iterator)->tp_iternext(iterator);
    Py_DECREF(iterator);
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

/* One reading of a sized body. Within another one it only looks: nothing of it counts. */
typedef struct {
    PyObject_HEAD
    Body *body;
    PyObject *iterator;
    char begun, counts;
} Reading;

static PyObject *sized_body_iter(Body *self) {
    PyObject *begun = body_iter(self);
    if (begun == NULL) {
        return NULL;
    }
    Reading *reading = (Reading *)Reading_Type.tp_alloc(&Reading_Type, 0);
    if (reading == NULL) {
        Py_DECREF(begun);
        return NULL;
    }
    reading->body = (Body *)begun;
    reading->iterator = Py_NewRef(self->iterator);
    return (PyObject *)reading;
}

static PyObject *reading_next(Reading *self) {
    Body *body = self->body;
    if (!self->begun) {
        self->begun = 1;
        self->counts = !body->is_being_read;
        body->is_being_read = 1;
    }
    if (!self->counts) {
        return Py_TYPE(self->iterator)->tp_iternext(self->iterator);
    }
    if (body->iterator != self->iterator) { /* another was begun meanwhile */
        Py_XSETREF(body->iterator, Py_NewRef(self->iterator));
    }
    PyObject *chunk = body_next(body);
    if (chunk == NULL && body->exhausted) {
        body->is_being_read = self->counts = 0;
    }
    return chunk;
}

static int reading_traverse(Reading *self, visitproc visit, void *arg) {
    Py_VISIT(self->body);
    Py_VISIT(self->iterator);
    return 0;
}

static int reading_clear(Reading *self) {
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->body);
    return 0;
}

static void reading_dealloc(Reading *self) {
    PyObject_GC_UnTrack(self);
    if (self->counts && self->body != NULL) { /* left before its end */
        self->body->is_being_read = 0;
        self->body->is_left = 1;
    }
    reading_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyTypeObject Reading_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.Reading",
    .tp_doc = "One reading of a sized body. Within another one nothing of it counts.",
    .tp_basicsize = sizeof(Reading),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)reading_dealloc,
    .tp_traverse = (traverseproc)reading_traverse,
    .tp_clear = (inquiry)reading_clear,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)reading_next,
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
    .tp_iter = (getiterfunc)sized_body_iter,
    .tp_iternext = (iternextfunc)body_next,
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
    if (attends_all) {
        return 1;
    }
    for (size_t i = 0; i < sizeof(ATTENDED) / sizeof(ATTENDED[0]); i++) {
        int found = PyDict_Contains(environ, ATTENDED[i]);
        if (found != 0) {
            return found;
        }
    }
    return exchange_is_in_span();
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

#endif
