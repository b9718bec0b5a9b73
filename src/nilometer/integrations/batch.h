/* What stands where clients execute batches of commands: the fast twin of batch_pure.py, which
 * says what each thing means. Part of _sql.c.
 */

#ifndef NILOMETER_BATCH_H
#define NILOMETER_BATCH_H

#include "integrations/asked.h"

#define NAMES_MAX 8 /* of different spellings in a batch; one with more is `choose`'s */

/* Batch: known is `known`, find is `choose`, write is (runs, *stack) in this order: */
enum { BATCH_RUNS, BATCH_COMMANDS, BATCH_PLAIN, BATCH_TRANSACTION, BATCH_FLAGS, BATCH_FIELDS };

/* How often each is there of what `known` has of the commands. */
typedef struct {
    PyObject *counted[NAMES_MAX];
    long long counts[NAMES_MAX];
    int size;
} Tally;

/* One more of these; 0 if there is no room for it. */
static int tally_add(Tally *self, PyObject *counted) {
    for (int i = 0; i < self->size; i++) {
        if (self->counted[i] == counted) {
            self->counts[i]++;
            return 1;
        }
    }
    if (self->size == NAMES_MAX) {
        return 0;
    }
    self->counted[self->size] = Py_NewRef(counted);
    self->counts[self->size++] = 1;
    return 1;
}

/* Count what is in it if `counts`, and empty it. */
static void tally_end(Tally *self, int counts) {
    for (int i = 0; i < self->size; i++) {
        if (counts) {
            asked_tell_number(PyTuple_GET_ITEM(self->counted[i], 1), self->counts[i]);
        }
        Py_DECREF(self->counted[i]);
    }
}

/* Whether one of the client's flags is true; -1 if it cannot be said. No exception is left. */
static int batch_is_transaction(PyObject *client, PyObject *flags) {
    int is = 0;
    for (Py_ssize_t i = 0; is == 0 && i < PyTuple_GET_SIZE(flags); i++) {
        PyObject *flag = attribute(client, PyTuple_GET_ITEM(flags, i));
        is = flag == NULL ? -1 : PyObject_IsTrue(flag);
        Py_XDECREF(flag);
    }
    if (is < 0) {
        PyErr_Clear();
    }
    return is;
}

/* What is known of an entry of the stack, (arguments, options): borrowed; NULL if nothing. */
static PyObject *batch_known(PyObject *known, PyObject *entry) {
    if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 2) {
        return NULL;
    }
    PyObject *args = PyTuple_GET_ITEM(entry, 0);
    if (!PyTuple_Check(args) || PyTuple_GET_SIZE(args) < 1 ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(args, 0))) {
        return NULL; /* what has a hash of its own runs code of the application's */
    }
    PyObject *found = PyDict_GetItem(known, PyTuple_GET_ITEM(args, 0));
    return found != NULL && PyTuple_Check(found) && PyTuple_GET_SIZE(found) == 2 ? found : NULL;
}

/* Count all commands, or none: whether it was all, and some. */
static int batch_count(PyObject *known, PyObject *commands) {
    if (commands == NULL || !PyList_CheckExact(commands)) {
        return 0;
    }
    Tally tally = {.size = 0};
    Py_ssize_t size = PyList_GET_SIZE(commands);
    int is_known = size > 0;
    for (Py_ssize_t i = 0; is_known && i < size; i++) {
        PyObject *found = batch_known(known, PyList_GET_ITEM(commands, i));
        is_known = found != NULL && tally_add(&tally, found);
    }
    tally_end(&tally, is_known);
    return is_known;
}

/* What executes this batch, its commands counted: a new reference; NULL if that is for `choose`,
 * which says so, too, of what is otherwise than expected. No exception is left. */
