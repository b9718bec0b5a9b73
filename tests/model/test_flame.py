"""A flame graph has every span in one frame, and no frame wider than what it stands on."""

from nilometer.model.critical import critical_path, waited_ns
from nilometer.model.flame import flame_of, laid_out
from tests.model.trees import tree_from

ORDERS = """
    GET /orders   0 100
      price      10  60
        SELECT   20  50  "SELECT 1"
      price      12  70
        SELECT   20  50  "SELECT 2"
      flush      80  90
"""


def laid(frames, **more):
    found = laid_out(frames, least=more.pop("least", 0.0), **more)
    return [
        (
            each.depth,
            each.frame.operation.name,
            each.path,
            round(each.left, 2),
            round(each.width, 2),
        )
        for each in found
    ]


def test_spans_that_do_the_same_at_the_same_place_are_one_frame():
    (root,) = flame_of(tree_from(ORDERS))

    price, flush = sorted(root.children.values(), key=lambda one: -one.width_ns)
    (select,) = price.children.values()
    assert (price.count, price.total_ns, price.self_ns, price.width_ns) == (2, 108, 48, 108)
    assert (select.count, flush.count, root.width_ns) == (2, 1, 30 + 108 + 10)


def test_by_what_was_waited_for_it_is_as_wide_as_the_request():
    tree = tree_from(ORDERS)

    frames = flame_of(tree, waited_ns(critical_path(tree)))

    assert [frame.width_ns for frame in frames] == [100]
    assert laid(frames) == [
        (0, "GET /orders", (0,), 0.0, 1.0),
        (1, "price", (0, 0), 0.0, 0.58),
        (1, "flush", (0, 1), 0.58, 0.1),
        (2, "SELECT", (0, 0, 0), 0.0, 0.3),
    ]


def test_frames_too_narrow_to_be_seen_are_left_out_and_leave_their_room():
    tree = tree_from(ORDERS)

    names = [
        each[1] for each in laid(flame_of(tree, waited_ns(critical_path(tree))), least=0.2)
    ]

    assert names == ["GET /orders", "price", "SELECT"]


def test_a_frame_can_be_the_whole():
    frames = flame_of(tree_from(ORDERS))

    assert laid(frames, below=(0, 0)) == [
        (1, "price", (0, 0), 0.0, 1.0),
        (2, "SELECT", (0, 0, 0), 0.0, 0.56),
    ]
    assert laid(frames, below=(0, 7))[0][1:4] == ("GET /orders", (0,), 0.0)


def test_nothing_gives_no_frames():
    assert laid(flame_of(tree_from(""))) == []
