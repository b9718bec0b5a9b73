/* What goes with onward requests: the C twin of onward_pure.py and of the way that onward.py's
 * Signer has with both forms where the base id is a UUID or none, as it nearly always is.
 */

#ifndef NILOMETER_TRACE_ONWARD_H
#define NILOMETER_TRACE_ONWARD_H

#include "trace/info.h"
#include "trace/key.h"
#include "trace/spans.h"

#define ONWARD_TTL_S 300 /* limits.py's; compared when the module is loaded */
#define TRACEPARENT_CHARS 55
#define NONCE_CHARS 32
#define MAC_CHARS 64
#define MAC_SHA1_CHARS 40
#define NUMBER_CHARS_MAX 20 /* of 2**63 */
#define SIGNED_CHARS_MAX 128 /* 7 + 55 + 1 + 20 + 1 + 32 = 116 */

enum { SIGNER_KEY, SIGNER_BASE_ID, SIGNER_EXPIRY, SIGNER_OTHERS, SIGNER_CLOCK, SIGNER_OSPROFILER };

static char *
put_id(char *to, uint64_t id)
{
    unsigned char bytes[8];

    for (int i = 7; i >= 0; i--, id >>= 8)
        bytes[i] = (unsigned char)id;
    return put_hex(to, bytes, 8);
}

/* The traceparent of a request that is sent by this span, and its id as it is sent. */
static void
put_traceparent(char *to, Span *span)
{
    const unsigned char *trace = (unsigned char *)PyBytes_AS_STRING(span->trace->trace_id);

    to[0] = to[1] = '0';
    to[2] = to[35] = to[52] = '-';
    put_hex(to + 3, trace, 16);
    put_id(to + 36, span->id ? span->id : number_of(trace + 8)); /* for a sender who has none */
    memcpy(to + 53, "01", 3);
}

/* Whether this is onward.py's own; whoever made one has imported it. */
static int
is_signer(PyObject *signer)
{
    static PyObject *type = NULL;

    if (type == NULL && PyTuple_Check(signer)) {
        PyObject *module = PyImport_ImportModule("nilometer.trace.onward");
        type = module == NULL ? NULL : PyObject_GetAttrString(module, "Signer");
        Py_XDECREF(module);
        PyErr_Clear();
    }
    return type != NULL && (PyObject *)Py_TYPE(signer) == type;
}

/* Until when what is signed now is good, in seconds since 1970; -1 with an exception. */
static long long
onward_expiry(PyObject *signer)
{
    PyObject *limit = PyTuple_GET_ITEM(signer, SIGNER_EXPIRY);
    PyObject *wall_ns = PyObject_GetAttr(PyTuple_GET_ITEM(signer, SIGNER_CLOCK), core.str_wall_ns);
    PyObject *answer = NULL;
    long long now;

    if (wall_ns == core.time_ns) {
        now = wall_now_ns();
    }
    else {
        answer = wall_ns == NULL ? NULL : PyObject_CallNoArgs(wall_ns);
        now = answer == NULL ? -1 : PyLong_AsLongLong(answer);
    }
    Py_XDECREF(answer);
    Py_XDECREF(wall_ns);
    long long expiry = now / 1000000000 + ONWARD_TTL_S;
    if (limit != Py_None && !PyErr_Occurred()) {
        long long most = PyLong_AsLongLong(limit);
        expiry = most < expiry ? most : expiry;
    }
    return PyErr_Occurred() ? -1 : expiry;
}

/* Write a text; gives the place behind it. */
static char *
put_text(char *to, const char *text, size_t size)
{
    memcpy(to, text, size);
    return to + size;
}

static char *
put_number(char *to, long long number)
{
    char digits[NUMBER_CHARS_MAX], *first = digits + NUMBER_CHARS_MAX;

    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return put_text(to, first, (size_t)(digits + NUMBER_CHARS_MAX - first));
}

/* Write the digits of a key's MAC; -1 with an exception. Of a key that is not ours they are asked
 * for: a test's. */