static PyObject *batch_counted(Standing *self, PyObject *client) {
    PyObject *stack = self->write;
    if (is_in_request()) {
        return NULL;
    }
    int is = batch_is_transaction(client, PyTuple_GET_ITEM(stack, BATCH_FLAGS));
    if (is < 0) {
        return NULL;
    }
    PyObject *name = PyTuple_GET_ITEM(stack, is ? BATCH_TRANSACTION : BATCH_PLAIN);
    PyObject *run = PyDict_GetItem(PyTuple_GET_ITEM(stack, BATCH_RUNS), name);
    if (run == NULL) {
        return NULL;
    }
    Py_INCREF(run);
    PyObject *commands = attribute(client, PyTuple_GET_ITEM(stack, BATCH_COMMANDS));
    if (!batch_count(self->known, commands)) {
        Py_CLEAR(run);
    }
    Py_XDECREF(commands);
    return run;
}

/* pipeline.execute(...) */
SWITCHES_GREENLETS
static PyObject *batch_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                            PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    if (!self->on || PyVectorcall_NARGS(nargsf) == 0) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    PyObject *run = batch_counted(self, args[0]);
    if (run == NULL) {
        run = PyObject_Vectorcall(self->find, args, nargsf, kwnames);
    }
    PyObject *result = run == NULL ? NULL : PyObject_Vectorcall(run, args, nargsf, kwnames);
    Py_XDECREF(run);
    return result;
}

enum { STACK_COMMANDS, STACK_PLAIN, STACK_TRANSACTION, STACK_FLAGS, STACK_FIELDS };

/* The names of the commands in a stack, behind the batch's own: a new reference; NULL, perhaps
 * with an exception, if it is otherwise than expected. */
static PyObject *batch_names(PyObject *name, PyObject *commands) {
    if (commands == NULL || !PyList_CheckExact(commands)) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(commands);
    PyObject *shape = PyTuple_New(size + 1);
    if (shape == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(shape, 0, Py_NewRef(name));
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *entry = PyList_GET_ITEM(commands, i);
        PyObject *args = PyTuple_Check(entry) && PyTuple_GET_SIZE(entry) == 2
                             ? PyTuple_GET_ITEM(entry, 0)
                             : NULL;
        if (args == NULL || !PyTuple_Check(args) || PyTuple_GET_SIZE(args) < 1) {
            Py_DECREF(shape);
            return NULL;
        }
        PyTuple_SET_ITEM(shape, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, 0)));
    }
    return shape;
}

/* shape_of(stack, client) */
static PyObject *batch_shape_of(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module;
    if (nargs != 2 || !PyTuple_Check(args[0]) || PyTuple_GET_SIZE(args[0]) != STACK_FIELDS ||
        !PyTuple_Check(PyTuple_GET_ITEM(args[0], STACK_FLAGS))) {
        PyErr_SetString(PyExc_TypeError, "shape_of() takes a Stack and a client");
        return NULL;
    }
    int is = batch_is_transaction(args[1], PyTuple_GET_ITEM(args[0], STACK_FLAGS));
    PyObject *shape = NULL;
    if (is >= 0) {
        PyObject *commands = attribute(args[1], PyTuple_GET_ITEM(args[0], STACK_COMMANDS));
        int name = is ? STACK_TRANSACTION : STACK_PLAIN;
        shape = batch_names(PyTuple_GET_ITEM(args[0], name), commands);
        Py_XDECREF(commands);
    }
    return shape == NULL && !PyErr_Occurred() ? Py_NewRef(Py_None) : shape;
}

static int batch_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "choose", "known", "runs", "stack", NULL};
    PyObject *original, *choose, *known, *runs, *commands, *plain, *transaction, *flags;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO!O!(UUUO!):Batch", names, &original,
                                     &choose, &PyDict_Type, &known, &PyDict_Type, &runs,
                                     &commands, &plain, &transaction, &PyTuple_Type, &flags)) {
        return -1;
    }
    PyObject *stack = PyTuple_Pack(BATCH_FIELDS, runs, commands, plain, transaction, flags);
    if (stack == NULL) {
        return -1;
    }
    Py_XSETREF(self->known, Py_NewRef(known));
    Py_XSETREF(self->write, stack);
    return switch_set(self, batch_call, original, choose);
}

static PyTypeObject Batch_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Batch",
    .tp_doc = "Stands where a client executes a batch of commands.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = query_get,
    .tp_init = (initproc)batch_init,
    STANDING,
};

#endif
