/* Spans: the C twin of pure.py and request_pure.py (spans.h), ring_pure.py (records.h),
 * wrap_pure.py (wrappers.h), info_pure.py (info.h), onward_pure.py (onward.h), key_pure.py (key.h),
 * identified_pure.py (identified.h) and of the classes of budget.py (budget.h, nonces.h).
 *
 * The Python files are the specification: same names, same order, same errors. tests/trace runs
 * every test on both. Change them together or not at all.
 *
 * Rules for these files:
 *   1. No policy. Limits and the making of text are limits.py's, which is called when a span is
 *      drained, and when an exception leaves one; plain and short values are taken as they are.
 *   2. On the hot path: one object per span, no dict, no call into Python. The names of keyword
 *      arguments stay the tuple of the call, their values references.
 *   3. The GIL is the lock: nothing here releases it between a check and what depends on it.
 *   4. One interpreter per process: what all spans share lies in one static struct.
 *
 * Spans are not tracked by the garbage collector: 16 bytes and about 20 ns each. What a span is
 * given may refer back to it; such a circle ends when the span is drained, or lost.
 */

#include "trace/budget.h"
#include "trace/identified.h"
#include "trace/info.h"
#include "trace/key.h"
#include "trace/nonces.h"
#include "trace/signed.h"
#include "trace/spans.h"
#include "trace/held.h"
#include "trace/onward.h"
#include "trace/records.h"
#include "trace/wrappers.h"
#include "sources.h"

/* === Untraced === */

static PyObject *
Untraced_self(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self);
}

static PyObject *
Untraced_exit(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(args),
              Py_ssize_t Py_UNUSED(nargs))
{
    Py_RETURN_NONE;
}

