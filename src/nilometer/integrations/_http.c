/* One HTTP exchange on the server's side: the fast twin of http_pure.py (wsgi.h, asgi.h) and
 * exchange_pure.py (exchange.h), which say what each thing means, as one module, with
 * routing_pure.py (routing.h). Same names, same order, same errors; one test-suite runs on both.
 */

#include "integrations/asgi.h"
#include "integrations/exchange.h"
#include "integrations/http_span.h"
#include "integrations/routing.h"
#include "integrations/wsgi.h"
#include "sources.h"

/* --- The module -------------------------------------------------------------------------- */

static PyObject *attend_all(PyObject *Py_UNUSED(module), PyObject *on) {
    int is_on = PyObject_IsTrue(on);
    if (is_on < 0) {
        return NULL;
    }
    attends_all = (char)is_on;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"attend_all", attend_all, METH_O,
     "Have each request attended to from now on, or only those that ask for it."},
    {NULL, NULL, 0, NULL}};

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
    {&s_comma, ","},
    {&s_more_trailers, "more_trailers"},
    {&s_get, "get"},
    {&s_lower, "lower"},
    {&s_content_length, "content-length"},
    {&s_attend, "attend"},
    {&s_settle, "settle"},
    {&s_recording, "recording"},
    {&s_name, "name"},
    {&s_set_attribute, "set_attribute"},
    {&s_finish, "finish"},
    {&s_http_route, "http.route"},
    {&s_env, "env"},
    {&s_SCRIPT_NAME, "SCRIPT_NAME"},
    {&s_dispatched, "nilometer.dispatched"},
    {&s_status_code, "http.response.status_code"},
    {&s_request_size, "http.request.body.size"},
    {&s_response_size, "http.response.body.size"},
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
    PyObject *where = PyImport_ImportModule("nilometer.trace.current");
    if (where != NULL) {
        CURRENT = PyObject_GetAttrString(where, "CURRENT");
        Py_DECREF(where);
    }
    return METHODS == NULL || PERF_COUNTER_NS == NULL || CURRENT == NULL ? -1 : 0;
}

static int64_t interpreter = NILO_NO_INTERPRETER;

static int http_exec(PyObject *self) {
    if (!nilo_serves(&interpreter) || make_names() < 0 ||
        PyModule_AddType(self, &Meters_Type) < 0 ||
        PyModule_AddType(self, &WsgiExchange_Type) < 0 ||
        PyModule_AddType(self, &AsgiExchange_Type) < 0 ||
        PyModule_AddType(self, &WsgiEntry_Type) < 0 ||
        PyModule_AddType(self, &Routing_Type) < 0 ||
        PyModule_AddType(self, &Body_Type) < 0 || PyModule_AddType(self, &SizedBody_Type) < 0 ||
        PyType_Ready(&Reading_Type) < 0 ||
        nilo_add_sources(self) < 0 ||
        PyModule_AddStringConstant(self, "IMPLEMENTATION", "c") < 0 ||
        PyModule_AddObjectRef(self, "CLOSED_EARLY", CLOSED_EARLY) < 0 ||
        PyModule_AddObjectRef(self, "NO_RESPONSE", NO_RESPONSE) < 0) {
        return -1;
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, http_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.integrations._http",
    .m_doc = "One HTTP exchange on the server's side, in C; http_pure.py is the specification.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__http(void) {
    return PyModuleDef_Init(&module);
}
