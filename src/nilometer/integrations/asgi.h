/* ASGI: http_pure.py's `AsgiExchange`. */

#ifndef NILOMETER_ASGI_H
#define NILOMETER_ASGI_H

#include "integrations/exchange.h"

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
    Py_XSETREF(self->headers, Py_NewRef(message)); /* looked at where a file is sent by its path */
    self->trailers = (char)message_says(message, s_trailers);
}

/* The value of a header, borrowed, if this pair is that header; odd pairs are none. */
static PyObject *header_value(PyObject *pair, const char *name, Py_ssize_t size) {
    if (!(PyTuple_Check(pair) || PyList_Check(pair)) || PySequence_Fast_GET_SIZE(pair) != 2) {
        return NULL;
    }
    PyObject *given = PySequence_Fast_ITEMS(pair)[0], *value = PySequence_Fast_ITEMS(pair)[1];
    return PyBytes_Check(given) && PyBytes_GET_SIZE(given) == size &&
                   memcmp(PyBytes_AS_STRING(given), name, (size_t)size) == 0
               ? value
               : NULL;
}

/* Count the bytes that the response's head announced: the file itself nobody sees. */
static void asgi_count_announced(Exchange *self) {
    PyObject *headers = self->headers == NULL ? NULL : message_get(self->headers, s_headers);
    int may_look = headers != NULL && (PyList_Check(headers) || PyTuple_Check(headers));
    for (Py_ssize_t i = 0; may_look && i < PySequence_Fast_GET_SIZE(headers); i++) {
        PyObject *value = header_value(PySequence_Fast_ITEMS(headers)[i], "content-length", 14);
        if (value != NULL) {
            self->response_bytes = announced_length(value);
        }
    }
    Py_XDECREF(headers);
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
        int is_odd = body != NULL && !exchange_sent(self, body);
        Py_XDECREF(body);
        if (is_odd) { /* whatever the server makes of it: it has not been sent yet */
            Py_DECREF(kind);
            return;
        }
        over = !message_says(message, s_more_body) && !self->trailers;
    } else if (IS(kind, "http.response.start")) {
        asgi_started(self, message);
    } else if (IS(kind, "http.response.trailers")) {
        over = !message_says(message, s_more_trailers);
    } else if (IS(kind, "http.response.zerocopysend")) {
        over = !message_says(message, s_more_body) && !self->trailers;
    } else if (IS(kind, "http.response.pathsend")) {
        asgi_count_announced(self);
        over = !self->trailers;
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

/* What was found before (taken; NULL for nothing, a list of several) and one more line. */
static PyObject *header_lines(PyObject *found, PyObject *line) {
    if (found == NULL || line == NULL) {
        Py_XDECREF(found);
        return line;
    }
    if (!PyList_Check(found)) {
        PyObject *lines = PyList_New(1);
        if (lines != NULL) {
            PyList_SET_ITEM(lines, 0, Py_NewRef(found));
        }
        Py_DECREF(found);
        found = lines;
    }
    if (found != NULL && PyList_Append(found, line) < 0) {
        Py_CLEAR(found);
    }
    Py_DECREF(line);
    return found;
}

/* header(name): by its lower-case name, several in order, joined by commas; or None. */
static PyObject *asgi_header(Exchange *self, PyObject *name) {
    Py_ssize_t size;
    const char *wanted = PyUnicode_AsUTF8AndSize(name, &size);
    PyObject *headers =
        wanted == NULL || self->carrier == NULL ? NULL : scope_headers(self->carrier);
    PyObject *found = NULL;
    if (wanted == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; headers != NULL && i < PySequence_Fast_GET_SIZE(headers); i++) {
        PyObject *pair = PySequence_Fast_ITEMS(headers)[i];
        if (!(PyTuple_Check(pair) || PyList_Check(pair)) ||
            PySequence_Fast_GET_SIZE(pair) != 2) {
            continue;
        }
        PyObject *given = PySequence_Fast_ITEMS(pair)[0], *value = PySequence_Fast_ITEMS(pair)[1];
        if (PyBytes_Check(given) && PyBytes_Check(value) && PyBytes_GET_SIZE(given) == size &&
            memcmp(PyBytes_AS_STRING(given), wanted, (size_t)size) == 0) {
            found = header_lines(found, PyUnicode_DecodeLatin1(PyBytes_AS_STRING(value),
                                                               PyBytes_GET_SIZE(value), NULL));
            if (found == NULL) {
                return NULL;
            }
        }
    }
    if (found == NULL) {
        Py_RETURN_NONE;
    }
    if (PyList_Check(found)) {
        Py_SETREF(found, PyUnicode_Join(s_comma, found));
    }
    return found;
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
    int in_span = exchange_is_in_span();
    self->attended = attends_all || self->triggered || self->request_bytes < 0 || in_span > 0;
    if (in_span < 0 || exchange_start(self) < 0) {
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
    {"header", (PyCFunction)asgi_header, METH_O,
     "A header by its lower-case name; several of that name in order, joined by commas."},
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

#endif
