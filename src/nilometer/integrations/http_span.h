/* The end of a request's root span: http_span.py's `close_root`, where nothing failed. */

#ifndef NILOMETER_HTTP_SPAN_H
#define NILOMETER_HTTP_SPAN_H

#include "integrations/exchange.h"

/* span.set_attribute(name, value); takes the reference to the value. */
static int span_set(PyObject *span, PyObject *name, PyObject *value) {
    PyObject *given[3] = {span, name, value};
    PyObject *result = value == NULL
                           ? NULL
                           : PyObject_VectorcallMethod(
                                 s_set_attribute, given, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(value);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* What http_span.close_root says of an exchange in which nothing failed. */
static int exchange_describe(Exchange *self) {
    PyObject *span = self->span;
    if (self->route != NULL) {
        PyObject *name = PyUnicode_FromFormat("%S %S", self->method, self->route);
        int failed = name == NULL || PyObject_SetAttr(span, s_name, name) < 0;
        Py_XDECREF(name);
        if (failed || span_set(span, s_http_route, Py_NewRef(self->route)) < 0) {
            return -1;
        }
    }
    if (self->status && span_set(span, s_status_code, PyLong_FromLong(self->status)) < 0) {
        return -1;
    }
    if (self->request_bytes > 0 &&
        span_set(span, s_request_size, PyLong_FromLongLong(self->request_bytes)) < 0) {
        return -1;
    }
    return span_set(span, s_response_size, PyLong_FromLongLong(self->response_bytes));
}

/* End the span; what failed, or is in the flight recorder, goes to http_span.close_root, which is
 * the specification of all. */
static int exchange_close(Exchange *self) {
    PyObject *span = self->span, *result, *current;
    if (self->flight != NULL || self->error != NULL || self->status >= 500 ||
        (self->handled != NULL && self->handled != Py_None)) {
        result = PyObject_CallOneArg(self->meters->closed, (PyObject *)self);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    PyObject *recording = PyObject_GetAttr(span, s_recording);
    Py_XDECREF(recording); /* True or False */
    if (recording == NULL || (recording == Py_True && exchange_describe(self) < 0) ||
        PyContextVar_Get(CURRENT, NULL, &current) < 0) {
        return -1;
    }
    int was_current = current == span;
    Py_XDECREF(current);
    result = PyObject_CallMethodNoArgs(span, s_finish);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    if (was_current) { /* what still runs (background tasks) belongs to it */
        PyObject *token = PyContextVar_Set(CURRENT, span);
        if (token == NULL) {
            return -1;
        }
        Py_DECREF(token);
    }
    return 0;
}

#endif