static int
put_mac_of(char *to, PyObject *key, const Hash *hash, PyObject *method, const char *message,
           Py_ssize_t size)
{
    if (Py_IS_TYPE(key, core.Key)) {
        put_mac(to, hash, hash == &sha1_hash ? &((Key *)key)->sha1 : &((Key *)key)->sha256,
                message, size);
        return 0;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(message, size);
    PyObject *mac = bytes == NULL ? NULL : PyObject_CallMethodOneArg(key, method, bytes);
    int is_mac = mac != NULL && PyUnicode_Check(mac) && PyUnicode_IS_ASCII(mac) &&
                 PyUnicode_GET_LENGTH(mac) == hash->words * 8;

    Py_XDECREF(bytes);
    if (is_mac)
        memcpy(to, PyUnicode_1BYTE_DATA(mac), (size_t)hash->words * 8);
    else if (mac != NULL)
        PyErr_Format(PyExc_TypeError, "a mac has %d hexadecimal digits", hash->words * 8);
    Py_XDECREF(mac);
    return is_mac ? 0 : -1;
}

/* Our member of the tracestate, and the others: signing.py's `sign_traceparent`. */
static PyObject *
onward_tracestate(PyObject *signer, const char *traceparent)
{
    char nonce[NONCE_CHARS], number[NUMBER_CHARS_MAX], text[SIGNED_CHARS_MAX];
    char member[SIGNED_CHARS_MAX + MAC_CHARS];
    PyObject *others = PyTuple_GET_ITEM(signer, SIGNER_OTHERS);
    long long expiry = onward_expiry(signer);

    if (expiry < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the clock stands before 1970");
        return NULL;
    }
    put_id(put_id(nonce, new_id()), new_id()); /* unique, and no secret */
    size_t digits = (size_t)(put_number(number, expiry) - number);
    char *end = put_text(text, "nilo=1\n", 7);
    end = put_text(end, traceparent, TRACEPARENT_CHARS);
    *end++ = '\n';
    end = put_text(end, number, digits);
    *end++ = '\n';
    end = put_text(end, nonce, NONCE_CHARS);
    char *mac = put_text(member, "nilo=1;", 7);
    mac = put_text(mac, number, digits);
    *mac++ = ';';
    mac = put_text(mac, nonce, NONCE_CHARS);
    *mac++ = ';';
    if (put_mac_of(mac, PyTuple_GET_ITEM(signer, SIGNER_KEY), &sha256_hash, core.str_mac_sha256,
                   text, end - text) < 0)
        return NULL;
    PyObject *ours = ascii_text(member, mac + MAC_CHARS - member);
    if (ours != NULL && PyUnicode_GET_LENGTH(others))
        Py_SETREF(ours, PyUnicode_FromFormat("%U,%U", ours, others));
    return ours;
}

/* Add a text of our own; takes the reference. */
static int
onward_add(PyObject *onward, PyObject *name, PyObject *text)
{
    int status = text == NULL ? -1 : PyDict_SetItem(onward, name, text);

    Py_XDECREF(text);
    return status;
}

/* Write 32 hexadecimal digits, of which the last ones lie apart, as a UUID. */
static char *
put_uuid(char *to, const char *digits, const char *last, int last_from)
{
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *to++ = '-';
        *to++ = i < last_from ? digits[i] : last[i - last_from];
    }
    return to;
}

/* Three bytes are four characters; of INFO_BYTES two are left, which one '=' fills up. */
static void
put_base64(char *to, const unsigned char *from)
{
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (int i = 0; i < INFO_BYTES; i += 3) {
        unsigned int last = i + 2 < INFO_BYTES ? from[i + 2] : 0;
        unsigned int bits = (unsigned int)from[i] << 16 | (unsigned int)from[i + 1] << 8 | last;
        for (int shift = 18; shift >= 0; shift -= 6)
            *to++ = characters[bits >> shift & 63];
    }
    to[-1] = '=';
}

/* X-Trace-Info as it nearly always is: signing.py's `sign_osprofiler`. 0 if the base id is no
 * UUID, nor none. */
static int
put_info(char *characters, PyObject *signer, const char *traceparent)
{
    PyObject *base = PyTuple_GET_ITEM(signer, SIGNER_BASE_ID);
    char text[INFO_BYTES], *to = put_text(text, INFO_BEFORE, INFO_BASE);

    if (!PyUnicode_CheckExact(base) || !PyUnicode_IS_ASCII(base))
        return 0;
    const char *known = (const char *)PyUnicode_1BYTE_DATA(base);
    Py_ssize_t length = PyUnicode_GET_LENGTH(base);
    for (Py_ssize_t i = 0; i < length; i++)
        if (known[i] != '-' && four_bits[(unsigned char)known[i]] == NO_DIGIT)
            return 0;
    if (length == UUID_CHARS)
        to = put_text(to, known, UUID_CHARS);
    else if (length == 0)
        to = put_uuid(to, traceparent + 3, NULL, 32);
    else
        return 0;
    to = put_text(to, INFO_BETWEEN, INFO_PARENT - INFO_BASE_END);
    to = put_uuid(to, traceparent + 3, traceparent + 36, 16);
    put_text(to, INFO_AFTER, INFO_BYTES - INFO_PARENT_END);
    put_base64(characters, (const unsigned char *)text);
    return 1;
}