static PyObject *
Untraced_finish(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    if (finish_argument(args, nargs, kwnames) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Untraced_set_attribute(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(args),
                       Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "set_attribute() takes 2 arguments, got %zd", nargs);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Untraced_one(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(argument))
{
    Py_RETURN_NONE;
}

static PyObject *
Untraced_add_event(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(args), Py_ssize_t nargs,
                   PyObject *Py_UNUSED(kwnames))
{
    if (one_name("add_event", nargs) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Untraced_set_status(PyObject *Py_UNUSED(self), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"status", "message", NULL};
    PyObject *status, *message;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:set_status", names, &status, &message))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
get_false(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

static PyObject *
get_empty(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef(core.empty_text);
}

#define NOTHING PyDoc_STR("Nothing is recorded.")

static PyMethodDef Untraced_methods[] = {
    {"__enter__", Untraced_self, METH_NOARGS, NULL},
    {"start", Untraced_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))Untraced_exit, METH_FASTCALL, NULL},
    {"finish", (PyCFunction)(void (*)(void))Untraced_finish, METH_FASTCALL | METH_KEYWORDS,
     NOTHING},
    {"set_attribute", (PyCFunction)(void (*)(void))Untraced_set_attribute, METH_FASTCALL, NOTHING},
    {"set_attributes", Untraced_one, METH_O, NOTHING},
    {"add_event", (PyCFunction)(void (*)(void))Untraced_add_event, METH_FASTCALL | METH_KEYWORDS,
     NOTHING},
    {"record_exception", Untraced_one, METH_O, NOTHING},
    {"set_status", (PyCFunction)(void (*)(void))Untraced_set_status, METH_VARARGS | METH_KEYWORDS,
     NOTHING},
    {NULL},
};

static PyGetSetDef Untraced_getset[] = {
    {"trace_id", get_empty, NULL, NULL, NULL},
    {"span_id", get_empty, NULL, NULL, NULL},
    {"recording", get_false, NULL, NULL, NULL},
    {"over", get_false, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot Untraced_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What `span` answers outside a traced request; see pure.py.")},
    {Py_tp_methods, Untraced_methods},
    {Py_tp_getset, Untraced_getset},
    {0, NULL},
};

static PyType_Spec Untraced_spec = {
    .name = "nilometer.trace._core.Untraced",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Untraced_slots,
};

/* === Functions === */

static PyObject *
core_span(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (one_name("span", nargs) < 0)
        return NULL;
    PyObject *current = get_current();
    Span *outer = (Span *)current, *span = NULL;
    if (is_recorded(current) && Trace_spend(outer->trace)) {
        span = Span_make(outer->trace, outer->id, args[0], core.internal, kwnames, args + 1,
                         kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
        if (span == NULL)
            PyErr_Clear(); /* no memory: untraced */
    }
    Py_DECREF(current);
    return span == NULL ? Py_NewRef(core.untraced) : (PyObject *)span;
}

/* `given` are kind, request and attributes, NULL where left out. */
static PyObject *
root_of(PyObject *name, PyObject *const *given)
{
    PyObject *kind = given[0] ? given[0] : core.server, *request = given[1];
    PyObject *attributes = given[2] == Py_None ? NULL : given[2];

    if (request == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "start_root() missing 1 required keyword-only argument: 'request'");
        return NULL;
    }
    if (attributes != NULL && !PyDict_CheckExact(attributes)) {
        PyErr_SetString(PyExc_TypeError, "attributes must be a dict");
        return NULL;
    }
    if (!PyObject_TypeCheck(request, core.Trace))
        return Py_NewRef(request);
    Trace *trace = (Trace *)request;
    if (!Trace_spend(trace))
        return Py_NewRef(core.untraced);
    Span *span = Span_make(trace, trace->parent, name, kind, NULL, NULL, 0);
    if (span == NULL)
        return NULL;
    trace->open++;
    span->mapping = Py_XNewRef(attributes);
    if (trace->attributes != Py_None) {
        PyObject *none = Span_set_attributes(span, trace->attributes);
        if (none == NULL) {
            Py_DECREF(span);
            return NULL;
        }
        Py_DECREF(none);
    }
    return (PyObject *)span;
}

static PyObject *
core_start_root(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static char *names[] = {"", "kind", "request", "attributes", NULL};
    PyObject *name, *given[ROOT_NAMES] = {NULL}, *tuple, *dict;

    if (nargs == 1 && by_names(core.root_names, ROOT_NAMES, kwnames, args + nargs, given))
        return root_of(args[0], given);
    if (!as_tuple_and_dict(args, nargs, kwnames, &tuple, &dict))
        return NULL;
    memset(given, 0, sizeof(given));
    PyObject *root = NULL;
    if (PyArg_ParseTupleAndKeywords(tuple, dict, "O|$OOO:start_root", names, &name, &given[0],
                                    &given[1], &given[2]))
        root = root_of(name, given);
    Py_DECREF(tuple);
    Py_DECREF(dict);
    return root;
}

/* The sender's span: current from now on, recorded where it was made and not here. */
static PyObject *
core_stand_in(PyObject *Py_UNUSED(module), PyObject *request)
{
    if (!PyObject_TypeCheck(request, core.Trace)) {
        PyErr_SetString(PyExc_TypeError, "stand_in() takes a Trace");
        return NULL;
    }
    Trace *trace = (Trace *)request;
    Span *span = Span_make(trace, trace->parent, core.empty_text, core.internal, NULL, NULL, 0);
    if (span == NULL)
        return NULL;
    span->id = trace->parent;
    trace->open++;
    trace->lasting = 1; /* spans inside have a root's parent, and end like one */
    Span_begin(span);
    span->state = SPAN_DISOWNED;
    return (PyObject *)span;
}

/* Whether it is current only because nobody put it back here. */
static int
is_left_over(PyObject *current)
{
    return Py_IS_TYPE(current, core.Span) && Span_is_over((Span *)current);
}

static PyObject *
core_current_span(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *current = get_current();

    if (current != Py_None && !is_left_over(current))
        return current;
    Py_DECREF(current);
    return Py_NewRef(core.untraced);
}

static PyObject *
core_current_trace_id(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *current = get_current();

    if (current == Py_None)
        return current;
    if (is_left_over(current)) {
        Py_DECREF(current);
        Py_RETURN_NONE;
    }
    PyObject *id = Py_IS_TYPE(current, core.Span) ? Trace_hex(((Span *)current)->trace)
                                                  : PyObject_GetAttr(current, core.str_trace_id);
    Py_DECREF(current);
    return id;
}

static PyObject *
core_new_id(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLongLong(new_id());
}

static PyObject *
core_reseed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *seed = PyObject_CallFunction(core.urandom, "n", (Py_ssize_t)sizeof(core.random));

    if (seed == NULL)
        return NULL;
    if (!is_bytes(seed, sizeof(core.random))) {
        Py_DECREF(seed);
        PyErr_SetString(PyExc_SystemError, "os.urandom did not give 32 bytes");
        return NULL;
    }
    memcpy(core.random, PyBytes_AS_STRING(seed), sizeof(core.random));
    core.random[0] |= 1; /* the generator stays at zero if all of it is zero */
    Py_DECREF(seed);
    Py_RETURN_NONE;
}

static PyObject *
core_wrapped(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "name", "attributes", "driver", "kind", NULL};
    PyObject *function, *name, *attributes, *driver = Py_None, *kind = core.internal;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO!|OO:wrapped", names, &function, &name,
                                     &PyDict_Type, &attributes, &driver, &kind))
        return NULL;
    Traced *self = (Traced *)core.Traced->tp_alloc(core.Traced, 0);
    if (self == NULL)
        return NULL;
    PyObject *keys = PyDict_Keys(attributes), *values = PyDict_Values(attributes);
    self->names = keys == NULL ? NULL : PyList_AsTuple(keys);
    self->values = values == NULL ? NULL : PyList_AsTuple(values);
    Py_XDECREF(keys);
    Py_XDECREF(values);
    self->function = Py_NewRef(function);
    self->name = Py_NewRef(name);
    self->kind = Py_NewRef(kind);
    self->driver = driver == Py_None ? NULL : Py_NewRef(driver);
    self->vectorcall = (vectorcallfunc)(driver == Py_None ? (void (*)(void))Traced_call_function
                                                          : (void (*)(void))Traced_call_steps);
    if (self->names == NULL || self->values == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
core_hash_in_hardware(PyObject *Py_UNUSED(module), PyObject *wanted)
{
    int is_wanted = PyObject_IsTrue(wanted);

    return is_wanted < 0 ? NULL : PyBool_FromLong(hash_in_hardware(is_wanted));
}

static PyMethodDef core_functions[] = {
    {"hash_in_hardware", core_hash_in_hardware, METH_O,
     PyDoc_STR("Let keys sign by instructions that are made for it, as from the start, or not: for "
               "tests. Whether they do.")},
    {"span", (PyCFunction)(void (*)(void))core_span, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("A span for a ``with`` statement; outside a traced request one that does "
               "nothing.")},
    {"start_root", (PyCFunction)(void (*)(void))core_start_root, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("The first span of a request in this process, not yet started; a `Joined` comes "
               "back.\n\n    The dict of `attributes` becomes the span's own.\n    ")},
    {"stand_in", core_stand_in, METH_O,
     PyDoc_STR("The sender's span, current from now on: what lies in it is recorded here, it is "
               "not.\n\n    Its request is over when it is finished, and lasts for "
               "what was left behind.\n    ")},
    {"current_span", core_current_span, METH_NOARGS,
     PyDoc_STR("The span we are in, or one that does nothing.")},
    {"current_trace_id", core_current_trace_id, METH_NOARGS,
     PyDoc_STR("The id of the request we are in, 32 hexadecimal digits; None outside any.")},
    {"new_id", core_new_id, METH_NOARGS,
     PyDoc_STR("A random number of 64 bits, never 0. Unique, not secret.")},
    {"reseed", core_reseed, METH_NOARGS,
     PyDoc_STR("Seed the generator of ids by the kernel; done at import and in every fork's "
               "child.")},
    {"osprofiler_ids", core_osprofiler_ids, METH_O,
     PyDoc_STR("The ids of an X-Trace-Info in its usual spelling, None if it is spelled "
               "otherwise.")},
    {"signed_parts", (PyCFunction)(void (*)(void))core_signed_parts, METH_FASTCALL,
     PyDoc_STR("What a signed traceparent and its tracestate say in their usual spelling, None "
               "if they are spelled otherwise.")},
    {"headers", (PyCFunction)(void (*)(void))core_headers, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("What to send with an onward request so that it is part of the current one.")},
    {"identified", (PyCFunction)(void (*)(void))core_identified, METH_FASTCALL,
     PyDoc_STR("``Logger.makeRecord``, whose records have a `trace_id`, until its ``end()`` is "
               "called.")},
    {"wrapped", (PyCFunction)(void (*)(void))core_wrapped, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("The function with a span around each run of its body; `driver` if it runs in "
               "steps.")},
    {NULL},
};

/* === Module === */

static PyObject *
imported(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module);
    PyObject *value = from == NULL ? NULL : PyObject_GetAttrString(from, name);

    Py_XDECREF(from);
    return value;
}

/* A limit here must be the one that limits.py explains. */
static int
check_limit(const char *name, long expected)
{
    PyObject *value = imported("nilometer.trace.limits", name);
    long actual = value == NULL ? -1 : PyLong_AsLong(value);

    Py_XDECREF(value);
    if (PyErr_Occurred())
        return -1;
    if (actual != expected) {
        PyErr_Format(PyExc_ImportError, "nilometer.trace.limits.%s is %ld, the C twin's %ld", name,
                     actual, expected);
        return -1;
    }
    return 0;
}

static int
check_record(void)
{
    PyObject *fields = PyObject_GetAttrString((PyObject *)core.record_type, "_fields");
    Py_ssize_t count = fields == NULL ? -1 : PyObject_Length(fields);

    Py_XDECREF(fields);
    if (count != RECORD_FIELDS) {
        PyErr_Format(PyExc_ImportError, "a SpanRecord has %zd fields, the C twin's %d", count,
                     RECORD_FIELDS);
        return -1;
    }
    return 0;
}

static int
import_specification(void)
{
    PyObject *kinds = NULL, *record = NULL;

    if (!(core.current = imported("nilometer.trace.current", "CURRENT")) ||
        !(core.bounded = imported("nilometer.trace.limits", "bounded")) ||
        !(core.name_of = imported("nilometer.trace.limits", "name_of")) ||
        !(core.message_of = imported("nilometer.trace.limits", "message_of")) ||
        !(core.described = imported("nilometer.trace.limits", "described")) ||
        !(core.held = imported("nilometer.trace.held", "held")) ||
        !(core.held_name = imported("nilometer.trace.held", "held_name")) ||
        !(core.held_attributes = imported("nilometer.trace.held", "held_attributes")) ||
        !(core.awaited = imported("nilometer.trace.steps", "awaited")) ||
        !(core.urandom = imported("os", "urandom")) ||
        !(core.perf_counter_ns = imported("time", "perf_counter_ns")) ||
        !(core.time_ns = imported("time", "time_ns")) ||
        !(core.clock_class = imported("nilometer.clock", "Clock")) ||
        !(core.event_class = imported("nilometer.model.event", "Event")) ||
        !(core.status_class = imported("nilometer.model.span", "Status")) ||
        !(core.unset = PyObject_GetAttrString(core.status_class, "UNSET")) ||
        !(core.error = PyObject_GetAttrString(core.status_class, "ERROR")) ||
        !(kinds = imported("nilometer.model.span", "SpanKind")) ||
        !(core.internal = PyObject_GetAttrString(kinds, "INTERNAL")) ||
        !(core.server = PyObject_GetAttrString(kinds, "SERVER")) ||
        !(record = imported("nilometer.model.span", "SpanRecord"))) {
        Py_XDECREF(kinds);
        return -1;
    }
    Py_DECREF(kinds);
    core.record_type = (PyTypeObject *)record;
    if (check_limit("TEXT_CHARS_MAX", TEXT_CHARS_MAX) < 0 ||
        check_limit("NAME_CHARS_MAX", NAME_CHARS_MAX) < 0 ||
        check_limit("ATTRIBUTES_MAX", ATTRIBUTES_MAX) < 0 ||
        check_limit("EVENTS_MAX", EVENTS_MAX) < 0 ||
        check_limit("SPAN_BYTES", SPAN_BYTES) < 0 ||
        check_limit("ATTRIBUTE_BYTES", ATTRIBUTE_BYTES) < 0 ||
        check_limit("EVENT_BYTES", EVENT_BYTES) < 0 ||
        check_limit("SPANS_RING_MAX", SPANS_RING_MAX) < 0 ||
        check_limit("SPANS_PER_TRACE_MAX", SPANS_PER_TRACE_MAX) < 0 ||
        check_limit("ONWARD_TTL_S", ONWARD_TTL_S) < 0)
        return -1;
    return check_record();
}

static int
make_constants(void)
{
    if (!(core.error_type_name = PyUnicode_InternFromString("error.type")) ||
        !(core.exception_name = PyUnicode_InternFromString("exception")) ||
        !(core.exception_type_name = PyUnicode_InternFromString("exception.type")) ||
        !(core.exception_message_name = PyUnicode_InternFromString("exception.message")) ||
        !(core.str_throw = PyUnicode_InternFromString("throw")) ||
        !(core.str_close = PyUnicode_InternFromString("close")) ||
        !(core.str_factory = PyUnicode_InternFromString("_logRecordFactory")) ||
        !(core.str_record = PyUnicode_InternFromString("LogRecord")) ||
        !(core.str_init = PyUnicode_InternFromString("__init__")) ||
        !(core.no_trace_id = PyUnicode_InternFromString("-")) ||
        !(core.str_trace_id = PyUnicode_InternFromString("trace_id")) ||
        !(core.str_qualname = PyUnicode_InternFromString("__qualname__")) ||
        !(core.str_headers = PyUnicode_InternFromString("headers")) ||
        !(core.str_onward = PyUnicode_InternFromString("onward")) ||
        !(core.str_wall_ns = PyUnicode_InternFromString("wall_ns")) ||
        !(core.str_mac_sha1 = PyUnicode_InternFromString("mac_sha1")) ||
        !(core.str_mac_sha256 = PyUnicode_InternFromString("mac_sha256")) ||
        !(core.str_info = PyUnicode_InternFromString("X-Trace-Info")) ||
        !(core.str_hmac = PyUnicode_InternFromString("X-Trace-HMAC")) ||
        !(core.str_traceparent = PyUnicode_InternFromString("traceparent")) ||
        !(core.str_tracestate = PyUnicode_InternFromString("tracestate")) ||
        !(core.osprofiler_keyword = Py_BuildValue("(s)", "osprofiler")) ||
        !(core.empty_text = PyUnicode_FromString("")) ||
        !(core.empty_bytes = PyBytes_FromString("")) || !(core.empty_tuple = PyTuple_New(0)))
        return -1;
    static const char *of_trace[TRACE_NAMES] = {"trace_id",   "parent_id", "base_id", "signer",
                                                "attributes", "spans_max", "ring"};
    static const char *of_root[ROOT_NAMES] = {"kind", "request", "attributes"};
    for (int i = 0; i < TRACE_NAMES; i++)
        if (!(core.trace_names[i] = PyUnicode_InternFromString(of_trace[i])))
            return -1;
    for (int i = 0; i < ROOT_NAMES; i++)
        if (!(core.root_names[i] = PyUnicode_InternFromString(of_root[i])))
            return -1;
    make_digits();
    return 0;
}

static int
make_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int
core_exec(PyObject *module)
{
    if (core.loaded) {
        PyErr_SetString(PyExc_ImportError, "the C twin serves one interpreter per process");
        return -1;
    }
    if (nilo_add_sources(module) < 0 || import_specification() < 0 || make_constants() < 0 ||
        make_type(module, &Ring_spec, &core.Ring) < 0 ||
        make_type(module, &Trace_spec, &core.Trace) < 0 ||
        make_type(module, &Budget_spec, &core.Budget) < 0 ||
        make_type(module, &Nonces_spec, &core.Nonces) < 0 ||
        make_type(module, &Key_spec, &core.Key) < 0 ||
        make_type(module, &Identified_spec, &core.Identified) < 0 ||
        make_type(module, &Span_spec, &core.Span) < 0 ||
        make_type(module, &Untraced_spec, &core.Untraced) < 0 ||
        make_type(module, &Awaited_spec, &core.Awaited) < 0 ||
        make_type(module, &Traced_spec, &core.Traced) < 0)
        return -1;
    core.Trace->tp_vectorcall = Trace_vectorcall;
    hash_in_hardware(1);
    PyObject *seeded = core_reseed(NULL, NULL);
    Py_XDECREF(seeded);
    if (seeded == NULL ||
        !(core.untraced = core.Untraced->tp_alloc(core.Untraced, 0)) ||
        !(core.ring = PyObject_CallNoArgs((PyObject *)core.Ring)) ||
        PyModule_AddObjectRef(module, "UNTRACED", core.untraced) < 0 ||
        PyModule_AddObjectRef(module, "RING", core.ring) < 0)
        return -1;
    core.loaded = 1;
    return 0;
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.trace._core",
    .m_doc = PyDoc_STR("The C twin of nilometer.trace.pure."),
    .m_methods = core_functions,
    .m_slots = core_slots,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
