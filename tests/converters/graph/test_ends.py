from __future__ import annotations

import pytest

from edgeq.converters.graph.ends import Ends
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder


class Net(Builder):
    def layer(self, source: int) -> int:
        weights = self.constant([[1.0] * 4] * 4)
        return self.add("FULLY_CONNECTED", [source, weights], [1, 4])

    def ends(self, *outputs: int, barred: tuple[int, ...] = ()) -> Ends:
        return Ends(flatbuffer.parse(self.content(*outputs), "m"), barred)


def named(ends: Ends, places: frozenset[int]) -> list[str]:
    return [ends.kinds[place] for place in sorted(places)]


def head(net: Net) -> int:
    """A layer, then LOGISTIC, MUL and CONCATENATION."""
    layer = net.layer(net.input([1, 4]))
    scores = net.add("LOGISTIC", [layer], [1, 4])
    boxes = net.add("MUL", [net.layer(layer), net.constant([640.0])], [1, 4])
    return net.add("CONCATENATION", [scores, boxes], [1, 8])


@pytest.mark.parametrize(
    ("level", "kinds"),
    [("layout", ["CONCATENATION"]), ("scaling", ["MUL", "CONCATENATION"]),
     ("all", ["MUL", "CONCATENATION"])],
)  # fmt: skip
def test_a_tail_has_the_kinds_of_its_level(level: str, kinds: list[str]) -> None:
    net = Net()
    last = head(net)
    ends = net.ends(last)
    assert sorted(named(ends, ends.tail([last], level))) == sorted(
        kinds + ["LOGISTIC"] * (level == "all")
    )


def test_a_tail_leads_to_its_outputs_only() -> None:
    net = Net()
    layer = net.layer(net.input([1, 4]))
    middle = net.add("TANH", [layer], [1, 4])
    first = net.add("RELU", [middle], [1, 4])
    second = net.add("MUL", [net.layer(middle), net.constant([2.0])], [1, 4])
    ends = net.ends(first, second)
    assert named(ends, ends.tail([first], "all")) == ["RELU"]
    assert named(ends, ends.tail([first, second], "all")) == ["RELU", "MUL"]
    assert ends.before(ends.tail([first], "all"), [first]) == (middle,)


def test_barred_operators_end_a_tail() -> None:
    net = Net()
    last = head(net)
    assert net.ends(last, barred=(4,)).tail([last], "all") == frozenset()


def test_what_only_arranges_is_left_out_at_the_inner_border() -> None:
    net = Net()
    source = net.input([1, 4])
    scaled = net.add("MUL", [source, net.constant([2.0])], [1, 4])
    shape = net.constant([4, 1], "int32")
    flat = net.add("RESHAPE", [scaled, shape], [1, 4])
    turned = net.add("RESHAPE", [net.layer(flat), shape], [1, 4])
    last = net.add("MUL", [turned, net.constant([3.0])], [1, 4])
    ends = net.ends(last)
    assert named(ends, ends.front("scaling")) == ["MUL"]
    assert ends.behind(ends.front("scaling")) == (scaled,)
    assert named(ends, ends.tail([last], "scaling")) == ["MUL"]
    assert named(ends, ends.lead([last], "scaling")) == ["RESHAPE", "MUL"]


def test_a_front_needs_inputs_alone() -> None:
    net = Net()
    source = net.input([1, 4])
    own = net.add("TANH", [source], [1, 4])
    mixed = net.add("ADD", [own, net.layer(source)], [1, 4])
    ends = net.ends(net.layer(mixed))
    assert named(ends, ends.front("all")) == ["TANH"]
    assert ends.front("scaling") == frozenset()