/* What OSProfiler's form adds; nothing if it was not asked for. */
static int
onward_osprofiler(PyObject *onward, PyObject *signer, const char *traceparent, int asked)
{
    char info[INFO_CHARS], mac[MAC_SHA1_CHARS];

    if (!asked || PyObject_IsTrue(PyTuple_GET_ITEM(signer, SIGNER_OSPROFILER)) < 1)
        return 0;
    if (put_info(info, signer, traceparent)) {
        if (put_mac_of(mac, PyTuple_GET_ITEM(signer, SIGNER_KEY), &sha1_hash, core.str_mac_sha1,
                       info, INFO_CHARS) < 0 ||
            onward_add(onward, core.str_info, ascii_text(info, INFO_CHARS)) < 0)
            return -1;
        return onward_add(onward, core.str_hmac, ascii_text(mac, MAC_SHA1_CHARS));
    }
    PyObject *theirs = PyObject_CallMethod(signer, "in_osprofilers_form", "s#s#", traceparent + 3,
                                           (Py_ssize_t)32, traceparent + 36, (Py_ssize_t)16);
    int status = theirs == NULL ? -1 : PyDict_Update(onward, theirs);

    Py_XDECREF(theirs);
    return status;
}

/* Signed by a Signer, or unsigned where its trace came so. */
static PyObject *
onward_of(PyObject *signer, const char *traceparent, int osprofiler)
{
    PyObject *onward = PyDict_New();
    PyObject *text = onward == NULL ? NULL
                                    : ascii_text(traceparent, TRACEPARENT_CHARS);
    int status = text == NULL ? -1 : onward_add(onward, core.str_traceparent, text);

    if (status == 0 && signer != Py_None) {
        PyObject *others = PyTuple_GET_ITEM(signer, SIGNER_OTHERS);
        if (PyTuple_GET_ITEM(signer, SIGNER_KEY) != Py_None) {
            status = onward_add(onward, core.str_tracestate,
                                onward_tracestate(signer, traceparent));
            if (status == 0)
                status = onward_osprofiler(onward, signer, traceparent, osprofiler);
        }
        else if (PyObject_IsTrue(others) > 0)
            status = onward_add(onward, core.str_tracestate, Py_NewRef(others));
    }
    if (status < 0)
        Py_CLEAR(onward);
    return onward;
}

/* Of a signer that is not onward.py's: the flight recorder's. */
static PyObject *
onward_asked(PyObject *signer, const char *traceparent, int osprofiler)
{
    PyObject *given[4] = {signer, PyUnicode_FromStringAndSize(traceparent + 3, 32),
                          PyUnicode_FromStringAndSize(traceparent + 36, 16),
                          osprofiler ? Py_True : Py_False};
    PyObject *onward = given[1] == NULL || given[2] == NULL
                           ? NULL
                           : PyObject_VectorcallMethod(core.str_headers, given, 3,
                                                       core.osprofiler_keyword);

    Py_XDECREF(given[1]);
    Py_XDECREF(given[2]);
    return onward;
}

/* What a request that is joined sends on, or one that is none. */
static PyObject *
onward_joined(PyObject *current)
{
    if (current == Py_None)
        return PyDict_New();
    PyObject *came = PyObject_GetAttr(current, core.str_onward);
    PyObject *onward = came == NULL ? NULL : PyDict_Copy(came);
    Py_XDECREF(came);
    return onward;
}

/* headers(*, osprofiler=True) */
static PyObject *
core_headers(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    char traceparent[TRACEPARENT_CHARS + 1];

    if (nargs || named > 1 ||
        (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "osprofiler"))) {
        PyErr_SetString(PyExc_TypeError, "headers() takes one keyword argument: osprofiler");
        return NULL;
    }
    int osprofiler = named ? PyObject_IsTrue(args[0]) : 1;
    if (osprofiler < 0)
        return NULL;
    PyObject *current = get_current(), *onward;
    Span *span = (Span *)current;
    if (!Py_IS_TYPE(current, core.Span))
        onward = onward_joined(current);
    else if (Span_is_over(span))
        onward = PyDict_New();
    else {
        PyObject *signer = span->trace->signer; /* the span is held, and it holds this */
        put_traceparent(traceparent, span);
        onward = signer == Py_None || is_signer(signer)
                     ? onward_of(signer, traceparent, osprofiler)
                     : onward_asked(signer, traceparent, osprofiler);
    }
    Py_DECREF(current);
    return onward;
}

#endif
